"""Into how many windows of rows a picture is cut, so that an evaluation fits into memory."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msst_jax.losses.tiled import feature_windows
from msst_jax.models.precision import compute_dtype
from msst_jax.models.vgg import WIDTHS, deepest_tap, layer_stride, tap_names, taps_to
from msst_jax.ops.batch_split import BatchSplit
from msst_jax.ops.picture_split import PictureSplit
from msst_jax.ops.row_windows import RowWindows
from msst_jax.optim.minimize import state_bytes
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.runtime.memory import available_memory, is_memory_shared
from msst_jax.transfer.options import NetworkOptions, StylizationOptions

WHOLE_BELOW = 10**9  # bytes: evaluations that take less are never cut
# What an evaluation of the whole takes, as a multiple of `feature_bytes`. As XLA plans it on CPU: 1.2 (photo), 1.0
# (photo_separate) and 1.1 (seed); on an H100 half of that.
FEATURE_SHARE = 1.2
PICTURE_COPIES = 4  # of each image and of the result, beside the windows of a tiled evaluation: gradients, composites
SCENE_COPIES = 3  # as much as so many pictures: photo, masks and guides on the device, of two regions
FREE_SHARE = 0.9  # of the free memory: targets of styles, what the allocator loses


class ScalePlan(NamedTuple):
    """What is optimized at one scale.

    Attributes:
      shape: of the pixels, (runs, images, H, W, 3).
      evaluations: made there.
      tiles: windows of rows that the picture is cut into; 1 = it is taken as a whole.
      split: how the picture lies on several devices, or the runs do; None = all is on one.
    """

    shape: tuple[int, ...]
    evaluations: int
    tiles: int = 1
    split: PictureSplit | BatchSplit | None = None

    @property
    def devices(self) -> int:
        """That share the picture or the runs."""
        return self.split.devices if self.split else 1

    @property
    def strips(self) -> int:
        """That the picture is divided into; where the runs are, each device has the whole of it."""
        return self.split.devices if isinstance(self.split, PictureSplit) else 1


def plan_tiles(
    options: StylizationOptions, plans: Sequence[ScalePlan], correction: float = 1.0
) -> tuple[ScalePlan, ...]:
    """The scales with as many tiles as the options say or, where they leave it open, as few as memory allows.

    A picture of which no number of tiles would fit is taken as a whole: what helps is told once its program is there.
    So is one that lies on several devices in strips.

    Args:
      options: network, method and optimizer count.
      plans: the scales.
      correction: what `evaluation_bytes` is to be multiplied by, if a program has told.
    """
    if options.tiles:
        return tuple(plan._replace(tiles=options.tiles) for plan in plans)
    whole = [plan._replace(tiles=1) for plan in plans]
    needs = [evaluation_bytes(options, plan) * correction for plan in whole]
    if max(needs, default=0.0) < WHOLE_BELOW or (available := available_memory()) is None:
        return tuple(whole)
    return tuple(
        _fitted(options, plan, available, correction)
        if need >= WHOLE_BELOW and not isinstance(plan.split, PictureSplit)
        else plan
        for plan, need in zip(whole, needs, strict=True)
    )


def _fitted(options: StylizationOptions, plan: ScalePlan, available: int, correction: float) -> ScalePlan:
    """The plan with the fewest tiles that fit, if any do."""
    rest = FREE_SHARE * available / (plan.devices if is_memory_shared() else 1)
    for tiles in range(1, plan.shape[2]):
        windows = _windows(options, [*options.layers.style, *options.layers.content], plan.shape[2], tiles)
        if tiles > 1 and windows.owned_rows < windows.reach:  # a window hardly gets smaller, and ever more are needed
            break
        cut = plan._replace(tiles=tiles)
        if evaluation_bytes(options, cut) * correction + argument_bytes(options, cut) <= rest:
            return cut
    return plan


def stores_content(options: StylizationOptions, height: int, tiles: int) -> bool:
    """Whether the photo's features that the content loss compares with are stored, and not computed for every window.

    They are, unless they take more than a window on its way through VGG. That depends on nothing else, so that equal
    tiles give equal pictures, whatever memory is free.
    """
    return height * _content_bytes(options) <= max(_passes(options, 1, height, tiles))


def evaluation_bytes(options: StylizationOptions, plan: ScalePlan) -> float:
    """About what loss and gradient take beside their arguments, on each device.

    That is the features, and copies of the pictures if tiled.
    """
    runs, images, height, width, _ = plan.shape
    passes = _passes(options, images, height, plan.tiles)
    if plan.tiles == 1:
        held = max(passes) if options.remat and not options.guided else sum(passes)
        return runs * width * held / plan.devices
    windowed = runs * (max(passes) + height * PICTURE_COPIES * 3 * 4 * (images + 1))
    if not stores_content(options, height, plan.tiles):
        windowed += _windows(options, options.layers.content, height, plan.tiles).size * _content_bytes(options)
    return width * windowed / plan.devices


def _passes(options: StylizationOptions, images: int, height: int, tiles: int) -> list[float]:
    """What each picture, or a window of it, takes on its way through VGG, for each column.

    That is the one image if it is guided, else the images and then their composite.
    """
    style, content = options.layers.style, options.layers.content
    return [
        FEATURE_SHARE * _windows(options, layers, height, tiles).size * feature_bytes(options.network, layers)
        for layers in ([(*style, *content)] if options.guided else [*[style] * images, content])
    ]


def feature_bytes(network: NetworkOptions, layers: Sequence[str]) -> float:
    """Bytes for each pixel: the outputs of all convolutions and poolings down to the deepest layer, and the layers.

    A ReLU after a layer that is compared before it has an output of its own.
    """
    taps = tap_names(network.name, deepest_tap(network.name, layers))
    apart = {after for tap, after in pairwise(taps) if tap.startswith("conv") and tap in layers}
    kept = {*layers, *apart, *(tap for tap in taps if not tap.startswith("relu"))}
    return _itemsize(network) * sum(_channels(taps, tap) for tap in kept)


def _itemsize(network: NetworkOptions) -> int:
    return jnp.dtype(compute_dtype(network.dtype)).itemsize


def _channels(taps: Sequence[str], tap: str) -> float:
    """Of a layer, for each pixel of the image."""
    return WIDTHS[int(tap[4]) - 1] / layer_stride(taps_to(taps, tap)) ** 2


def _windows(options: StylizationOptions, layers: Sequence[str], height: int, tiles: int) -> RowWindows:
    return feature_windows(tap_names(options.network.name), layers, height, tiles)


def argument_bytes(options: StylizationOptions, plan: ScalePlan) -> float:
    """What is there beside an evaluation, on each device: the optimizer's state, the targets and the scene."""
    height, width, channels = plan.shape[2:]
    scene = SCENE_COPIES * height * width * channels * 4 / plan.strips
    return optimizer_bytes(options, plan) + target_bytes(options, plan) + scene


def target_bytes(options: StylizationOptions, plan: ScalePlan) -> float:
    """The features of the photo that the content loss compares with, if they are stored, on each device."""
    height, width = plan.shape[2:4]
    if not stores_content(options, height, plan.tiles):
        return 0
    return height * width * _content_bytes(options) / plan.strips


def _content_bytes(options: StylizationOptions) -> float:
    """Of the features of the content layers, for each pixel."""
    taps, layers = tap_names(options.network.name), options.layers.content
    return _itemsize(options.network) * sum(_channels(taps, layer) for layer in layers)


def optimizer_bytes(options: StylizationOptions, plan: ScalePlan) -> int:
    """The state of the optimizer at a scale, on each device."""
    pixels = jax.ShapeDtypeStruct(plan.shape, jnp.float32)
    return state_bytes(build_optimizer(options.optimizer, plan.evaluations), pixels, batched=True) // plan.devices
