"""The values of --style: the paintings of each region, with their paths resolved."""

from collections.abc import Iterable
from functools import partial

from msst_jax.cli.flags import split_region_files
from msst_jax.errors import UserError
from msst_jax.io.remote import input_path
from msst_jax.transfer.kept import KEEP
from msst_jax.transfer.style_mix import StyleMix, format_style_mix, parse_style_mix


def parse_region_styles(pairs: Iterable[str]) -> dict[str, str]:
    """["person=~/a.jpg:2,b.jpg", ...] to {"person": "/home/me/a.jpg:2,b.jpg:1", ...}.

    Raises:
      UserError: as `split_region_files`, `parse_style_mix` and `input_path`.
    """
    return {name: format_style_mix(mix) for name, mix in _parse_mixes(pairs).items()}


def parse_single_styles(pairs: Iterable[str]) -> dict[str, str]:
    """As `parse_region_styles`, for a model that learns one painting for each region.

    Raises:
      UserError: as there, or a region has several.
    """
    mixes = _parse_mixes(pairs)
    for name, mix in mixes.items():
        if len(mix) > 1:
            files = ", ".join(painting.file for painting in mix)
            raise UserError(f"--style {name} mixes {len(mix)} paintings ({files}); a fast model takes one, give one")
    return {name: format_style_mix(mix) for name, mix in mixes.items()}


def _parse_mixes(pairs: Iterable[str]) -> dict[str, StyleMix]:
    mixes = {}
    for name, text in split_region_files(pairs, "style").items():
        what = f"--style {name}"
        mixes[name] = parse_style_mix(text, what, partial(_resolve, what))
    return mixes


def _resolve(what: str, file: str) -> str:
    return str(input_path(file, what, words=(KEEP,)))
