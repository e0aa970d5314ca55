"""`prefetch` yields the same items in the same order, passes errors on, and leaves no thread running."""

import threading
from collections.abc import Iterator

import jax
import pytest

from msst_jax.ops.ambient_precision import ambient_precision
from msst_jax.runtime.prefetch import prefetch


class Source:
    """Counts the items taken from it, and records whether it was closed."""

    def __init__(self, count: int, error: BaseException | None = None):
        self.count = count
        self.error = error
        self.taken = 0
        self.closed = False
        self.thread: threading.Thread | None = None
        self.produced = threading.Semaphore(0)

    def items(self) -> Iterator[int]:
        self.thread = threading.current_thread()
        try:
            for number in range(self.count):
                self.taken += 1
                self.produced.release()
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed = True


def test_the_thread_computes_at_the_precision_of_its_consumer():
    def items() -> Iterator[str | None]:
        yield ambient_precision()

    for precision in ("highest", "high", None):
        with jax.default_matmul_precision(precision):
            assert list(prefetch(prefetch(items(), 1), 1)) == [precision]


@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_all_items_arrive_in_order(count: int, ahead: int):
    source = Source(count)
    assert list(prefetch(source.items(), ahead)) == list(range(count))
    assert source.closed
    assert source.thread is not threading.current_thread()
    assert not source.thread.is_alive()


def test_an_iterable_that_is_not_a_generator_works():
    assert list(prefetch([1, 2, 3], 1)) == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_is_raised_unchanged_after_the_items_before_it(error: BaseException):
    source = Source(3, error)
    stage = prefetch(source.items(), 1)
    assert [next(stage) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as raised:
        next(stage)
    assert raised.value is error
    assert source.closed
    assert not source.thread.is_alive()


@pytest.mark.parametrize("ahead", [1, 2])
def test_the_thread_is_never_more_than_the_limit_ahead(ahead: int):
    source = Source(50)
    stage = prefetch(source.items(), ahead)
    for received in range(1, 11):
        next(stage)
        # Received, waiting in the queue, and one held by the thread; it may be fewer, never more.
        assert source.taken <= received + ahead + 1
    stage.close()


def test_the_thread_works_ahead_of_an_idle_consumer():
    source = Source(50)
    stage = prefetch(source.items(), 2)
    next(stage)
    for _ in range(4):  # one received, two waiting in the queue, one held by the thread
        assert source.produced.acquire(timeout=60)
    assert source.taken == 4
    stage.close()


def test_closing_ends_the_thread_and_closes_the_source():
    source = Source(10**9)
    stage = prefetch(source.items(), 1)
    next(stage)
    stage.close()
    assert source.closed
    assert source.thread is not None
    assert not source.thread.is_alive()


def test_closing_the_last_of_chained_stages_ends_all():
    source = Source(10**9)
    last = prefetch((2 * item for item in prefetch(source.items(), 1)), 1)
    assert [next(last) for _ in range(3)] == [0, 2, 4]
    last.close()
    assert source.closed
    assert source.thread is not None
    assert not source.thread.is_alive()


def test_an_error_of_the_first_stage_is_raised_by_the_last():
    last = prefetch((item for item in prefetch(Source(2, OSError(28, "full")).items(), 1)), 1)
    with pytest.raises(OSError, match="full"):
        list(last)


def test_closing_an_unused_stage_takes_no_items():
    source = Source(3)
    stage = prefetch(source.items(), 1)
    stage.close()
    assert source.taken == 0
