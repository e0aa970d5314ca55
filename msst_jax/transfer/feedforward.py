"""Photos through a trained feed-forward model, batched by size."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.ops.image import normalize
from msst_jax.regions.masks import MaskSpec
from msst_jax.transfer.inputs import NO_STYLE, Painting, PhotoInputs, Region

MAX_BATCH_PIXELS = 2**21  # photos of one size are batched up to so many pixels, and frames of a video
MAX_BATCH = 16
MAX_WAITING_PIXELS = 8 * MAX_BATCH_PIXELS


class PhotoItem(NamedTuple):
    """One photo, and where its image goes."""

    file: Path
    output: Path
    inputs: PhotoInputs


@jax.jit
def stylize_batch(network: Any, photos: jax.Array, masks: jax.Array, mixtures: jax.Array) -> jax.Array:
    """Stylized photos (N, H, W, 3) in [0, 1], with masks (N, H, W, K); the rest as in `Stylizer`."""
    return network(normalize(photos), masks, mixtures)


def batch_by_size(items: Iterable[PhotoItem]) -> Iterator[list[PhotoItem]]:
    """Items in batches that share a size and are not too large; no more than a few batches wait in memory."""
    waiting: dict[tuple[int, ...], list[PhotoItem]] = {}
    for item in items:
        shape = item.inputs.photo.shape
        waiting.setdefault(shape, []).append(item)
        if sum(len(batch) * size[0] * size[1] for size, batch in waiting.items()) > MAX_WAITING_PIXELS:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size]) * size[0] * size[1]))
            continue
        if len(waiting[shape]) >= min(MAX_BATCH, max(1, MAX_BATCH_PIXELS // (shape[0] * shape[1]))):
            yield waiting.pop(shape)
    yield from waiting.values()


def model_regions(model: FeedforwardModel, spec: MaskSpec) -> tuple[Region, ...]:
    """The regions of a model, which does not hold its style images; `spec` tells where their masks come from."""
    named = zip(model.regions, model.styles, strict=True)
    return tuple(Region(name, (Painting(NO_STYLE, file=style),), spec.origin(name)) for name, style in named)
