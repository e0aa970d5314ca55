"""Masks for the frames of a clip from files: one picture for all, a folder of numbered pictures, or a mask video."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.regions.masks import read_mask, same_aspect_ratio
from msst_jax.regions.segmenter import Size
from msst_jax.video.io.formats import VIDEO_SUFFIXES
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import VideoInfo, VideoSource, number_frames

MaskReader = Callable[[int], np.ndarray]
"""The number of a frame to its masks, uint8 (H, W, G), white = inside. Numbers must grow."""


def open_masks(masks: Mapping[str, str], clip: VideoInfo, size: Size) -> MaskReader:
    """The masks of the frames, in the order of `masks`.

    A mask video of another length goes by its own rate. The files are opened at once: what is wrong with them is told
    before any work. Masks that end before the clip stay as they were last, which is said.

    Args:
      masks: {region: file or folder}.
      clip: whose frames they are for.
      size: (width, height) of the masks wanted.

    Raises:
      UserError: files that cannot be read, or a folder that has another number of pictures than the clip has frames.
    """
    width, height = size
    sources = [_open_mask(name, Path(file).expanduser(), clip, size) for name, file in masks.items()]
    nothing = np.zeros((height, width, 0), np.uint8)
    return lambda number: np.stack([source(number) for source in sources], -1) if sources else nothing


def has_frame_masks(path: Path) -> bool:
    """Whether a mask file has a picture for every frame."""
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _open_mask(name: str, path: Path, clip: VideoInfo, size: Size) -> MaskReader:
    """As `open_masks`, for one region: (H, W)."""
    if not has_frame_masks(path):
        mask = read_mask(path, (clip.width, clip.height), size)
        still = np.round(mask * 255).astype(np.uint8)
        return lambda number: still
    masks = open_video(path)
    found, needed = masks.info.frames, clip.frames
    if path.is_dir() and needed and found != needed:
        raise UserError(f"--mask {name}={path} has {found} pictures, {clip.path} {needed} frames; give one for each")
    if not same_aspect_ratio((masks.info.width, masks.info.height), (clip.width, clip.height)):
        logging.warning(
            "mask %s is %dx%d, the clip %dx%d: it is stretched to fit",
            *(path, masks.info.width, masks.info.height, clip.width, clip.height),
        )
    # As many masks as frames belong to them one by one, whatever rate is told of them.
    steps = Fraction(1) if path.is_dir() or found == needed else masks.info.rate / clip.rate
    return _frame_masks(name, masks, size, steps)


def _frame_masks(name: str, masks: VideoSource, size: Size, steps: Fraction) -> MaskReader:
    """`steps` masks to a frame; one that could not be read is that of the frame before."""
    frames = number_frames(masks.frames(), masks.info.rate)
    upcoming = next(frames, None)
    assert upcoming is not None  # a clip without any frame cannot be opened
    last, shown, said = 0, upcoming[1].image, False

    def at(number: int) -> np.ndarray:
        nonlocal upcoming, last, shown, said
        number = int(number * steps)
        while upcoming is not None and upcoming[0] <= number:
            last, shown = upcoming[0], upcoming[1].image
            upcoming = next(frames, None)
        if upcoming is None and last < number and not said:
            logging.warning("--mask %s=%s ends before the clip: its last picture stays", name, masks.info.path)
            said = True
        return np.asarray(Image.fromarray(shown).convert("L").resize(size, Image.Resampling.BILINEAR))

    return at
