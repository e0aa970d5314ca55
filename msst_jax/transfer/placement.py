"""What several devices share of an optimization: its runs, or one picture, and the arrays brought there.

Runs are divided where they divide evenly: nothing is exchanged then, and all but the pixels and the state of the
optimizer is on every device. Else each device has a strip of the picture: of all that has its shape (photo, masks,
guides, content features, pixels and the state of the optimizer); the network and the statistics of the styles are on
every one.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from jax.tree_util import Partial

from msst_jax.models.vgg import deepest_tap, layer_stride, tap_names
from msst_jax.ops.batch_split import BatchSplit, place_shares, split_batch
from msst_jax.ops.device_split import device_mesh, place_everywhere
from msst_jax.ops.picture_split import COLUMNS, ROWS, STRIPS, PictureSplit, place_pictures
from msst_jax.transfer.objective import Scene
from msst_jax.transfer.options import NetworkOptions


def share_work(
    network: NetworkOptions, shape: Sequence[int], devices: Sequence[jax.Device]
) -> PictureSplit | BatchSplit | None:
    """How pixels (runs, images, H, W, 3) lie on devices: by runs, if there are a multiple of the devices, or in strips.

    None = on one.
    """
    return split_batch(devices) if shape[0] % len(devices) == 0 else choose_split(network, shape, devices)


def choose_split(network: NetworkOptions, shape: Sequence[int], devices: Sequence[jax.Device]) -> PictureSplit | None:
    """How a picture (..., H, W, C) lies on as many of the devices as divide it; None = on one.

    The strips are equal, and each begins where a feature of the deepest layer does. Those of the longer side are
    preferred: their edges, where devices exchange features, are shorter.
    """
    for count in range(len(devices), 1, -1):
        split = _strips(shape, device_mesh(devices[:count], STRIPS), count * strip_multiple(network))
        if split:
            return split
    return None


def strip_multiple(network: NetworkOptions) -> int:
    """The pixels that a strip has a multiple of."""
    layers = [*network.layers.style, *network.layers.content]
    return layer_stride(tap_names(network.name, deepest_tap(network.name, layers)))


def _strips(shape: Sequence[int], mesh: Mesh, multiple: int) -> PictureSplit | None:
    """Strips of the longer side that is a multiple, if any is."""
    for axis in sorted((ROWS, COLUMNS), key=lambda axis: -shape[axis]):
        if shape[axis] % multiple == 0:
            return PictureSplit(mesh, axis)
    return None


def place_scene(network: NetworkOptions, scene: Scene, split: PictureSplit | BatchSplit | None) -> Scene:
    """The scene with its photo in strips, and each painting in strips of its own where its sides allow it.

    Where the runs are divided, it stays on one device, which computes the targets for all; see `place_problem`.
    """
    if not isinstance(split, PictureSplit):
        return scene

    def place_painting(image: jax.Array) -> jax.Array:
        own = _strips(image.shape, split.mesh, split.devices * strip_multiple(network))
        return place_pictures(image, own) if own else place_everywhere(image, split)

    styles = tuple(
        style._replace(paintings=tuple(place_painting(image) for image in style.paintings)) for style in scene.styles
    )
    photo, masks, kept = place_pictures((scene.photo, scene.masks, scene.kept), split)
    return scene._replace(photo=photo, masks=masks, kept=kept, styles=styles)


def place_pixels(pixels: jax.Array, split: PictureSplit | BatchSplit | None) -> jax.Array:
    """Pixels (runs, images, H, W, 3) on their devices."""
    return place_shares(pixels, split) if isinstance(split, BatchSplit) else place_pictures(pixels, split)


def place_problem(problem: tuple[Partial, Any], split: PictureSplit | BatchSplit | None) -> tuple[Partial, Any]:
    """The loss and the runs, where the runs are divided; else they are where the scene is."""
    if not isinstance(split, BatchSplit):
        return problem
    loss, runs = problem
    return place_everywhere(loss, split), place_shares(runs, split)
