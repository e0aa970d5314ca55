"""Logging and errors of the scripts: the package's own messages as plain lines on stderr."""

import argparse
import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from logging import ERROR, LogRecord, getLogger
from pathlib import Path
from typing import NoReturn

from absl import logging

from msst_jax.errors import UserError
from msst_jax.runtime.streams import print_text

PACKAGE = str(Path(__file__).parents[1])


def configure_logging(quiet: bool) -> None:
    """Shows the package's messages without timestamps; from libraries that share the logger, only errors.

    Orbax's errors are dropped too, because it also raises them, and its caller reports them; after a failed save its
    threads find their event loop closed, and each would print a traceback.
    """
    sys.unraisablehook = functools.partial(_ignore_closed_event_loop, sys.unraisablehook)
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    handler.addFilter(_is_shown)
    getLogger("jax").setLevel("WARNING")
    logging.set_verbosity(logging.ERROR if quiet else logging.INFO)


def _ignore_closed_event_loop(
    otherwise: Callable[["sys.UnraisableHookArgs"], object], unraisable: "sys.UnraisableHookArgs"
) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        otherwise(unraisable)


def _is_shown(record: LogRecord) -> bool:
    if record.levelno >= ERROR:
        return "/orbax/" not in record.pathname
    return record.pathname.startswith(PACKAGE)


class ArgumentParser(argparse.ArgumentParser):
    """Raises UserError for invalid arguments, instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see {self.prog} --help")


def print_line(program: str, reason: object) -> None:
    """Prints "PROGRAM: REASON" to stderr as one line; messages of other libraries may have several."""
    with suppress(OSError):  # a full or closed stderr must not change how the program ends
        print_text(f"{program}: {' '.join(str(reason).splitlines())}", sys.stderr)
