"""Ctrl-C and the signals that mean the same: what has been done is kept, one line is printed, 128 + signal is returned.

From the first moment on: `first_signals` while the program is imported, `signals_as_interrupts` around a command, and
within that `interrupt_event` around loops that must come to a whole state first.
"""

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from msst_jax.runtime.first_signals import heeded_signals
from msst_jax.runtime.streams import discard

REPEATED_AFTER = 0.01  # seconds: once the finalizer has ended
EXIT_INTERRUPTED = 128 + signal.SIGINT


def exit_code_after(number: int) -> int:
    """What a program returns after a signal: 130 after Ctrl-C, 143 after SIGTERM, 129 after a hang-up."""
    return 128 + number


class ReceivedSignal:
    """The first signal that arrived.

    Attributes:
      number: of the signal; None = none that ended something.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def exit_code(self) -> int:
        """What an interrupted program returns; see `exit_code_after`."""
        return exit_code_after(self.number or signal.SIGINT)


@contextmanager
def signals_as_interrupts() -> Iterator[ReceivedSignal]:
    """Inside, SIGTERM and SIGHUP do what Ctrl-C does at that moment: raise KeyboardInterrupt, or set an event."""
    received = ReceivedSignal()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def on_interrupt(number: int, _frame: FrameType | None) -> None:
        received.number = received.number or number
        raise KeyboardInterrupt

    def on_other(number: int, frame: FrameType | None) -> None:
        received.number = received.number or number
        if number != signal.SIGTERM:
            _leave_terminal()
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else on_interrupt)(number, frame)

    handlers = {number: on_interrupt if number == signal.SIGINT else on_other for number in heeded_signals()}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: _raise_again(unraisable, hook)
    try:
        yield received
    finally:
        sys.unraisablehook = hook
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_again(unraisable: "sys.UnraisableHookArgs", otherwise: Callable[["sys.UnraisableHookArgs"], object]) -> None:
    """Repeats an interrupt that hit a finalizer or a callback, out of which no exception leads."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        threading.Timer(REPEATED_AFTER, os.kill, [os.getpid(), signal.SIGINT]).start()
    else:
        otherwise(unraisable)


class InterruptEvent(threading.Event):
    """Set by the first signal.

    Attributes:
      number: of the signal; 0 = it was not set by one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0


@contextmanager
def interrupt_event() -> Iterator[InterruptEvent]:
    """Turns the first Ctrl-C into an event: an exception could be raised while the state is being donated.

    A second Ctrl-C raises KeyboardInterrupt as usual.
    """
    event = InterruptEvent()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)

    def on_first_interrupt(number: int, _frame: object) -> None:
        event.number = number
        event.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, on_first_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)


def _leave_terminal() -> None:
    """Lets output to the terminal go nowhere, since it is gone and writing to it would raise."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                discard(stream)
