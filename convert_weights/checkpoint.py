"""Reads torch checkpoints as state dicts of float32 arrays, without torch."""

from pathlib import Path

import numpy as np

from msst_jax.errors import UserError, first_line
from msst_jax.models.serialization import truncate_problems

from .layouts import find_state_dict
from .pth import Tensor, open_checkpoint
from .pth.texts import shown


def read_checkpoint(path: Path, origin: Path | None = None) -> dict[str, np.ndarray]:
    """A state dict saved by `torch.save`, by itself or as an entry of a dict, as float32 arrays.

    Args:
      path: the file.
      origin: what errors name in its place, where it was taken out of another file.

    Raises:
      UserError: the file is missing, damaged, holds more than tensors, or no plain state dict of dense real tensors.
    """
    named = origin or path
    try:
        with open_checkpoint(path) as checkpoint:
            return checkpoint.arrays(_find_tensors(checkpoint.content))
    except FileNotFoundError:
        raise UserError(f"{named} does not exist; check the name") from None
    except UserError as error:
        raise UserError(f"{named} {error}") from None
    except Exception as error:  # a damaged pickle or zip file raises almost any exception
        raise UserError(f"{named} is not a readable checkpoint ({first_line(error)}); get it again") from error


def _find_tensors(content: object) -> dict[str, Tensor]:
    try:
        state = find_state_dict(content, lambda value: isinstance(value, Tensor))
    except ValueError as error:
        raise UserError(
            f"is not a plain state dict (names to tensors), nor has one: {error}; save model.state_dict()"
        ) from error
    unsupported = [f"{shown(key)} ({value.unsupported})" for key, value in state.items() if value.unsupported]
    if unsupported:
        names = ", ".join(truncate_problems(unsupported))
        raise UserError(f"contains tensors that are not dense and real: {names}; save them as plain float32")
    return {str(key): value for key, value in state.items()}
