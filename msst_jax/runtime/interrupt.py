"""Ctrl-C as an event that long work looks at."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_event() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into an event: an exception could strike while the state is being donated.

    A second Ctrl-C raises KeyboardInterrupt as usual.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
