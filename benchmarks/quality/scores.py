"""The measures of one picture, and their averages over a set."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness.averages import mean_known
from benchmarks.quality.metrics import lpips
from benchmarks.quality.metrics.edges import border_band, edge_score
from benchmarks.quality.metrics.network import (
    LAYERS,
    Statistics,
    content_distance,
    gram_matrix,
    image_statistics,
    load_network,
)
from benchmarks.quality.metrics.palette import palette_matrix, to_lab
from msst_jax.models.vgg import VGG
from msst_jax.transfer.inputs import Painting, PhotoInputs


class Networks(NamedTuple):
    """The networks that measure."""

    vgg: VGG
    alexnet: lpips.Weights | None
    """None if they are not to be had: LPIPS is NaN then."""
    layers: tuple[str, ...] = LAYERS
    """Where style and content are measured."""


def load_networks(alexnet: lpips.Weights | None, layers: Sequence[str] = LAYERS) -> Networks:
    """The networks, with the weights of LPIPS or without; those of style and content up to the deepest of some layers.

    Raises:
      UserError: a layer that the network does not have.
    """
    return Networks(load_network(layers), alexnet, tuple(layers))


class Scores(NamedTuple):
    """The measures of a picture; NaN where there is nothing to measure."""

    gram: np.ndarray
    """(K, K): region by painting, see `network.gram_matrix`; the own painting is on the diagonal."""
    palette: np.ndarray
    """(K, K), see `palette.palette_matrix`."""
    content: float
    """See `network.content_distance`."""
    lpips: float
    """See `lpips.lpips`, of the picture and the photo."""
    edges: float
    """See `edges.edge_score`."""


Paintings = dict[tuple[str, tuple[int, ...]], Statistics]
"""{(file, shape of the image): what the network sees of the painting, but for the features}."""


class Target(NamedTuple):
    """What the pictures of one pair are measured against."""

    photo: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    """(H, W), the region that most of each pixel belongs to."""
    lightness: np.ndarray
    band: np.ndarray
    statistics: Statistics
    """Of the photo."""
    paintings: list[Statistics]
    palettes: list[np.ndarray]
    """The paintings in CIELAB."""


def build_target(networks: Networks, inputs: PhotoInputs, known: Paintings | None = None) -> Target:
    """The target of a pair.

    Args:
      networks: that measure.
      inputs: photo, masks and paintings at the size of the pictures.
      known: the paintings of other pairs; those of this one are added.
    """
    known = {} if known is None else known
    labels = inputs.masks.argmax(-1)
    return Target(
        photo=inputs.photo,
        masks=inputs.masks,
        labels=labels,
        lightness=to_lab(inputs.photo)[..., 0],
        band=border_band(labels),
        statistics=image_statistics(networks.vgg, inputs.photo, inputs.masks, networks.layers),
        paintings=[_painting_statistics(networks, region.paintings[0], known) for region in inputs.regions],
        palettes=[to_lab(region.paintings[0].image) for region in inputs.regions],
    )


def _painting_statistics(networks: Networks, painting: Painting, known: Paintings) -> Statistics:
    """Without the features, which are large."""
    key = painting.file, painting.image.shape
    if key not in known:
        known[key] = image_statistics(networks.vgg, painting.image, layers=networks.layers)._replace(features={})
    return known[key]


def score(networks: Networks, target: Target, picture: np.ndarray) -> Scores:
    """Measures a picture (H, W, 3) in [0, 1], of the size of the photo."""
    colors = to_lab(picture)
    statistics = image_statistics(networks.vgg, picture, target.masks, networks.layers)
    distance = np.nan if networks.alexnet is None else lpips.lpips(networks.alexnet, picture, target.photo)
    return Scores(
        gram=gram_matrix(statistics, target.paintings),
        palette=palette_matrix(colors, target.labels, target.palettes),
        content=content_distance(statistics, target.statistics),
        lpips=distance,
        edges=edge_score(colors[..., 0], target.lightness, target.band),
    )


def own_distance(matrix: np.ndarray) -> float:
    """The mean distance of the regions to their own paintings, of a matrix (K, K)."""
    return mean_known(np.diag(matrix).tolist())


def other_distance(matrix: np.ndarray) -> float:
    """The mean distance of the regions to the paintings of the others; NaN for a single region."""
    return mean_known(matrix[~np.eye(len(matrix), dtype=bool)].tolist())


def is_diagonal(matrix: np.ndarray) -> bool:
    """Whether each region is at least as near to its own painting as to any other.

    A row of NaN does not count; without any other the matrix is not diagonal.
    """
    rows = [(row[index], row) for index, row in enumerate(matrix) if not np.isnan(row).any()]
    return bool(rows) and all(own <= row.min() for own, row in rows)


def mean_scores(scores: list[Scores]) -> dict[str, Any]:
    """The averages over pictures, as the table shows them; "diagonal" counts the pictures."""
    means: dict[str, Any] = {}
    for name in ("gram", "palette"):
        matrices = [getattr(each, name) for each in scores]
        means[f"{name}_own"] = mean_known(map(own_distance, matrices))
        means[f"{name}_other"] = mean_known(map(other_distance, matrices))
        means[f"{name}_diagonal"] = sum(map(is_diagonal, matrices))
    for name in ("content", "lpips", "edges"):
        means[name] = mean_known(getattr(each, name) for each in scores)
    return means
