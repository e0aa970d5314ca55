"""The streaming loop: the device gets the next batch before the last one is fetched, and nothing bad is written."""

import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.errors import DivergenceError
from msst_jax.video import streaming
from msst_jax.video.batching import FrameBatch, FrameTiming
from msst_jax.video.io.types import Frame
from msst_jax.video.io.writer import VideoWriter
from msst_jax.video.resume import ChunkPlan, ResumeFolder
from msst_jax.video.streaming import IN_FLIGHT, FrameStylizer, VideoStats, stream_video

BATCHES = 5
PATIENCE = 60  # seconds until a deadlock is an error


class RecordingWriter:
    """Keeps the first value of every frame."""

    def __init__(self) -> None:
        self.written: list[int] = []

    def write(self, frame: Frame) -> None:
        self.written.append(int(frame.image[0, 0, 0]))


def batches() -> list[FrameBatch]:
    """One frame each."""
    return [
        FrameBatch(
            number,
            np.full((1, 2, 2, 3), number, np.uint8),
            np.zeros((1, 2, 2, 0), np.uint8),
            (FrameTiming(Fraction(number), Fraction(1)),),
            (None,),
        )
        for number in range(BATCHES)
    ]


def stream(
    folder: Path, stylize: Callable[[FrameBatch, Any], Any], writer: RecordingWriter, state: Any, **more: Any
) -> VideoStats:
    with ResumeFolder(folder, ChunkPlan(1, 0), {}, resume=True) as kept:
        stop = more.pop("stop", threading.Event())
        return stream_video(batches(), FrameStylizer(state, stylize), cast(VideoWriter, writer), kept, stop, **more)


class Slow:
    """An array of a device that finishes a batch only once it was given the next one."""

    def __init__(self, value: np.ndarray, following: threading.Event):
        self._value, self._following = value, following
        self.copying = False

    def copy_to_host_async(self) -> None:
        self.copying = True

    def block_until_ready(self) -> None:
        if not self._following.wait(PATIENCE):
            raise TimeoutError("the next batch was not given before this one was finished")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        assert self.copying
        self.block_until_ready()
        return self._value

    def __bool__(self) -> bool:
        return bool(np.asarray(self))


def test_the_device_has_the_next_batch_before_one_is_finished_and_never_more(tmp_path: Path, monkeypatch):
    given = [threading.Event() for _ in range(BATCHES)]
    following = [*given[1:], given[-1]]

    def stylize(batch: FrameBatch, state: Any) -> Any:
        assert batch.number < IN_FLIGHT or waited == list(range(batch.number - IN_FLIGHT + 1))
        given[batch.number].set()
        return Slow(batch.images, following[batch.number]), Slow(np.ones((1, 1)), following[batch.number]), batch.number

    waited: list[int] = []

    class Flag(Slow):
        def __init__(self, number: int):
            super().__init__(np.asarray(True), following[number])
            self._number = number

        def block_until_ready(self) -> None:
            super().block_until_ready()
            if threading.current_thread() is not threading.main_thread():
                waited.append(self._number)

    monkeypatch.setattr(streaming, "all_finite", Flag)
    writer = RecordingWriter()
    stats = stream(tmp_path / "kept", stylize, writer, 0)
    assert (stats.frames, stats.fractions.tolist()) == (BATCHES, [1.0])
    assert writer.written == list(range(BATCHES))


def test_a_batch_that_ctrl_c_finds_at_work_is_kept(tmp_path: Path, monkeypatch):
    def in_this_thread(items: Iterable[Any], _ahead: int) -> Iterator[Any]:
        yield from items

    def stylize(batch: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        if batch.number == 2:
            stop.set()
        return jnp.asarray(batch.images), jnp.ones((1, 1)), state

    stop, writer = threading.Event(), RecordingWriter()
    monkeypatch.setattr(streaming, "prefetch", in_this_thread)
    stats = stream(tmp_path / "kept", stylize, writer, jnp.zeros(()), stop=stop)
    assert (stats.frames, stats.interrupted) == (3, True)
    assert writer.written == [0, 1, 2]
    assert (tmp_path / "kept" / "batch_000002.npz").exists()


@pytest.mark.parametrize("bad", [0, 2, BATCHES - 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_written_from_a_batch_on_whose_state_is_not_finite(tmp_path: Path, bad: int, value: float):
    def stylize(batch: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        spoiled = state["picture"].at[1].set(value if batch.number == bad else 0.0)  # the batch after it looks good
        return jnp.asarray(batch.images), jnp.ones((1, 1)), {"picture": spoiled, "count": state["count"] + 1}

    writer = RecordingWriter()
    with pytest.raises(DivergenceError, match=rf"^the result is not finite at {bad}\.00 s; give another --model"):
        stream(tmp_path / "kept", stylize, writer, {"picture": jnp.zeros(3), "count": jnp.zeros((), int)})
    assert writer.written == list(range(bad))[: len(writer.written)]  # those that waited are kept, see below
    assert sorted(file.name for file in (tmp_path / "kept").glob("batch_*")) == [
        f"batch_{number:06d}.npz" for number in range(bad)
    ]
