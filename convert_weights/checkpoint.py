"""Reads torch checkpoints without executing code from them."""

import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.serialization import truncate_problems

from .layouts import find_state_dict
from .torch_compat import import_torch


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """A state dict saved by `torch.save`, by itself or as an entry of a dict, as float32 arrays.

    Raises:
      UserError: the file is missing, damaged, tries to run code, or holds no plain state dict of dense real tensors.
    """
    torch = import_torch()
    try:
        _verify_checksums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own deprecated internals
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name") from None
    except UnpicklingError as error:
        raise UserError(
            f"{path} is not a checkpoint of plain tensors (damaged, or with code, which is never run); get it again"
        ) from error
    except Exception as error:  # torch's readers raise almost any exception on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UserError(f"{path} is not a readable checkpoint ({reason}); get it again") from error
    try:
        state = find_state_dict(loaded, lambda value: isinstance(value, torch.Tensor))
    except ValueError as error:
        raise UserError(
            f"{path} is not a plain state dict (names to tensors), nor has one: {error}; save model.state_dict()"
        ) from error
    unsupported = [f"{key} ({kind})" for key, value in state.items() if (kind := _unsupported_kind(value))]
    if unsupported:
        names = ", ".join(truncate_problems(unsupported))
        raise UserError(f"{path} contains tensors that are not dense and real: {names}; save them as plain float32")
    return {str(key): value.detach().to(torch.float32).numpy() for key, value in state.items()}


def _verify_checksums(path: Path) -> None:
    """torch.load does not verify the checksums of a zip file. The format before torch 1.6 is not a zip and has none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _unsupported_kind(tensor: Any) -> str:
    """Why a tensor is not dense and real; empty if it is."""
    if tensor.is_meta:
        return "meta: no data"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_complex():
        return "complex"
    return "" if tensor.layout == import_torch().strided else "sparse or ragged"
