"""Parity of the losses with PyTorch autograd in float32: each loss by itself, and the total."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from benchmarks.parity.rows import Comparison, Errors, Label, format_shape, relative_errors
from reference import loss_cases
from reference.loss_formulas import (
    FORMULA_TOLERANCE,
    Formula,
    formulas,
    value_and_gradient_of_ours,
    value_and_gradient_of_torch,
)

AGAINST = "PyTorch, autograd"
SIZE, CHANNELS, REGIONS = (40, 27), 32, 3
QUICK_SIZE, QUICK_CHANNELS = (7, 5), 6
LOSS_SIZE = (64, 91)
QUICK_LOSS_SIZE = (32, 44)
EXACT = ("max_pool",)


def losses(*, quick: bool) -> list[Comparison]:
    """Value and gradient of every loss function, of `composite`, and of max pooling with many ties."""
    size, channels = (QUICK_SIZE, QUICK_CHANNELS) if quick else (SIZE, CHANNELS)
    comparisons = []
    for name, formula in formulas(*size, channels, REGIONS).items():
        limit = 0 if name in EXACT else FORMULA_TOLERANCE
        shape = format_shape(*formula.x.shape)
        labels = {part: Label(f"{name}, {part}", AGAINST, shape, limit) for part in ("value", "gradient")}
        comparisons.append(Comparison(labels, partial(_start_formula, formula)))
    return comparisons


def _start_formula(formula: Formula) -> Callable[[], Mapping[str, Errors]]:
    theirs = value_and_gradient_of_torch(formula)

    def measure() -> Mapping[str, Errors]:
        errors = relative_errors(value_and_gradient_of_ours(formula), theirs)
        return {part: {part: error} for part, error in errors.items()}

    return measure


def whole_loss(*, quick: bool) -> list[Comparison]:
    """The weighted sum of all losses for 2 and 3 regions, through the embedded VGG-16."""
    size, counts = (QUICK_LOSS_SIZE, (2,)) if quick else (LOSS_SIZE, (2, 3))
    return [Comparison(_whole_loss_labels(count, size), partial(_start_whole_loss, count, size)) for count in counts]


def _whole_loss_labels(regions: int, size: tuple[int, int]) -> dict[str, Label]:
    what, against, shape = f"whole loss, {regions} regions", f"{AGAINST} of the twin", format_shape(*size)
    return {
        "value": Label(f"{what}, value", against, shape, loss_cases.VALUE_TOLERANCE),
        "gradient": Label(f"{what}, gradient (norm of the difference)", against, shape, loss_cases.GRADIENT_TOLERANCE),
    }


def _start_whole_loss(regions: int, size: tuple[int, int]) -> Callable[[], Mapping[str, Errors]]:
    case, vgg = loss_cases.case(regions, *size), loss_cases.load_network()
    value, gradient, _ = loss_cases.reference_of(case).value_and_gradient(case.pixels)
    theirs = {"value": np.asarray(value)}

    def measure() -> Mapping[str, Errors]:
        (ours, _), our_gradient = loss_cases.evaluate(vgg, *case, loss_cases.FACTORS)
        return {
            "value": relative_errors({"value": ours}, theirs),
            "gradient": {"gradient": loss_cases.gradient_error(np.asarray(our_gradient), gradient)},
        }

    return measure
