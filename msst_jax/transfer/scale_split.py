"""How the evaluations of an optimization are shared between its scales."""

from collections.abc import Sequence
from itertools import accumulate

FINEST_SHARE = 0.3  # of several scales


def default_shares(scales: int) -> tuple[float, ...]:
    """The shares of so many scales, coarse to fine, sum 1.

    The finest gets little, because an evaluation there costs most and only sharpens what the coarser ones have formed.
    The others share the rest by their rank, the coarsest most: what it leaves wrong no finer scale mends, since the
    losses see no strokes larger than the reach of their layers.
    """
    ranks = range(scales - 1, 0, -1)
    return (*((1 - FINEST_SHARE) * rank / sum(ranks) for rank in ranks), FINEST_SHARE if ranks else 1.0)


def split_evaluations(total: int, scales: int, shares: Sequence[float] = ()) -> tuple[int, ...]:
    """The evaluations at each scale, coarse to fine; they add up to `total`.

    Args:
      total: at least 1.
      scales: their number.
      shares: one for each, relative to the others; the last scale then gets at least one evaluation, and a coarser one
        may get none. Empty = `default_shares`; then every scale gets at least one, or if there are too few, the finest
        ones do.
    """
    least = 0 if shares else 1
    shares = shares or default_shares(scales)
    summed = sum(shares)
    ends: list[int] = []
    for index, until in enumerate(accumulate(shares), start=1):
        most = total - max(1, least * (scales - index)) if index < scales else total
        ends.append(max(0, min(max(round(total * (until / summed)), (ends or [0])[-1] + least), most)))
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))
