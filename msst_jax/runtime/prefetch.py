"""Runs one stage of a pipeline ahead of its consumer, in a background thread."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeVar

from msst_jax.ops.ambient_precision import with_ambient_precision
from msst_jax.runtime.queue_end import End

POLL_SECONDS = 0.1  # how often a blocked producer checks whether its consumer has stopped

Item = TypeVar("Item")


class _Failure(NamedTuple):
    error: BaseException


def prefetch(items: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """The same items, computed in a thread that is at most `ahead` items ahead.

    The thread computes at the precision of products that is set here, which JAX keeps for each thread. An exception of
    the thread is raised here. Closing the generator ends the thread after the current item.

    Args:
      items: an iterable; if it is a generator, it is closed in the end.
      ahead: items that may wait in the queue, at least 1.
    """
    ready: queue.Queue[Item | _Failure | End] = queue.Queue(maxsize=ahead)
    stop = threading.Event()
    thread = threading.Thread(target=with_ambient_precision(_produce), args=(items, ready, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


def _produce(items: Iterable[Item], ready: "queue.Queue[Item | _Failure | End]", stop: threading.Event) -> None:
    try:
        for item in items:
            _put(item, ready, stop)
            if stop.is_set():
                break
        _put(End(), ready, stop)
    except BaseException as error:  # of any type: it is raised in the consumer
        _put(_Failure(error), ready, stop)
    finally:
        if isinstance(items, Generator):
            items.close()


def _put(item: Item | _Failure | End, ready: "queue.Queue[Item | _Failure | End]", stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            return ready.put(item, timeout=POLL_SECONDS)
        except queue.Full:
            continue
