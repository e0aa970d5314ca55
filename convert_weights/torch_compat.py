"""Imports torch and torchvision, which only --check needs, even if their builds do not match."""

import functools
import sys
from types import ModuleType

from msst_jax.errors import UserError


def import_torch() -> ModuleType:
    """Imports torch.

    Raises:
      UserError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"torch cannot be imported ({error}); run pip install torch torchvision") from error
    return torch


def import_torchvision() -> ModuleType:
    """Imports torchvision, even a CUDA build beside a CPU build of torch.

    That pair fails to import ("operator torchvision::nms does not exist") until the operators that it registers
    gradients and shapes for are declared. A matching build declares them itself and would clash, so they are
    declared only after the import has failed.

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
        raise UserError(f"torchvision cannot be imported ({error}); run pip install torch torchvision") from error
    return torchvision


@functools.cache  # the operators live as long as the library object
def _declare_operators() -> object:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
