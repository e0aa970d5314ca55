"""What scripts say: the program's own messages, as plain lines on stderr."""

import argparse
import sys
from logging import ERROR, LogRecord, getLogger
from pathlib import Path
from typing import NoReturn

from absl import logging

from msst_jax.errors import UserError

PACKAGE = str(Path(__file__).parents[1])


def configure_logging(quiet: bool) -> None:
    """Shows the program's messages without time stamps; of the libraries', which share the logger, errors only.

    Orbax raises what it logs as an error, and is told of then; after a failed save its threads find their event loop
    closed, each with a traceback.
    """
    sys.unraisablehook = _ignore_closed_event_loop
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    handler.addFilter(_is_own)
    getLogger("jax").setLevel("WARNING")
    logging.set_verbosity(logging.ERROR if quiet else logging.INFO)


def _ignore_closed_event_loop(raised: "sys.UnraisableHookArgs") -> None:
    if str(raised.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(raised)


def _is_own(record: LogRecord) -> bool:
    if record.levelno >= ERROR:
        return "/orbax/" not in record.pathname
    return record.pathname.startswith(PACKAGE)


class ArgumentParser(argparse.ArgumentParser):
    """Raises UserError for a command line that cannot be used, instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see {self.prog} --help")


def print_line(program: str, reason: object) -> None:
    """Prints "PROGRAM: REASON" to stderr, as one line: other libraries' reasons may have several."""
    print(f"{program}: {' '.join(str(reason).splitlines())}", file=sys.stderr)
