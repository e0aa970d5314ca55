"""From the frames of a clip to painted ones: decoding, the device and encoding work at the same time."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np

from msst_jax.runtime.prefetch import prefetch
from msst_jax.video.batching import FrameBatch
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import VideoWriter
from msst_jax.video.resume import ResumeFolder

PREFETCHED_BATCHES = 1  # batches that wait between two stages


class StylizerStopped(Exception):
    """A painter was told to stop in the middle of a batch."""


class FrameStylizer(NamedTuple):
    """Paints one batch after the other.

    Attributes:
      state: a pytree of arrays: what the first batch must know of those before it.
      paint: (batch, state) to images (N, H, W, 3) in uint8, shares (N, K) of the regions, and the next state.
    """

    state: Any
    paint: Callable[[FrameBatch, Any], tuple[jax.Array, jax.Array, Any]]


class VideoStats(NamedTuple):
    """What was made of a clip: frames, the mean share of each region, when it ends, and whether it is not whole."""

    frames: int
    shares: np.ndarray
    end: Fraction
    interrupted: bool


class _StylizedBatch(NamedTuple):
    batch: FrameBatch
    made: tuple[jax.Array, jax.Array, Any] | None
    """As from `Painter.paint`; None for what an earlier run made."""


def stream_video(
    source: Iterable[FrameBatch],
    painter: FrameStylizer,
    writer: VideoWriter,
    parts: ResumeFolder,
    stop: threading.Event,
    progress: Callable[[int], None] = lambda frames: None,
) -> VideoStats:
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
    shares = parts.state(_resume_state(painter.state))["shares"] if parts.batches else np.zeros(0)
    stages = prefetch(_stylize_batches(prefetch(source, PREFETCHED_BATCHES), painter, parts), PREFETCHED_BATCHES)
    try:
        for batch, made in stages:
            images = None
            if made is not None:
                shares = np.asarray(made[1])[: len(batch.timings)].sum(0) + (shares if shares.size else 0)
                images = np.asarray(made[0])[: len(batch.timings)]
                parts.add_batch(batch.number, images, _resume_state(made[2], shares))
            _write(batch, images, writer, parts)
            frames, end = frames + len(batch.timings), batch.timings[-1].time + batch.timings[-1].duration
            progress(len(batch.timings))
            if stop.is_set():
                break
    except StylizerStopped:
        pass
    finally:
        stages.close()
    return VideoStats(frames, shares / max(frames, 1), end, stop.is_set())


def _resume_state(state: Any, shares: np.ndarray | float = 0.0) -> dict[str, Any]:
    """What the next batch must know: the painter's state, and the sum of the regions' shares."""
    return {"painter": state, "shares": shares}


def _stylize_batches(
    source: Generator[FrameBatch, None, None], painter: FrameStylizer, parts: ResumeFolder
) -> Iterator[_StylizedBatch]:
    state = painter.state
    with closing(source):
        for batch in source:
            if batch.number < parts.batches:
                if batch.number == parts.batches - 1:
                    state = parts.state(_resume_state(painter.state))["painter"]
                yield _StylizedBatch(batch, None)
                continue
            jax.block_until_ready(state)  # two batches at once on the device would take twice the memory
            made = painter.paint(batch, state)
            state = made[2]
            yield _StylizedBatch(batch, made)


def _write(batch: FrameBatch, images: np.ndarray | None, writer: VideoWriter, parts: ResumeFolder) -> None:
    """Writes a batch; of one that an earlier run made (no images) what is kept, or with its first batch a segment."""
    per_segment = parts.plan.per_segment
    if images is None and batch.number < parts.segments * per_segment:
        if batch.number % per_segment == 0:
            writer.write_segment(parts.segment(batch.number // per_segment))
        for moment in batch.timings:
            writer.count(moment.time + moment.duration)
        return
    images = parts.images(batch.number) if images is None else images
    for image, moment in zip(images, batch.timings, strict=True):
        writer.write(Frame(image, moment.time, moment.duration))
