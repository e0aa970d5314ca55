"""What the values of a checkpoint become while its pickle is read: descriptions of tensors, which hold no data yet.

A pickle may give any object that it made a state (opcode BUILD), which would write to the object, or to a class. So no
class is within its reach, and each kind of object here says which state it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from msst_jax.errors import UserError


class Sealed:
    """An object that takes no state from a pickle."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Refused."""
        raise UserError("gives a state to what has none, as torch.save does not; get it again")


@dataclass(frozen=True)
class Name(Sealed):
    """What a name in a pickle stands for; a call of it, the call of `build`.

    Attributes:
      name: module and name, dotted.
      build: gives the stand-in for the result of a call.
    """

    name: str
    build: Callable[..., Any]

    def __call__(self, *arguments: object) -> Any:
        """The stand-in for the result."""
        return self.build(*arguments)


class Opaque:
    """A value that is no tensor, such as a set or a device: only that it is there is known."""

    __slots__ = ()

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        """Forgotten, as the arguments are."""


class Entries(dict[Any, Any]):
    """A dict of another class, without the attributes that it may have, such as `_metadata` of a state dict."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Forgotten."""


@dataclass(frozen=True)
class StorageType(Sealed):
    """Type of a storage's elements.

    Attributes:
      dtype: in numpy.
      unsupported: what tensors of it are that the converter has no use for, such as "complex"; "" for the others.
    """

    dtype: np.dtype
    unsupported: str = ""


@dataclass(frozen=True)
class Storage(Sealed):
    """A run of values in the file, or a part of one.

    Attributes:
      type: of its elements.
      key: its name in the file.
      count: elements that the file should hold.
      start: first element of the part.
      length: elements of the part.
    """

    type: StorageType
    key: str
    count: int
    start: int
    length: int

    @property
    def size(self) -> int:
        """Bytes that the file should hold."""
        return self.count * self.type.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A tensor: a view of a storage.

    Attributes:
      unsupported: why it is not dense and real; "" if it is, and only then the rest is there.
      storage: where its values are.
      dtype: of its values.
      offset: of its first element.
      shape: elements along each axis.
      strides: elements from one index to the next along each axis.
    """

    unsupported: str
    storage: Storage | None = None
    dtype: np.dtype | None = None
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    def __setstate__(self, state: object) -> None:
        """Parameters of 2017 say a second time whether they have a gradient, and which hooks: of no use here."""
        if not isinstance(state, tuple) or len(state) != 3:
            raise UserError("gives a tensor a state in a form of before 2017; save it with a newer torch")
