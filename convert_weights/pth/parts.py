"""What either form of a file is taken apart into."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """What a file holds.

    Attributes:
      content: of the pickle, with stand-ins for tensors.
      read: key -> the bytes of that storage, while the file is open; raises UserError if it is absent.
      byteorder: of the values, "little" or "big".
    """

    content: object
    read: Callable[[str], bytes]
    byteorder: str
