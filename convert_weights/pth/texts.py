"""Texts of a file in messages."""

import reprlib
from types import NoneType

LEVELS = 3  # of containers in containers: a small pickle can hold one whose whole text is endless
ITEMS = 6  # of each


class _Short(reprlib.Repr):
    def __init__(self, limit: int):
        super().__init__()
        self.maxlevel = LEVELS
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = ITEMS
        self.maxstring = self.maxlong = max(limit, 4)

    def repr_instance(self, x: object, level: int) -> str:
        """Of other types only those that hold nothing else are shown."""
        if isinstance(x, bool | float | complex | NoneType):
            return repr(x)
        if isinstance(x, bytes | bytearray):
            return repr(x[: self.maxstring])
        return f"<{type(x).__name__}>"


def shown(found: object, limit: int = 60) -> str:
    """Something that a file holds, as its beginning on one line: of at most `limit` characters, all of them ASCII.

    The time does not depend on how much there is: of containers, and those in them, only the first items are looked at.
    """
    if isinstance(found, str):
        text = ascii(found[: limit + 1])[1:-1]
    else:
        text = _Short(limit).repr(found).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}..."
