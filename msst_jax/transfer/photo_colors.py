"""Regions that keep the photo's colors: the style gives its strokes and its light, the photo the rest.

The colors are exchanged in the end. Tried beside it: style images with the mean and covariance of the region's colors
(Gatys et al. 2016, arXiv:1606.05897, section 4). They have these on average only: strokes got colored fringes, and what
was red in the photo was not always so in the picture.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from msst_jax.errors import UserError
from msst_jax.ops.color import take_colors

EVERY_REGION = "*"


def parse_color_regions(text: str) -> tuple[str, ...]:
    """The value of --keep-colours: "person,dog", "true" for all regions, "false" for none.

    Raises:
      UserError: a name that is empty.
    """
    if text in ("true", "false"):
        return (EVERY_REGION,) if text == "true" else ()
    names = tuple(text.split(","))
    if "" in names:
        raise UserError(f"--keep-colours={text} has an empty name; write for example --keep-colours=person,dog")
    return names


def check_color_regions(colored: Iterable[str], regions: Iterable[str]) -> None:
    """Raises UserError for one of the names that is no region."""
    regions = tuple(regions)
    for name in colored:
        if name not in (EVERY_REGION, *regions):
            raise UserError(
                f"--keep-colours names {name!r}, and the regions are {', '.join(regions)}; correct the name, or leave "
                "the names out for all of them"
            )


def with_photo_colors(
    image: jax.Array, photo: jax.Array, masks: jax.Array, regions: Sequence[str], colored: Sequence[str]
) -> jax.Array:
    """An image (H, W, 3) in [0, 1] with the colors of the photo in some of its regions.

    Args:
      image: stylized.
      photo: (H, W, 3) in [0, 1].
      masks: (H, W, K), sum 1 at every pixel.
      regions: the names of the K regions.
      colored: those that keep the photo's colors, or EVERY_REGION.
    """
    if not colored:
        return image
    if EVERY_REGION in colored:
        return take_colors(image, photo)
    share = masks[..., jnp.asarray([regions.index(name) for name in colored])].sum(-1, keepdims=True)
    return share * take_colors(image, photo) + (1 - share) * image
