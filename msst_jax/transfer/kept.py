"""Regions that are left the photo: no style, and the photo's own pixels in the picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.errors import UserError

KEEP = "keep"
"""In place of the file of a style: the region stays as it is in the photo."""
UNCERTAIN = 0.05  # segmenters are hardly ever certain: a share so near to nothing or to all counts as that


class KeptPhoto(NamedTuple):
    """What of a photo is left as it is."""

    photo: jax.Array
    """(H, W, 3) in [0, 1]."""
    share: jax.Array
    """(H, W, 1) in [0, 1]: how much of the photo each pixel shows, exactly 1 beyond the soft edge of a kept region."""


def kept_photo(photo: jax.Array, masks: jax.Array, kept: Sequence[int]) -> KeptPhoto | None:
    """What is left of a photo (H, W, 3) with masks (H, W, K), some of which are kept; None if none is."""
    if not kept:
        return None
    share = masks[..., jnp.asarray(kept)].sum(-1, keepdims=True)
    return KeptPhoto(photo, jnp.clip((share - UNCERTAIN) / (1 - 2 * UNCERTAIN), 0.0, 1.0))


def put_back(image: jax.Array, kept: KeptPhoto | None) -> jax.Array:
    """The image (H, W, 3) with the photo where it is kept."""
    return image if kept is None else kept.share * kept.photo + (1 - kept.share) * image


def kept_regions(styles: Mapping[str, Any]) -> list[str]:
    """The regions that are left the photo, of {region: style}; what is no text is a painting."""
    return [name for name, style in styles.items() if isinstance(style, str) and style == KEEP]


def check_kept(styles: Mapping[str, str], *, guided: bool) -> None:
    """Checks that regions which are kept leave something to do.

    Args:
      styles: {region: its paintings, or KEEP}; see `parse_style_mix`.
      guided: see `StylizationOptions`.

    Raises:
      UserError: every region is kept, or a region is where each has an image of its own.
    """
    kept = kept_regions(styles)
    if not kept:
        return
    if len(kept) == len(styles):
        raise UserError(
            f"--style keeps every region as it is ({', '.join(kept)}); give one of them a painting, "
            f"such as --style {kept[0]}=FILE"
        )
    if not guided:
        raise UserError(
            f"--style {kept[0]}={KEEP} needs config.guided=True; choose a preset that has it, such as --config photo"
        )
