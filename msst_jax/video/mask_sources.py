"""Masks of video frames from files: a still image, a folder of numbered images, or a mask video."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.regions.mask_files import (
    ADVICE,
    INSIDE,
    NotAMaskError,
    is_colored,
    mask_series,
    read_mask,
    same_aspect_ratio,
)
from msst_jax.regions.segmenter import Size
from msst_jax.video.io.color import BLACK
from msst_jax.video.io.formats import VIDEO_SUFFIXES
from msst_jax.video.io.frame_folder import FrameFolder, FrameLayers, list_frames
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame, VideoInfo, VideoSource, number_frames
from msst_jax.video.mask_matching import FrameMap, match_masks

MaskReader = Callable[[int], np.ndarray]
"""The number of a frame in the whole video to its masks, uint8 (H, W, G), white = inside; numbers must increase."""


def open_masks(masks: Mapping[str, str], video: VideoInfo, size: Size) -> MaskReader:
    """A reader of the masks of all regions, in the order of `masks`.

    The files are opened at once, so that errors are raised before any work. Which mask belongs to which frame,
    `match_masks` says. If masks end before the video, the last one is repeated and a warning is logged.

    Args:
      masks: {region: file or folder}.
      video: the video that they belong to.
      size: (width, height) of the masks returned.

    Raises:
      UserError: files that cannot be read or are no masks, or a folder whose images do not match the frames. The reader
        raises it for a later frame that is no mask.
    """
    width, height = size
    readers = [_open_mask(name, Path(file).expanduser(), video, size) for name, file in masks.items()]
    no_masks = np.zeros((height, width, 0), np.uint8)
    return lambda number: np.stack([reader(number) for reader in readers], -1) if readers else no_masks


def has_frame_masks(path: Path) -> bool:
    """Whether a mask source has an image per frame: a folder or a video."""
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _open_mask(name: str, path: Path, video: VideoInfo, size: Size) -> MaskReader:
    """As `open_masks`, for one region: (H, W)."""
    if not has_frame_masks(path):
        mask = read_mask(path, (video.width, video.height), size)
        still = np.round(mask * 255).astype(np.uint8)
        return lambda number: still
    masks = _open_folder(name, path) if path.is_dir() else open_video(path, backdrop=BLACK)
    find_mask = match_masks(video, masks.info, f"--mask {name}={path}")
    if not same_aspect_ratio((masks.info.width, masks.info.height), (video.width, video.height)):
        logging.warning(
            "mask %s is %dx%d, the video %dx%d: it is stretched to fit",
            *(path, masks.info.width, masks.info.height, video.width, video.height),
        )
    return _read_frame_masks(name, masks, size, find_mask)


def _open_folder(name: str, folder: Path) -> FrameFolder:
    """The masks of a folder as gray frames (H, W, 3); all are stored in the same way, see `mask_series`."""
    read_gray = mask_series(list_frames(folder), f"--mask {name}={folder}")

    def read(file: Path) -> FrameLayers | None:
        try:
            return np.asarray(read_gray(file).convert("RGB")), None
        except NotAMaskError:
            raise
        except UserError:
            return None

    return FrameFolder(folder, read=read, warn_of_missing=False)  # what that means for the frames, `match_masks` says


def _gray(frame: Frame, label: str) -> np.ndarray:
    """The mask (H, W) that a frame shows.

    Raises:
      NotAMaskError: it is in color.
    """
    picture = Image.fromarray(frame.image)
    if is_colored(picture):
        raise NotAMaskError(f"{label} is in color at {float(frame.time):.2f} s; {ADVICE} and black elsewhere")
    return np.asarray(picture.convert("L"))


def _read_frame_masks(name: str, masks: VideoSource, size: Size, find_mask: FrameMap) -> MaskReader:
    """A reader of a mask video or folder; a mask that cannot be decoded is replaced by the previous one."""
    label = f"--mask {name}={masks.info.path}"
    frames = number_frames(masks.frames(), masks.info.rate)
    upcoming = next(frames, None)
    assert upcoming is not None  # a video without any frame cannot be opened
    last, current, brightest, warned = 0, _gray(upcoming[1], label), 0, False

    def read(number: int) -> np.ndarray:
        nonlocal upcoming, last, current, brightest, warned
        mask_number = find_mask(number)
        while upcoming is not None and upcoming[0] <= mask_number:
            last, current = upcoming[0], _gray(upcoming[1], label)
            brightest = max(brightest, int(current.max()))
            upcoming = next(frames, None)
            if upcoming is None and brightest < INSIDE:
                logging.warning("%s is dark in every frame (up to %d of 255): nothing is inside", label, brightest)
        if upcoming is None and last < mask_number and not warned:
            logging.warning("%s ends before the video: its last frame is repeated", label)
            warned = True
        return np.asarray(Image.fromarray(current).resize(size, Image.Resampling.BILINEAR))

    return read
