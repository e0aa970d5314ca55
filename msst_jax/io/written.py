"""Which files a run has written, so that one that is interrupted can tell."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from msst_jax.io.paths import STANDARD_STREAM

MOST_NAMES = 4  # that a line has room for
_FILES: ContextVar[dict[Path, None] | None] = ContextVar("written files", default=None)


@contextmanager
def recorded_writes() -> Iterator[Collection[Path]]:
    """Yields the files that are written inside, in the order in which they first were; see `record_written`."""
    files: dict[Path, None] = {}
    token = _FILES.set(files)
    try:
        yield files.keys()
    finally:
        _FILES.reset(token)


def record_written(path: Path) -> None:
    """Takes down that a file, or standard output, has been written as a whole."""
    files = _FILES.get()
    if files is not None:
        files[path] = None


def describe_written(files: Collection[Path]) -> str:
    """Names the files that are still there: a run removes its intermediate ones."""
    left = [path for path in files if path == STANDARD_STREAM or path.exists()]
    if not left:
        return "nothing was written"
    if len(left) > MOST_NAMES:
        return f"{len(left)} files were written, the last of them {left[-1]}"
    return f"all that was written: {', '.join(map(str, left))}"
