"""Standard input and output as files: a photo from a pipe, a picture into one."""

import sys

from msst_jax.errors import UserError
from msst_jax.io.files import os_errors_as_user_errors
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.written import record_written


def read_input(what: str) -> bytes:
    """Everything on standard input.

    Args:
      what: the role of the file, named in errors.

    Raises:
      UserError: it is a terminal or closed.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(f"{what} {STANDARD_STREAM}: nothing is piped into standard input; give a file, or < FILE")
    return sys.stdin.buffer.read()


def check_output() -> None:
    """Raises UserError if standard output is a terminal or closed."""
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError(f"cannot write a picture to a terminal; give a file with -o, or -o {STANDARD_STREAM} > FILE")


def write_output(content: bytes) -> None:
    """Writes to standard output.

    Raises:
      UserError: nobody reads it, or no space.
    """
    with os_errors_as_user_errors(STANDARD_STREAM):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    record_written(STANDARD_STREAM)
