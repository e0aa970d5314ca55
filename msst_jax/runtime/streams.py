"""Standard streams that are closed or full: a program that cannot speak still works."""

import os
import sys
from contextlib import suppress
from typing import TextIO, cast


def open_missing_streams() -> None:
    """Points the standard streams that are closed to the null device, by whose name they can be told.

    Otherwise Python has none of that name (printing raises), and the first file that is opened takes its descriptor:
    messages of C libraries would be written into the output. A restart, see `use_hugepages`, finds them closed again.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    sys.stdin = sys.stdin or _open_null("r")
    sys.stdout = sys.stdout or _open_null("w")
    sys.stderr = sys.stderr or _open_null("w")


def _open_null(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode, encoding="utf-8", errors="backslashreplace"))


def print_text(text: object, stream: TextIO) -> None:
    """Prints at once; a reader that has gone, as that of `| head`, has what it wanted.

    Raises:
      OSError: the stream cannot be written for another reason.
    """
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Lets what is still in the buffer, and all that follows, go nowhere; else Python complains when it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
