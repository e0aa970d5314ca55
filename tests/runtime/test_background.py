"""`in_background` consumes all items in order, in one thread, and tells of the error of either side."""

import threading
from collections.abc import Callable

import pytest

from msst_jax.runtime.background import in_background


def put_all(put: Callable[[int], None], count: int) -> None:
    for number in range(count):
        put(number)


@pytest.mark.parametrize("behind", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_all_items_are_consumed_in_order_before_the_block_is_left(count: int, behind: int):
    consumed: list[tuple[int, threading.Thread]] = []
    with in_background(lambda item: consumed.append((item, threading.current_thread())), behind) as put:
        put_all(put, count)
    assert [item for item, _ in consumed] == list(range(count))
    threads = {thread for _, thread in consumed}
    assert len(threads) == min(count, 1)
    assert not any(thread is threading.current_thread() or thread.is_alive() for thread in threads)


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_of_the_thread_is_raised_unchanged_and_ends_it(error: BaseException):
    consumed: list[int] = []

    def consume(item: int) -> None:
        consumed.append(item)
        if item == 2:
            raise error

    with pytest.raises(type(error)) as raised, in_background(consume, 1) as put:
        put_all(put, 100)
    assert raised.value is error
    assert consumed == [0, 1, 2]


def test_an_error_with_the_last_item_is_raised_at_the_end_of_the_block():
    def consume(_: int) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), in_background(consume, 1) as put:
        put(0)


def test_an_error_of_the_block_drops_what_waits_and_is_the_one_raised():
    begun, go_on = threading.Event(), threading.Event()
    consumed: list[int] = []

    def consume(item: int) -> None:
        begun.set()
        go_on.wait()
        consumed.append(item)
        raise ValueError("of the thread")

    def fill(put: Callable[[int], None]) -> None:
        put_all(put, 3)
        begun.wait()
        threading.Timer(0.01, go_on.set).start()
        raise RuntimeError("of the block")

    with pytest.raises(RuntimeError, match="of the block"), in_background(consume, 3) as put:
        fill(put)
    assert consumed == [0]


def test_the_producer_is_never_further_ahead_than_the_limit():
    allowed = threading.Semaphore(0)
    taken: list[int] = []

    def consume(item: int) -> None:
        allowed.acquire()
        taken.append(item)

    with in_background(consume, 2) as put:
        put_all(put, 3)  # one is held by the thread, two wait
        later = threading.Thread(target=put, args=(3,))
        later.start()
        later.join(0.05)
        assert later.is_alive()
        assert not taken
        for _ in range(4):
            allowed.release()
        later.join()
    assert taken == [0, 1, 2, 3]
