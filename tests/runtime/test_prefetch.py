"""A stage in a thread of its own: the same items in the same order, its errors, and no thread that stays."""

import threading
from collections.abc import Iterator

import pytest

from msst_jax.runtime.prefetch import prefetch


class Source:
    """Counts what was taken of it, and knows whether it was closed."""

    def __init__(self, count: int, error: BaseException | None = None):
        self.count = count
        self.error = error
        self.taken = 0
        self.closed = False
        self.thread: threading.Thread | None = None
        self.news = threading.Semaphore(0)

    def items(self) -> Iterator[int]:
        self.thread = threading.current_thread()
        try:
            for number in range(self.count):
                self.taken += 1
                self.news.release()
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed = True


@pytest.mark.parametrize("ahead", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_all_items_come_in_their_order(count: int, ahead: int):
    source = Source(count)
    assert list(prefetch(source.items(), ahead)) == list(range(count))
    assert source.closed
    assert source.thread is not threading.current_thread()
    assert not source.thread.is_alive()


def test_what_is_no_generator_is_fine_too():
    assert list(prefetch([1, 2, 3], 1)) == [1, 2, 3]


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_arrives_as_it_was_after_the_items_before_it(error: BaseException):
    source = Source(3, error)
    stage = prefetch(source.items(), 1)
    assert [next(stage) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as raised:
        next(stage)
    assert raised.value is error
    assert source.closed
    assert not source.thread.is_alive()


@pytest.mark.parametrize("ahead", [1, 2])
def test_the_thread_is_no_more_than_so_many_items_ahead(ahead: int):
    source = Source(50)
    stage = prefetch(source.items(), ahead)
    for given in range(1, 11):
        next(stage)
        # Given to us, waiting, and one in the hand of the thread; it may be fewer, never more.
        assert source.taken <= given + ahead + 1
    stage.close()


def test_it_works_ahead_while_nobody_asks():
    source = Source(50)
    stage = prefetch(source.items(), 2)
    next(stage)
    for _ in range(4):  # the one we have, two that wait, one in the hand of the thread
        assert source.news.acquire(timeout=60)
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


def test_stages_in_a_row_all_end_when_the_last_is_closed():
    source = Source(10**9)
    last = prefetch((2 * item for item in prefetch(source.items(), 1)), 1)
    assert [next(last) for _ in range(3)] == [0, 2, 4]
    last.close()
    assert source.closed
    assert source.thread is not None
    assert not source.thread.is_alive()


def test_an_error_of_the_first_stage_arrives_at_the_last():
    last = prefetch((item for item in prefetch(Source(2, OSError(28, "full")).items(), 1)), 1)
    with pytest.raises(OSError, match="full"):
        list(last)


def test_a_stage_that_nobody_asks_starts_nothing():
    source = Source(3)
    stage = prefetch(source.items(), 1)
    stage.close()
    assert source.taken == 0
