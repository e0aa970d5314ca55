"""Comparisons of benchmarks.parity: errors at two matmul precisions, and the rows of the table."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from convert_weights.check import compare

PRECISIONS = {"default": None, "highest": "highest"}
"""{name in a row: argument of `jax.default_matmul_precision`}."""

Arrays = Mapping[str, np.ndarray]
Errors = Mapping[str, float]
"""{tensor: its relative error}; a row of several tensors reports the worst."""


class Label(NamedTuple):
    """Text of a row, and its limit."""

    what: str
    against: str
    shape: str
    limit: float
    """The largest error that the tests allow at the highest precision."""


class Comparison(NamedTuple):
    """One computation in both frameworks, reported in one or more rows."""

    labels: Mapping[str, Label]
    """{key of a row: its label}."""
    start: Callable[[], Callable[[], Mapping[str, Errors]]]
    """Runs PyTorch; returns a function that runs JAX at the precision then set and returns {key of a row: errors}."""


class WorstError(NamedTuple):
    """The worst error at one precision."""

    error: float
    """Infinite for NaN and for a wrong shape."""
    at: str
    """Name of the tensor; empty if the row has only one."""


class Row(NamedTuple):
    """One line of the table."""

    group: str
    what: str
    against: str
    shape: str
    default: WorstError
    highest: WorstError
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the error at the highest precision is within the limit."""
        return self.highest.error <= self.limit


def measure_rows(group: str, comparison: Comparison) -> list[Row]:
    """Measures a comparison at both precisions; JAX compiles a jitted function again for each."""
    measure = comparison.start()
    errors = {}
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            errors[name] = measure()
    default, highest = (errors[name] for name in PRECISIONS)
    return [
        Row(
            group,
            label.what,
            label.against,
            label.shape,
            worst_error(default[key]),
            worst_error(highest[key]),
            label.limit,
        )
        for key, label in comparison.labels.items()
    ]


def worst_error(errors: Errors) -> WorstError:
    """The largest error and the name of its tensor; NaN counts as infinite."""
    comparable = {name: math.inf if math.isnan(error) else error for name, error in errors.items()}
    name = max(comparable, key=comparable.__getitem__)
    return WorstError(comparable[name], name if len(errors) > 1 else "")


def relative_errors(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """{tensor: largest difference relative to its largest magnitude in PyTorch}; infinite if shapes differ.

    Raises:
      KeyError: a tensor is missing in ours.
    """
    return {name: compare(name, np.asarray(ours[name]), their).ratio for name, their in theirs.items()}


def format_shape(*sizes: int) -> str:
    """A shape for the table, such as "64x91"."""
    return "x".join(map(str, sizes))
