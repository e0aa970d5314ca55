"""What scripts say: the program's own messages, as plain lines on stderr."""

from logging import ERROR, LogRecord, getLogger
from pathlib import Path

from absl import logging

PACKAGE = str(Path(__file__).parent)


def only_own(quiet: bool) -> None:
    """Shows the program's messages without time stamps; of the libraries', which share the logger, errors only.

    Orbax raises what it logs as an error, and is told of then.
    """
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    handler.addFilter(_is_own)
    getLogger("jax").setLevel("WARNING")
    logging.set_verbosity(logging.ERROR if quiet else logging.INFO)


def _is_own(record: LogRecord) -> bool:
    if record.levelno >= ERROR:
        return "/orbax/" not in record.pathname
    return record.pathname.startswith(PACKAGE)
