"""What was logged, and logging restored: settings that a command makes for its process must not affect later tests."""

import contextlib
import sys
from collections.abc import Iterator
from logging import WARNING, getLogger

import pytest
from absl import logging


@contextlib.contextmanager
def restored_logging() -> Iterator[None]:
    """Takes back what `configure_logging` and absl set: levels, filters and the hook for unraisable exceptions."""
    handler, loggers = logging.get_absl_handler(), [getLogger(name) for name in ("", "absl", "jax")]
    verbosity, levels = logging.get_verbosity(), [one.level for one in loggers]
    filters, hook = handler.filters[:], sys.unraisablehook
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)  # sets levels too, so these come after it
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
        handler.filters[:], sys.unraisablehook = filters, hook


def logged_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of warnings and errors."""
    return [record.getMessage() for record in caplog.records if record.levelno >= WARNING]
