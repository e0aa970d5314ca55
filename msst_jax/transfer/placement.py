"""One picture over several devices: which strips it is cut into, and its arrays brought there.

What has the shape of the picture (photo, masks, guides, content features, pixels and the state of the optimizer) lies
on the devices in strips; the network and the statistics of the styles are on every one.
"""

from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from msst_jax.models.vgg import deepest_tap, layer_stride, tap_names
from msst_jax.ops.device_split import device_mesh, place_everywhere
from msst_jax.ops.picture_split import COLUMNS, ROWS, STRIPS, PictureSplit, place_pictures
from msst_jax.transfer.objective import Scene
from msst_jax.transfer.options import NetworkOptions


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


def place_scene(network: NetworkOptions, scene: Scene, split: PictureSplit | None) -> Scene:
    """The scene with its photo in strips, and each painting in strips of its own where its sides allow it."""
    if split is None:
        return scene

    def place_painting(image: jax.Array) -> jax.Array:
        own = _strips(image.shape, split.mesh, split.devices * strip_multiple(network))
        return place_pictures(image, own) if own else place_everywhere(image, split)

    styles = tuple(
        style._replace(paintings=tuple(place_painting(image) for image in style.paintings)) for style in scene.styles
    )
    photo, masks, kept = place_pictures((scene.photo, scene.masks, scene.kept), split)
    return scene._replace(photo=photo, masks=masks, kept=kept, styles=styles)
