"""Signals while a program starts: one ends it with one line, before anything slow is imported.

Imports nothing but what Python has loaded by then, and `signal`. What comes before the first line of the program cannot
be covered: a Ctrl-C while the interpreter itself starts (its own modules, those that the .pth files of an environment
import, and the script that pip makes of msst-stylize) ends it without a word, or with Python's trace.
"""

import os
import signal

# A hang-up ends a run like a termination, unless `nohup` has it ignored.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def exit_at_once(line: str) -> None:
    """From now on a signal ends the process with one line. To be called while nothing can be half-written yet.

    An exception would be lost, or turned into another one, while C extensions are imported.
    """

    def on_signal(number: int, _frame: object) -> None:
        try:
            os.write(2, f"{line}\n".encode(errors="backslashreplace"))
        finally:  # also where nobody listens
            os._exit(128 + number)

    for number in heeded_signals():
        signal.signal(number, on_signal)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `hold_signals`


def hold_signals() -> None:
    """Keeps signals for later, also across the start of another program in this process; `exit_at_once` heeds them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def heeded_signals() -> list[signal.Signals]:
    """Those that the program was not told to ignore, as a shell script tells those that it starts with &."""
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
