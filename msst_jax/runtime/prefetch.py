"""One stage of work ahead of the next, in a thread of its own."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import NamedTuple, TypeVar

POLL_SECONDS = 0.1  # seconds between two looks at whether anybody still wants an item

Item = TypeVar("Item")


class _Failure(NamedTuple):
    error: BaseException


class _End:
    """Comes after the last item."""


def prefetch(items: Iterable[Item], ahead: int) -> Generator[Item, None, None]:
    """The same items, made in a thread that is at most `ahead` items ahead.

    What the thread raises is raised here. Closing the generator ends the thread, after the item at hand.

    Args:
      items: an iterable; if it is a generator, it is closed in the end.
      ahead: items that may wait, at least 1.
    """
    ready: queue.Queue[Item | _Failure | _End] = queue.Queue(maxsize=ahead)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(items, ready, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()


def _work(items: Iterable[Item], ready: "queue.Queue[Item | _Failure | _End]", stop: threading.Event) -> None:
    try:
        for item in items:
            _put(item, ready, stop)
            if stop.is_set():
                break
        _put(_End(), ready, stop)
    except BaseException as error:  # whatever it is, it belongs to the one who asked
        _put(_Failure(error), ready, stop)
    finally:
        if isinstance(items, Generator):
            items.close()


def _put(item: Item | _Failure | _End, ready: "queue.Queue[Item | _Failure | _End]", stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            return ready.put(item, timeout=POLL_SECONDS)
        except queue.Full:
            continue
