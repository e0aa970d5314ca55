"""Turns Ctrl-C into an event that long-running loops poll."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_event() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into an event: an exception could be raised while the state is being donated.

    A second Ctrl-C raises KeyboardInterrupt as usual.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def on_first_interrupt(_number: int, _frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, on_first_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
