"""Reads torch checkpoints without running code from them."""

import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from convert_weights.torch_compat import import_torch
from msst_jax.errors import UserError
from msst_jax.models.serialization import truncate_problems


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """A state dict saved by `torch.save`, as float32 arrays.

    Raises:
      UserError: the file is missing, damaged, tries to run code, or is no plain state dict of dense real numbers.
    """
    torch = import_torch()
    try:
        _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's about its own deprecated parts
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the name") from None
    except UnpicklingError as error:
        raise UserError(
            f"{path} is no checkpoint of plain tensors (damaged, or it holds code, which is never run); get it again"
        ) from error
    except Exception as error:  # torch's readers raise almost anything on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UserError(f"{path} is not a readable checkpoint ({reason}); get it again") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UserError(f"{path} is not a plain state dict (names to tensors); save model.state_dict()")
    odd = [f"{key} ({kind})" for key, value in loaded.items() if (kind := _oddity(value))]
    if odd:
        told = ", ".join(truncate_problems(odd))
        raise UserError(f"{path} holds tensors that are not dense real numbers: {told}; save them as plain float32")
    return {str(key): value.detach().to(torch.float32).numpy() for key, value in loaded.items()}


def _check_sums(path: Path) -> None:
    """torch.load believes a zip file whatever its checksums say. The format before 1.6 is no zip and has none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _oddity(tensor: Any) -> str:
    """What keeps a tensor from being dense real numbers; empty if nothing."""
    if tensor.is_meta:
        return "meta: no numbers"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_complex():
        return "complex"
    return "" if tensor.layout == import_torch().strided else "sparse or ragged"
