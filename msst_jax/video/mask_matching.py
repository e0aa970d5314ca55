"""Which mask of a folder or a mask video belongs to which frame of a video; what is not certain is refused."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging

from msst_jax.errors import UserError
from msst_jax.video.io.decoding import count_packets
from msst_jax.video.io.types import FolderNumbers, VideoInfo

FrameMap = Callable[[int], int]
"""The number of a frame to that of its mask, both as `number_frames` counts them."""


def match_masks(video: VideoInfo, masks: VideoInfo, label: str) -> FrameMap:
    """Matches the images of a mask folder, or the frames of a mask video, with the frames of a video.

    Frames and masks of one number belong together if there is a mask of every frame's number. Else as many masks as
    frames correspond one to one, in order, unless numbers are missing in both and not the same ones. A mask video with
    another number of frames is sampled at its own rate.

    Args:
      video: a file, or a folder of frames.
      masks: a file, or a folder of masks.
      label: names the masks in messages.

    Raises:
      UserError: a folder of masks that does not match.
    """
    if masks.numbers is None:
        return _match_video(video, masks, label)
    frames, pictures = video.numbers, masks.numbers
    if frames is not None and frames.names and set(frames.names) <= set(pictures.names):
        return _by_number(frames, pictures, label)
    _check_count(video, pictures, label)
    if frames is not None:
        _check_gaps(frames, pictures, label)
    _log_order(frames, pictures, label)
    return _in_order(None if frames is None else frames.positions, pictures.positions)


def _match_video(video: VideoInfo, masks: VideoInfo, label: str) -> FrameMap:
    """With as many masks as frames they correspond one to one, whatever rate the file declares."""
    frames = video.numbers
    gapless = frames is None or frames.gapless
    if masks.rate == video.rate and gapless:
        return lambda number: number
    count, total = _count(masks.path, masks.source_frames), _count(video.path, video.source_frames)
    if count == total:
        if not gapless:
            logging.warning("%s has one frame for each image of %s: they are matched in order", label, video.path)
        return _in_order(None if frames is None else frames.positions, range(count))
    if frames is not None and count == frames.positions[-1] + 1:  # of each number, also of those that are missing
        return lambda number: number
    masks_per_frame = masks.rate / video.rate
    return lambda number: int(number * masks_per_frame)


def _count(path: Path, known: int | None) -> int:
    return count_packets(path) if known is None else known


def _by_number(frames: FolderNumbers, masks: FolderNumbers, label: str) -> FrameMap:
    position = dict(zip(masks.names, masks.positions, strict=True))
    surplus = sorted(set(masks.names) - set(frames.names))
    if surplus:
        logging.warning(
            "%s has masks of %d numbers that no frame has (the first: %d): they are left out",
            *(label, len(surplus), surplus[0]),
        )
    mask_of = {frame: position[name] for frame, name in zip(frames.positions, frames.names, strict=True)}
    return mask_of.__getitem__


def _check_count(video: VideoInfo, masks: FolderNumbers, label: str) -> None:
    """Raises UserError unless there are as many masks as frames; where the file does not say how many, they may differ.

    Numbers that are missing among the masks leave no doubt only if the frames are counted.
    """
    count, total = len(masks.positions), video.source_frames
    if total is None and masks.gapless:
        return
    total = _count(video.path, total)
    if total == count:
        return
    lacking = _describe_lacking(video.numbers, masks)
    detail = f" ({lacking})" if lacking else ""
    raise UserError(f"{label} has {count} images, {video.path} {total} frames{detail}; give one for each")


def _check_gaps(frames: FolderNumbers, masks: FolderNumbers, label: str) -> None:
    """Raises UserError if numbers are missing both among the frames and the masks, and not the same ones."""
    if not frames.gapless and not masks.gapless and frames.positions != masks.positions:
        raise UserError(f"{label} has {_describe_lacking(frames, masks)}; number the masks as the frames are")


def _describe_lacking(frames: FolderNumbers | None, masks: FolderNumbers) -> str:
    """What is missing among the masks; empty if their numbers do not tell."""
    if frames is None:
        absent = masks.positions[-1] + 1 - len(masks.positions)
        return f"{absent} numbers between the first and the last are missing" if absent else ""
    lacking = sorted(set(frames.names) - set(masks.names)) if masks.names else []
    return f"no mask for {len(lacking)} of {len(frames.names)} frames, the first: {lacking[0]}" if lacking else ""


def _log_order(frames: FolderNumbers | None, masks: FolderNumbers, label: str) -> None:
    """Says that masks are matched in order where their numbers are not those of the frames; a file's have none."""
    gapless = frames is None or frames.gapless
    if gapless != masks.gapless:
        gapped = "masks" if gapless else "frames"
        logging.warning("%s: numbers of %s are missing, so masks and frames are matched in order", label, gapped)
    elif frames is not None and frames.names and masks.names:
        logging.info("%s has other numbers than the frames: they are matched in order", label)


def _in_order(frames: Sequence[int] | None, masks: Sequence[int]) -> FrameMap:
    """The first mask to the first frame, and so on.

    Args:
      frames: the numbers of the frames; None = 0, 1, 2, ...
      masks: those of the masks.
    """

    def find(number: int) -> int:
        place = number if frames is None else bisect_right(frames, number) - 1
        return masks[place] if place < len(masks) else masks[-1] + 1

    return find
