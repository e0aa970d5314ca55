"""Into how many windows of rows a picture is cut, so that an evaluation fits into memory."""

import math
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
FREE_SHARE = 0.9  # of the free memory: guides, targets of styles, what the allocator loses


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
    available //= plan.devices if is_memory_shared() else 1
    rest = FREE_SHARE * available - optimizer_bytes(options, plan) - _target_bytes(options, plan)
    for tiles in range(1, plan.shape[2]):
        windows = _windows(options, [*options.layers.style, *options.layers.content], plan._replace(tiles=tiles))
        if tiles > 1 and windows.owned_rows < windows.reach:  # a window hardly gets smaller, and ever more are needed
            break
        cut = plan._replace(tiles=tiles)
        if evaluation_bytes(options, cut) * correction <= rest:
            return cut
    return plan


def evaluation_bytes(options: StylizationOptions, plan: ScalePlan) -> float:
    """About what loss and gradient take beside their arguments, on each device.

    That is the features, and copies of the pictures if tiled.
    """
    runs, images, height, width, _ = plan.shape
    style, content = options.layers.style, options.layers.content
    if options.guided:
        passes = [_feature_bytes(options, (*style, *content), plan)]
    else:
        passes = [_feature_bytes(options, style, plan)] * images + [_feature_bytes(options, content, plan)]
    if plan.tiles == 1:
        held = max(passes) if options.remat and not options.guided else sum(passes)
        return runs * width * held / plan.devices
    return runs * width * (max(passes) + height * PICTURE_COPIES * 3 * 4 * (images + 1)) / plan.devices


def _feature_bytes(options: StylizationOptions, layers: Sequence[str], plan: ScalePlan) -> float:
    """Of an image, or a window of it, going through VGG, for each column."""
    return FEATURE_SHARE * _windows(options, layers, plan).size * feature_bytes(options.network, layers)


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


def _windows(options: StylizationOptions, layers: Sequence[str], plan: ScalePlan) -> RowWindows:
    return feature_windows(tap_names(options.network.name), layers, plan.shape[2], plan.tiles)


def _target_bytes(options: StylizationOptions, plan: ScalePlan) -> float:
    """The features of the photo that the content loss compares with."""
    taps, layers = tap_names(options.network.name), options.layers.content
    return _itemsize(options.network) * math.prod(plan.shape[2:4]) * sum(_channels(taps, layer) for layer in layers)


def optimizer_bytes(options: StylizationOptions, plan: ScalePlan) -> int:
    """The state of the optimizer at a scale, on each device."""
    pixels = jax.ShapeDtypeStruct(plan.shape, jnp.float32)
    return state_bytes(build_optimizer(options.optimizer, plan.evaluations), pixels, batched=True) // plan.devices
