"""Imports torch and torchvision, also where their builds do not fit together."""

import functools
import sys
from types import ModuleType

from msst_jax.errors import UserError


def import_torch() -> ModuleType:
    """torch.

    Raises:
      UserError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"torch cannot be imported ({error}); run pip install '.[convert]'") from error
    return torch


def import_torchvision() -> ModuleType:
    """torchvision, also where its CUDA build lies beside a CPU build of torch.

    That pair fails to import ("operator torchvision::nms does not exist") until the operators it
    registers gradients and shapes for are declared. A build that fits declares them itself and
    would clash, so this is done only after the failure.

    Raises:
      UserError: torch or torchvision is not installed.
    """
    import_torch()
    try:
        return _import_torchvision()
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return _import_torchvision()


def _import_torchvision() -> ModuleType:
    try:
        import torchvision
    except ImportError as error:
        raise UserError(f"torchvision cannot be imported ({error}); run pip install '.[convert]'") from error
    return torchvision


@functools.cache  # torch forgets the operators when the library object dies
def _declare_operators() -> object:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
