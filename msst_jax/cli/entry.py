"""Entry points of the scripts: ready for signals at once, restarted with huge pages, and only then is jax imported.

All imports but those of `first_signals` wait until it is ready.
"""

import os
import signal
import sys

from msst_jax.runtime.first_signals import SIGNALS, exit_at_once


def stylize() -> None:
    """stylize.py and msst-stylize."""
    _run("msst_jax.cli.stylize")


def train() -> None:
    """train.py and msst-train."""
    _run("msst_jax.cli.train")


def _run(module: str) -> None:
    """Runs the `main` of a module as this program, and ends it."""
    program = os.path.basename(sys.argv[0])
    exit_at_once(f"{program}: interrupted; nothing was written")
    import importlib

    from msst_jax.runtime.hugepages import use_hugepages
    from msst_jax.runtime.streams import open_missing_streams

    open_missing_streams()
    use_hugepages()
    main = importlib.import_module(module).main
    exit_at_once(f"{program}: interrupted")  # before and after it is `main` that says what was written
    _leave(main(sys.argv))


def _leave(code: int) -> None:
    """Ends the process; a signal can no longer change how.

    After an interrupt Python's own clean-up is left out: it crashes where a thread still compiles. So it is for a host
    that ends alone, which would wait for the others there.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))
    from msst_jax.runtime.cluster import take_leave

    together = take_leave(code, alone=False)
    if code > 128 or not together:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
