"""Reads torch checkpoints without running code from them."""

from pathlib import Path
from pickle import UnpicklingError

import numpy as np

from convert_weights.torch_compat import import_torch
from msst_jax.errors import UserError


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """A state dict saved by `torch.save`, as float32 arrays.

    Raises:
      UserError: the file is missing, damaged, tries to run code, or is no plain state dict.
    """
    torch = import_torch()
    try:
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
    return {str(key): value.detach().to(torch.float32).numpy() for key, value in loaded.items()}
