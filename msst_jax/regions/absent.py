"""What is said of a region that is not in the photo: why, what is there, and how to go on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.regions.components import near_small_components
from msst_jax.regions.instances import Instances
from msst_jax.regions.masks import format_fractions

OTHER_MEANING = str.maketrans(dict.fromkeys("#/\\", "-"))  # of these in names of files


class Absent(NamedTuple):
    """A region whose mask is empty."""

    name: str
    channels: Sequence[int]
    """Its channels of the probabilities."""
    peak: float
    """The largest value of its mask."""


def mask_file_name(stem: str, region: str) -> str:
    """The name of the mask of a region beside the overlay STEM.png, without what means else in a shell, URL or path."""
    return f"{stem}_{region.translate(OTHER_MEANING)}.png"


def check_mask_files(stem: str, regions: Iterable[str]) -> dict[str, str]:
    """{region: the name of its mask}.

    Raises:
      UserError: two regions have the same; names both.
    """
    owners: dict[str, str] = {}
    for region in regions:
        file = mask_file_name(stem, region)
        if owners.setdefault(file, region) != region:
            raise UserError(
                f"the masks of the regions {owners[file]!r} and {region!r} would both be {file}; rename one of them"
            )
    return {region: file for file, region in owners.items()}


def paint_it(name: str) -> str:
    """How to go on with a region that is not found; from Python without the command, see `api.wording`."""
    return (
        f"paint it: `stylize.py PHOTO --regions-only --style {name}=FILE -o masks.png` writes an empty "
        f"{mask_file_name('masks', name)}; make it white in the region and give --mask {name}=FILE"
    )


def explain_absent(
    region: Absent,
    before: np.ndarray,
    after: np.ndarray,
    min_speck: float,
    *,
    taken: Sequence[str],
    found: Mapping[str, float],
    claimants: str,
) -> str:
    """The error message for an empty region.

    Args:
      region: see `Absent`.
      before: the probabilities (H, W, C) before the given masks are subtracted.
      after: (H, W, C), or (H, W, C + 1), after that.
      min_speck: percent of the photo; smaller components are removed.
      taken: the instances of its class that other regions name.
      found: the area fraction of every class.
      claimants: what is subtracted, "given masks".
    """
    likeliest = np.isin(after.argmax(-1), region.channels)
    advice = f"leave its --style out, or {paint_it(region.name)}"
    if not np.isin(before.argmax(-1), region.channels).any():
        reason = f"is empty: all that is in the photo is {', '.join(taken)}" if taken else "was not found in the photo"
    elif not likeliest.any():
        reason = f"is entirely covered by the {claimants}"
    elif near_small_components(likeliest, min_speck / 100 * likeliest.size).all():
        reason = f"was found only in specks smaller than config.min_speck = {min_speck:g}% of the photo"
    else:
        reason = f"has a probability of at most {region.peak:.0%}, although it is the likeliest class somewhere"
        advice = f"keep it with --config.hard_masks=True, or {advice}"
    return f"region {region.name!r} {reason}; found: {format_fractions(found)}: {advice}"


def explain_uncounted(region: str, name: str, found: Instances, fractions: Mapping[str, float]) -> str:
    """The error message for a region with a number of the class called `name` that is beyond those in the photo."""
    if not found.fractions:
        return (
            f"region {region!r} was not found in the photo; found: {format_fractions(fractions)}: leave its --style "
            f"out, or {paint_it(region)}"
        )
    return (
        f"region {region!r} was not found in the photo, which has {found.describe(name)}; give one of these, or "
        f"{paint_it(region)}"
    )
