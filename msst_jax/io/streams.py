"""Standard input and output as files: a photo from a pipe, a picture into one."""

import os
import sys
from typing import TextIO

from msst_jax.errors import UserError
from msst_jax.io.files import os_errors_as_user_errors
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.written import record_written

_TO_FILE = f"-o {STANDARD_STREAM} > FILE"


def read_input(what: str) -> bytes:
    """Everything on standard input.

    Args:
      what: the role of the file, named in errors.

    Raises:
      UserError: it is a terminal or closed.
    """
    if _is_closed(sys.stdin) or sys.stdin.isatty():
        raise UserError(f"{what} {STANDARD_STREAM}: nothing is piped into standard input; give a file, or < FILE")
    return sys.stdin.buffer.read()


def check_output() -> None:
    """Raises UserError if standard output is a terminal or closed."""
    if _is_closed(sys.stdout):
        raise UserError(f"cannot write a picture to standard output: it is closed; give a file with -o, or {_TO_FILE}")
    if sys.stdout.isatty():
        raise UserError(f"cannot write a picture to a terminal; give a file with -o, or {_TO_FILE}")


def _is_closed(stream: TextIO | None) -> bool:
    """Whether the program was started without this stream: `runtime.streams` puts the null device in its place."""
    return stream is None or getattr(stream, "name", None) == os.devnull


def write_output(content: bytes) -> None:
    """Writes to standard output.

    Raises:
      UserError: nobody reads it, or no space.
    """
    with os_errors_as_user_errors(STANDARD_STREAM):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    record_written(STANDARD_STREAM)
