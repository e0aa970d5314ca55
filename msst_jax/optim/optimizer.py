"""The optimizers of an image by name, as optax gradient transformations."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from msst_jax.errors import UserError, nearest_or_all
from msst_jax.ops.picture_split import PictureSplit
from msst_jax.optim.lbfgs import torch_lbfgs
from msst_jax.optim.lbfgs_direction import Form
from msst_jax.optim.preconditioner import power_law_preconditioner

OPTIMIZERS = ("lbfgs", "adam")
ADAM_RATE = 0.02  # of its own
HISTORY_DTYPES: dict[str, DTypeLike | None] = {"float32": None, "bfloat16": jnp.bfloat16}  # None: that of the pixels


@dataclass(frozen=True)
class OptimizerOptions:
    """Which optimizer moves the pixels, and how.

    Attributes:
      name: "lbfgs" or "adam".
      learning_rate: 0 = the optimizer's own: 1 for L-BFGS, 0.02 for Adam.
      history: pairs that L-BFGS keeps; each takes 24 bytes a pixel and image.
      history_dtype: their type, "float32" or "bfloat16", which takes half.
      max_step: L-BFGS: longest step, as the root mean square over the pixels; 0 = no limit.
      precondition: L-BFGS: exponent of the power-law preconditioner; 0 = none.
      form: of L-BFGS's direction, see `torch_lbfgs`.
    """

    name: str = "lbfgs"
    learning_rate: float = 0.0
    history: int = 100
    history_dtype: str = "float32"
    max_step: float = 0.0
    precondition: float = 0.0
    form: Form = "by_platform"


Optimizer: TypeAlias = OptimizerOptions | optax.GradientTransformation
"""What moves the pixels, by its options or as it is."""


def without_unused(options: Optimizer, evaluations: int) -> Optimizer:
    """The options of the same transformation for a run of `evaluations` evaluations: without history it does not fill.

    At 512x512 each pair of L-BFGS takes 12 MB for two images.
    """
    if not isinstance(options, OptimizerOptions):
        return options
    return replace(options, history=min(options.history, evaluations) if options.name == "lbfgs" else 0)


def build_optimizer(
    options: Optimizer, evaluations: int, split: PictureSplit | None = None
) -> optax.GradientTransformation:
    """The transformation for a run of `evaluations` evaluations.

    Args:
      options: see `Optimizer`.
      evaluations: that the run makes.
      split: how the pixels lie on several devices; None = they are on one.

    Raises:
      UserError: an unknown name or type.
    """
    options = without_unused(options, evaluations)
    if not isinstance(options, OptimizerOptions):
        return options
    _check_known("optimizer", options.name, OPTIMIZERS)
    _check_known("history_dtype", options.history_dtype, tuple(HISTORY_DTYPES))
    if options.name == "adam":
        return optax.adam(options.learning_rate or ADAM_RATE)
    return torch_lbfgs(
        options.learning_rate or 1.0,
        options.history,
        options.max_step or math.inf,
        partial(power_law_preconditioner, power=options.precondition, split=split) if options.precondition else None,
        history_dtype=HISTORY_DTYPES[options.history_dtype],
        form=options.form,
    )


def _check_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"unknown {what} {name!r}; {nearest_or_all(name, known)}")
