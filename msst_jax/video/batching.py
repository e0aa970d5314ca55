"""Batches of video frames with their given masks, padded to a fixed batch size."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image

from msst_jax.regions.segmenter import Size
from msst_jax.video.io.types import Frame
from msst_jax.video.mask_sources import MaskReader


class FrameTiming(NamedTuple):
    """Presentation time and duration of a frame, in seconds, and its name, see `Frame`."""

    time: Fraction
    duration: Fraction
    name: str = ""


class FrameBatch(NamedTuple):
    """Frames that are stylized together.

    Attributes:
      number: of the batch, from 0.
      images: uint8 (N, H, W, 3); the last batch is padded with its last frame.
      given: uint8 (N, H, W, G), the given masks of the frames.
      timings: of the frames, without padding.
      alphas: of the frames, without padding: uint8 (H, W), 255 = opaque, or None.
    """

    number: int
    images: np.ndarray
    given: np.ndarray
    timings: tuple[FrameTiming, ...]
    alphas: tuple[np.ndarray | None, ...]


_PendingFrame = tuple[np.ndarray, np.ndarray, FrameTiming, np.ndarray | None]
"""Image, masks, timing and alpha."""


def batch_frames(
    frames: Iterable[tuple[int, Frame]], masks: MaskReader, size: Size, count: int
) -> Iterator[FrameBatch]:
    """Batches of `count` numbered frames with their masks, resized to `size` (width, height)."""
    pending: list[_PendingFrame] = []
    batch = 0
    for number, frame in frames:
        alpha = None if frame.alpha is None else _resize(frame.alpha, size)
        timing = FrameTiming(frame.time, frame.duration, frame.name)
        pending.append((_resize(frame.image, size), masks(number), timing, alpha))
        if len(pending) == count:
            yield _build_batch(batch, pending, count)
            pending, batch = [], batch + 1
    if pending:
        yield _build_batch(batch, pending, count)


def _resize(image: np.ndarray, size: Size) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _build_batch(number: int, frames: list[_PendingFrame], count: int) -> FrameBatch:
    images, given, timings, alphas = zip(*frames, strict=True)
    padding = count - len(frames)  # all batches have one shape, so that one program is compiled
    return FrameBatch(
        number, np.stack(images + images[-1:] * padding), np.stack(given + given[-1:] * padding), timings, alphas
    )
