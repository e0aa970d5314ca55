"""What a comparison of benchmarks.parity is: how it is measured at two precisions, and the rows that it makes."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from convert_weights.check import compare

PRECISIONS = {"default": None, "highest": "highest"}
"""{name in a row: what `jax.default_matmul_precision` takes}."""

Arrays = Mapping[str, np.ndarray]
Errors = Mapping[str, float]
"""{tensor: its error}; several tensors make one row, which tells the worst."""


class Label(NamedTuple):
    """What a row says beside its errors."""

    what: str
    against: str
    shape: str
    limit: float
    """The largest error at the highest precision that the tests allow."""


class Comparison(NamedTuple):
    """Something that both sides compute at once, for one or more rows."""

    labels: Mapping[str, Label]
    """{key of a row: its label}."""
    start: Callable[[], Callable[[], Mapping[str, Errors]]]
    """Lets torch compute, and returns what computes with JAX, at whatever precision is set, {key of a row: errors}."""


class Found(NamedTuple):
    """The worst error at one precision."""

    error: float
    """Infinite where a value is not a number or a shape is another."""
    at: str
    """The tensor, or nothing if the row has only one."""


class Row(NamedTuple):
    """A line of the table."""

    group: str
    what: str
    against: str
    shape: str
    default: Found
    highest: Found
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the error at the highest precision is within the limit."""
        return self.highest.error <= self.limit


def rows_of(group: str, comparison: Comparison) -> list[Row]:
    """Measures at both precisions. JAX compiles a jitted function anew for each, so it may be the same function."""
    measure = comparison.start()
    found = {}
    for name, precision in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            found[name] = measure()
    default, highest = (found[name] for name in PRECISIONS)
    return [
        Row(group, label.what, label.against, label.shape, worst(default[key]), worst(highest[key]), label.limit)
        for key, label in comparison.labels.items()
    ]


def worst(errors: Errors) -> Found:
    """The largest of some errors and whose it is."""
    finite = {name: math.inf if math.isnan(error) else error for name, error in errors.items()}
    name = max(finite, key=finite.__getitem__)
    return Found(finite[name], name if len(errors) > 1 else "")


def errors_of(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """{tensor: largest difference in parts of its largest magnitude in torch}; infinite where shapes differ.

    Raises:
      KeyError: ours lacks a tensor.
    """
    return {name: compare(name, np.asarray(ours[name]), their).ratio for name, their in theirs.items()}


def times(*sizes: int) -> str:
    """A shape as a person writes it."""
    return "x".join(map(str, sizes))
