"""The streaming loop of a video: decoding, stylization on the device, encoding and files overlap, a thread each."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from msst_jax.errors import DivergenceError, UserError
from msst_jax.io.finite import all_finite
from msst_jax.runtime.background import in_background
from msst_jax.runtime.prefetch import prefetch
from msst_jax.video.batching import FrameBatch
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import VideoWriter
from msst_jax.video.resume import ResumeFolder

PREFETCHED_BATCHES = 1  # between two stages
# Batches that the device was given and has not finished: the next one is there when one ends. Each needs its state
# before, so that they are computed one after the other, and only frames and results are there twice.
IN_FLIGHT = 2
DIVERGED = "give another --model or, without one, lower config.style_weight and the other weights"


class StylizerStopped(Exception):
    """Raised by a stylizer that was told to stop in the middle of a batch."""


class FrameStylizer(NamedTuple):
    """Stylizes one batch after the other.

    Attributes:
      state: a pytree of arrays, the state before the first batch.
      stylize: (batch, state) to images (N, H, W, 3) in uint8, area fractions (N, K) of the regions, and the next state.
    """

    state: Any
    stylize: Callable[[FrameBatch, Any], tuple[jax.Array, jax.Array, Any]]


class VideoStats(NamedTuple):
    """What was written of a video.

    Attributes:
      frames: how many.
      fractions: (K,), the mean area fraction of each region.
      end: seconds at which the last frame ends.
      interrupted: whether frames are missing.
    """

    frames: int
    fractions: np.ndarray
    end: Fraction
    interrupted: bool


class _Result(NamedTuple):
    """As from `FrameStylizer.stylize`, maybe not finished yet; and whether the state, so the last image, is finite."""

    images: jax.Array
    fractions: jax.Array
    state: Any
    finite: jax.Array


class _StylizedBatch(NamedTuple):
    batch: FrameBatch
    result: _Result | None
    """None for a batch of an earlier run."""


class _FinishedBatch(NamedTuple):
    batch: FrameBatch
    images: np.ndarray | None
    """uint8 (N, H, W, 3), without padding; None for a batch of an earlier run."""


def stream_video(
    source: Iterable[FrameBatch],
    stylizer: FrameStylizer,
    writer: VideoWriter,
    kept: ResumeFolder,
    stop: threading.Event,
    progress: Callable[[int], None] = lambda frames: None,
) -> VideoStats:
    """Stylizes and writes all batches that are not in the resume folder, and writes those that are.

    Args:
      source: the batches of a video, from the first on.
      stylizer: see `FrameStylizer`.
      writer: its segments must be those of the resume folder.
      kept: batches of an earlier run; new ones are added.
      stop: ends the loop after the batch that it waits for.
      progress: called with the number of frames after each batch is stylized; at most two are not yet written then.

    Raises:
      DivergenceError: the state after a batch, which holds its last result, is not finite.
      UserError: a frame that cannot be used, or a file system that refuses.
    """
    frames, end = 0, Fraction(0)
    fractions = kept.state(_resume_state(stylizer.state))["shares"] if kept.batches else np.zeros(0)
    stages = prefetch(_stylize_batches(prefetch(source, PREFETCHED_BATCHES), stylizer, kept), PREFETCHED_BATCHES)
    try:
        with closing(stages), in_background(partial(_write, writer=writer, kept=kept), PREFETCHED_BATCHES) as write:
            for batch, result in stages:
                images = None
                if result is not None:
                    if not result.finite:
                        raise DivergenceError(
                            f"the result is not finite at {float(batch.timings[0].time):.2f} s; {DIVERGED}"
                        )
                    images, shares = (np.asarray(values)[: len(batch.timings)] for values in result[:2])
                    fractions = shares.sum(0) + (fractions if fractions.size else 0)
                    kept.add_batch(batch.number, images, _resume_state(result.state, fractions))
                write(_FinishedBatch(batch, images))
                frames, end = frames + len(batch.timings), batch.timings[-1].time + batch.timings[-1].duration
                progress(len(batch.timings))
                if stop.is_set():  # the next batch may take minutes
                    break
    except StylizerStopped:
        pass
    except BaseException:
        with suppress(UserError):  # what ended the run is the error to be told
            kept.keep()
        raise
    kept.keep()
    return VideoStats(frames, fractions / max(frames, 1), end, stop.is_set())


def _resume_state(state: Any, fractions: np.ndarray | float = 0.0) -> dict[str, Any]:
    """What is kept after a batch: the stylizer's state, and the sum of the regions' area fractions over the frames.

    The keys set the order of the leaves in files that earlier versions wrote.
    """
    return {"painter": state, "shares": fractions}


def _stylize_batches(
    source: Generator[FrameBatch, None, None], stylizer: FrameStylizer, kept: ResumeFolder
) -> Iterator[_StylizedBatch]:
    """Gives the device batch after batch, and passes each on without waiting for it."""
    state = stylizer.state
    earlier = kept.batches  # it grows, with the batches that come from here
    unfinished: deque[jax.Array] = deque()
    with closing(source):
        for batch in source:
            if batch.number < earlier:
                if batch.number == earlier - 1:
                    state = kept.state(_resume_state(stylizer.state))["painter"]
                yield _StylizedBatch(batch, None)
                continue
            if len(unfinished) == IN_FLIGHT:
                unfinished.popleft().block_until_ready()
            images, fractions, state = stylizer.stylize(batch, state)
            result = _Result(images, fractions, state, all_finite(state))
            for values in (result.finite, images, fractions):
                values.copy_to_host_async()  # it begins as soon as they are there, not when they are asked for
            unfinished.append(result.finite)
            yield _StylizedBatch(batch, result)


def _write(finished: _FinishedBatch, writer: VideoWriter, kept: ResumeFolder) -> None:
    """Writes a batch; one of an earlier run from its kept images or, with its first batch, a segment."""
    batch, images = finished
    per_segment = kept.plan.per_segment
    if images is None and batch.number < kept.segments * per_segment:
        if batch.number % per_segment == 0:
            writer.write_segment(kept.segment(batch.number // per_segment))
        for timing in batch.timings:
            writer.count(timing.time + timing.duration)
        return
    images = kept.images(batch.number) if images is None else images
    for image, timing, alpha in zip(images, batch.timings, batch.alphas, strict=True):
        writer.write(Frame(image, timing.time, timing.duration, alpha, timing.name))
    kept.keep_if_due()
