"""Averages of figures, of which some may be unknown: NaN."""

from collections.abc import Iterable

import numpy as np


def mean_known(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    return float(mean_of_known(np.array(list(values), float)))


def mean_of_known(stacked: np.ndarray) -> np.ndarray:
    """The mean (...) of values (N, ...) over the first axis, leaving out NaN; NaN where nothing is left."""
    known = ~np.isnan(stacked)
    counts = known.sum(0)
    sums = np.where(known, stacked, 0).sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
