"""Reads the files that `torch.save` writes, without torch; nothing in them is ever run.

Source of the format: torch/serialization.py (`_save` and `_load`, `_legacy_save` and `_legacy_load`) and
torch/_utils.py (the `_rebuild_*` functions). A file holds a pickle in which each tensor is a call of a `_rebuild_*`
function on a persistent id ("storage", type, key, device, count) and an offset, a shape and strides in elements; the
values of a storage lie outside of the pickle, and tensors may share one. There are two forms:

- since torch 1.6 a zip file, of entries that are not compressed: FOLDER/data.pkl is the pickle, FOLDER/data/KEY a
  storage, and FOLDER/byteorder "little" or "big" (little where it is absent);
- before, and still of many published files, a row of pickles: a magic number, a version, facts about the machine (which
  mean nothing: the values are little-endian on any), the content, and the keys of the storages, which follow in that
  order, each as its count of elements (int64) and its values.

The pickle is read with a table of the names that tensors need. Each stands for an object of this package, and any other
name is refused (`names`). No size that a file claims is believed before it is compared with the size of the file.
"""

from .checkpoints import Checkpoint, open_checkpoint
from .stand_ins import Tensor

__all__ = ["Checkpoint", "Tensor", "open_checkpoint"]
