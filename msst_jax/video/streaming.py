"""From the frames of a clip to painted ones: decoding, the device and encoding work at the same time."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np

from msst_jax.runtime.prefetch import prefetched
from msst_jax.video.batching import Batch
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import ClipWriter
from msst_jax.video.resume import Parts

AHEAD = 1  # batches that wait between two stages


class Stopped(Exception):
    """A painter was told to stop in the middle of a batch."""


class Painter(NamedTuple):
    """Paints one batch after the other.

    Attributes:
      state: a pytree of arrays: what the first batch must know of those before it.
      paint: (batch, state) to images (N, H, W, 3) in uint8, shares (N, K) of the regions, and the next state.
    """

    state: Any
    paint: Callable[[Batch, Any], tuple[jax.Array, jax.Array, Any]]


class Tally(NamedTuple):
    """What was made of a clip: frames, the mean share of each region, when it ends, and whether it is not whole."""

    frames: int
    shares: np.ndarray
    end: Fraction
    interrupted: bool


class _Painted(NamedTuple):
    batch: Batch
    made: tuple[jax.Array, jax.Array, Any] | None
    """As from `Painter.paint`; None for what an earlier run made."""


def make_clip(
    source: Iterable[Batch],
    painter: Painter,
    writer: ClipWriter,
    parts: Parts,
    stop: threading.Event,
    progress: Callable[[int], None] = lambda frames: None,
) -> Tally:
    """Paints and writes all batches that are not among the parts, and writes those that are.

    Args:
      source: the batches of a clip, from the first on.
      painter: paints them.
      writer: its segments must be those of the parts.
      parts: what was made before; what is made is added.
      stop: ends it after the batch at hand.
      progress: told the number of frames after each batch.

    Raises:
      UserError: a frame that cannot be used, or a file system that refuses.
    """
    frames, end = 0, Fraction(0)
    shares = parts.state(_kept(painter.state))["shares"] if parts.batches else np.zeros(0)
    stages = prefetched(_painted(prefetched(source, AHEAD), painter, parts), AHEAD)
    try:
        for batch, made in stages:
            images = None
            if made is not None:
                shares = np.asarray(made[1])[: len(batch.moments)].sum(0) + (shares if shares.size else 0)
                images = np.asarray(made[0])[: len(batch.moments)]
                parts.add_batch(batch.number, images, _kept(made[2], shares))
            _write(batch, images, writer, parts)
            frames, end = frames + len(batch.moments), batch.moments[-1].time + batch.moments[-1].duration
            progress(len(batch.moments))
            if stop.is_set():
                break
    except Stopped:
        pass
    finally:
        stages.close()
    return Tally(frames, shares / max(frames, 1), end, stop.is_set())


def _kept(state: Any, shares: np.ndarray | float = 0.0) -> dict[str, Any]:
    """What the next batch must know: the painter's state, and the sum of the regions' shares."""
    return {"painter": state, "shares": shares}


def _painted(source: Generator[Batch, None, None], painter: Painter, parts: Parts) -> Iterator[_Painted]:
    state = painter.state
    with closing(source):
        for batch in source:
            if batch.number < parts.batches:
                if batch.number == parts.batches - 1:
                    state = parts.state(_kept(painter.state))["painter"]
                yield _Painted(batch, None)
                continue
            jax.block_until_ready(state)  # two batches at once on the device would take twice the memory
            made = painter.paint(batch, state)
            state = made[2]
            yield _Painted(batch, made)


def _write(batch: Batch, images: np.ndarray | None, writer: ClipWriter, parts: Parts) -> None:
    """Writes a batch; of one that an earlier run made (no images) what is kept, or with its first batch a segment."""
    per_segment = parts.plan.per_segment
    if images is None and batch.number < parts.segments * per_segment:
        if batch.number % per_segment == 0:
            writer.write_segment(parts.segment(batch.number // per_segment))
        for moment in batch.moments:
            writer.count(moment.time + moment.duration)
        return
    images = parts.images(batch.number) if images is None else images
    for image, moment in zip(images, batch.moments, strict=True):
        writer.write(Frame(image, moment.time, moment.duration))
