"""Frames of a video in batches of one size, with the masks that come with them."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image

from msst_jax.regions.segmenter import Size
from msst_jax.video.io.types import Frame
from msst_jax.video.mask_sources import MaskReader


class FrameTiming(NamedTuple):
    """When a frame appears, and how long it stays, in seconds."""

    time: Fraction
    duration: Fraction


class FrameBatch(NamedTuple):
    """Frames that are painted together.

    Attributes:
      number: of the batch, from 0.
      images: uint8 (N, H, W, 3); in the last batch the last frame is repeated.
      given: uint8 (N, H, W, G), masks that came with the frames.
      timings: of the frames that are not repeated.
    """

    number: int
    images: np.ndarray
    given: np.ndarray
    timings: tuple[FrameTiming, ...]


def batch_frames(
    frames: Iterable[tuple[int, Frame]], masks: MaskReader, size: Size, count: int
) -> Iterator[FrameBatch]:
    """Numbered frames and their masks, `count` at a time, at a size of (width, height)."""
    waiting: list[tuple[np.ndarray, np.ndarray, FrameTiming]] = []
    batch = 0
    for number, frame in frames:
        waiting.append((_resize_frame(frame.image, size), masks(number), FrameTiming(frame.time, frame.duration)))
        if len(waiting) == count:
            yield _build_batch(batch, waiting, count)
            waiting, batch = [], batch + 1
    if waiting:
        yield _build_batch(batch, waiting, count)


def _resize_frame(image: np.ndarray, size: Size) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _build_batch(number: int, waiting: list[tuple[np.ndarray, np.ndarray, FrameTiming]], count: int) -> FrameBatch:
    images, given, moments = zip(*waiting, strict=True)
    missing = count - len(waiting)  # one shape for all batches: one program
    return FrameBatch(
        number, np.stack(images + images[-1:] * missing), np.stack(given + given[-1:] * missing), tuple(moments)
    )
