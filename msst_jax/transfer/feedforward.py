"""Photos through a trained feed-forward model, in batches of one size."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from msst_jax.models.feedforward_model import FastModel
from msst_jax.models.stylizer import Stylizer
from msst_jax.ops.image import composite, normalize
from msst_jax.transfer.inputs import Inputs, Region, origin_of

BATCH_PIXELS = 2**21  # photos of one size are stylised together up to so many pixels
LARGEST_BATCH = 16
WAITING_PIXELS = 8 * BATCH_PIXELS


class Item(NamedTuple):
    """One photo on its way."""

    file: Path
    output: Path
    inputs: Inputs


@jax.jit
def stylise(network: Stylizer, photos: jax.Array, masks: jax.Array, mixtures: jax.Array) -> jax.Array:
    """Composites (N, H, W, 3) of photos (N, H, W, 3) in [0, 1] and masks (N, H, W, K); mixtures as in `Stylizer`."""
    return jax.vmap(composite)(network(normalize(photos), mixtures), masks)


def batches_of_one_size(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items in batches that share a size and are not too large; no more than a few batches wait in memory."""
    waiting: dict[tuple[int, ...], list[Item]] = {}
    for item in items:
        shape = item.inputs.photo.shape
        waiting.setdefault(shape, []).append(item)
        if sum(len(batch) * size[0] * size[1] for size, batch in waiting.items()) > WAITING_PIXELS:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size]) * size[0] * size[1]))
            continue
        if len(waiting[shape]) >= min(LARGEST_BATCH, max(1, BATCH_PIXELS // (shape[0] * shape[1]))):
            yield waiting.pop(shape)
    yield from waiting.values()


def regions_of(model: FastModel, masks: Iterable[str]) -> tuple[Region, ...]:
    """The regions of a model, whose style pictures it does not hold; `masks` names those whose masks were given."""
    nothing = np.empty((0, 0, 3), np.float32)
    named = zip(model.regions, model.styles, strict=True)
    return tuple(Region(name, style, nothing, origin_of(name, masks)) for name, style in named)
