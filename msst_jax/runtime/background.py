"""Runs the last stage of a pipeline behind its producer, in a background thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from msst_jax.runtime.queue_end import End

Item = TypeVar("Item")


@contextmanager
def in_background(consume: Callable[[Item], None], behind: int) -> Iterator[Callable[[Item], None]]:
    """Calls `consume` in a thread with every item that the block puts, in order.

    Leaving the block waits until all are consumed; if it is left by an exception, for the current one only. An
    exception of `consume` is raised at the next put, or when the block is left; no item is consumed after it.

    Args:
      consume: what is done with an item.
      behind: items that may wait in the queue, at least 1; if they do, putting one more waits.

    Yields:
      The function that puts an item.
    """
    waiting: queue.Queue[Item | End] = queue.Queue(maxsize=behind)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        while not isinstance(item := waiting.get(), End):
            if not stop.is_set():  # else the item is dropped, so that nobody waits for room in the queue
                try:
                    consume(item)
                except BaseException as error:  # of any type: it is raised in the producer
                    failures.append(error)
                    stop.set()

    def raise_failure() -> None:
        if failures:
            raise failures[0]

    def put(item: Item) -> None:
        raise_failure()
        waiting.put(item)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield put
    except BaseException:
        stop.set()
        raise
    finally:
        waiting.put(End())
        thread.join()
    raise_failure()
