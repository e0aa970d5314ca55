"""An open checkpoint: its content, and the values of its tensors."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msst_jax.errors import UserError

from . import legacy_form, zip_form
from .parts import Parts
from .pickles import is_count
from .stand_ins import Tensor
from .texts import shown


@dataclass(frozen=True)
class Checkpoint:
    """A file of `torch.save`, while it is open."""

    parts: Parts

    @property
    def content(self) -> object:
        """What was saved, each tensor as a `Tensor`; objects that are neither plain values nor tensors are opaque."""
        return self.parts.content

    def arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """The values of dense real tensors as float32, views of common memory where tensors share a storage.

        Raises:
          UserError: the file does not hold a tensor.
          Exception: of almost any type, if the file is damaged.
        """
        storages: dict[tuple[str, np.dtype | None], np.ndarray] = {}
        arrays = {}
        for name, tensor in tensors.items():
            assert tensor.storage is not None
            place = tensor.storage.key, tensor.dtype
            if place not in storages:
                storages[place] = self._values(tensor)
            arrays[name] = _view(tensor, storages[place])
        return arrays

    def _values(self, tensor: Tensor) -> np.ndarray:
        """The whole storage of a tensor as float32: no more memory than four times what is in the file."""
        assert tensor.storage is not None
        assert tensor.dtype is not None
        found, expected = self.parts.read(tensor.storage.key), tensor.storage.size
        if len(found) < expected:
            raise UserError(f"has {len(found)} bytes in a storage of {expected}: it is damaged; get it again")
        size = tensor.dtype.itemsize
        values = np.frombuffer(found, f"u{size}", expected // size)
        if self.parts.byteorder != sys.byteorder:
            values = values.byteswap()
        with np.errstate(over="ignore"):  # the converter finds values that are not finite, and names their tensors
            return values.view(tensor.dtype).astype(np.float32, copy=False)


def _view(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """The view of the storage `values` that a tensor is."""
    assert tensor.storage is not None
    assert tensor.dtype is not None
    shape, strides = tensor.shape, tensor.strides
    if not all(map(is_count, (tensor.offset, *shape, *strides))) or len(shape) != len(strides):
        raise UserError(f"has a tensor of shape {shown(shape)} and strides {shown(strides)}; get it again")
    if 0 in shape:
        return np.zeros(shape, np.float32)
    unit = tensor.storage.type.dtype.itemsize  # one byte, if the storage has no type
    start, length = (number * unit // tensor.dtype.itemsize for number in (tensor.storage.start, tensor.storage.length))
    needed = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
    if needed > length:
        raise UserError(f"has a tensor of {needed} values in a storage of {length}: it is damaged; get it again")
    first = (start + tensor.offset) * values.itemsize
    return np.ndarray(shape, np.float32, values.data, first, [stride * values.itemsize for stride in strides])


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Opens a file of either form; nothing in it is run.

    Raises:
      FileNotFoundError: there is none.
      UserError: it is not one of torch.save, or holds not only tensors; the message follows the name of the file.
      Exception: of almost any type, if it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(zip_form.HEAD):
            yield Checkpoint(zip_form.read_zip(file))
        elif head.startswith(legacy_form.HEAD):
            yield Checkpoint(legacy_form.read_pickles(file))
        else:
            raise UserError(f"{f'begins with {head!r}' if head else 'is empty'}, no file of torch.save; get it again")
