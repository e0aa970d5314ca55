"""The segmentation networks: their input sizes, the choice of one, and loading its weights."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
from absl import logging
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UnknownNameError, UserError
from msst_jax.io.files import check_regular_file
from msst_jax.models import pretrained, serialization
from msst_jax.models.deeplab import LITE_NETWORK, PERSON_NETWORK, SEGMENTERS, TORCHVISION_NETWORKS
from msst_jax.models.voc import CLASSES
from msst_jax.regions.masks import foreground
from msst_jax.regions.own_segmenter import OwnSegmenter, load_own_segmenter
from msst_jax.regions.region_names import class_names
from msst_jax.registry import IMPORT_HINT
from msst_jax.registry import SEGMENTERS as REGISTERED

SHORT_SIDE = 520  # torchvision's preset: what its DeepLab weights were evaluated at
MAX_PIXELS = 8 * SHORT_SIDE**2  # of the input of such a network; a longer strip would take many gigabytes
PERSON_SIDES = (384, 256, 192)  # longer side of the person network's inputs: large for outlines, small for context
LITE_SIDE = 400  # of the one pass of EfficientNet-Lite0's, chosen on photos kept out of its training
SIDE_STEP = 16  # both sides are rounded to multiples of it: the stride of the deepest features
BEST = TORCHVISION_NETWORKS[0]
LARGER_NETWORK_HINT = f", which is small; for finer masks: `{pretrained.CONVERT} {BEST}`"

Size = tuple[int, int]
"""(Width, height) in pixels."""


def preset_size(size: Size) -> Size:
    """The input size of torchvision's networks: the shorter side 520 pixels.

    Source: torchvision.transforms._presets.SemanticSegmentation (resize_size=520).

    Raises:
      UserError: a strip so long that the network would need more than MAX_PIXELS.
    """
    width, height = size
    longer = SHORT_SIDE * max(size) // min(size)
    if SHORT_SIDE * longer > MAX_PIXELS:
        raise UserError(
            f"the photo is {width}x{height}, too long a strip for the segmenter (at most "
            f"{MAX_PIXELS // SHORT_SIDE**2} to 1); crop it, or give a --mask for every region but background"
        )
    return (SHORT_SIDE, longer) if width <= height else (longer, SHORT_SIDE)


def longer_side_size(size: Size, side: int) -> Size:
    """An input size of the package's own networks: the longer side `side` pixels, both sides multiples of 16."""
    scale = side / SIDE_STEP / max(size)
    width, height = (SIDE_STEP * max(1, round(side * scale)) for side in size)
    return width, height


InferenceScales = tuple[Callable[[Size], Size], ...]
"""Functions from the size of a photo to an input size of the network, one per inference scale."""

INFERENCE_SCALES: Mapping[str, InferenceScales] = {
    **dict.fromkeys(TORCHVISION_NETWORKS, (preset_size,)),
    LITE_NETWORK: (functools.partial(longer_side_size, side=LITE_SIDE),),
    PERSON_NETWORK: tuple(functools.partial(longer_side_size, side=side) for side in PERSON_SIDES),
}


class Network(Protocol):
    """An nnx.Module for semantic segmentation."""

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes of its C scores, as indices of voc.CLASSES."""
        ...

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalized images (N, h, w, 3) to scores (logits) (N, h, w, C)."""
        ...


class Segmenter(NamedTuple):
    """A segmentation network with its weights, their names and its inference scales."""

    model: Network
    name: str
    weights: str
    """Name of the weights file."""
    scales: InferenceScales = (preset_size,)
    """The scores are averaged over them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of `class_probabilities`."""
        return CLASSES

    @property
    def predicted(self) -> tuple[str, ...]:
        """The classes that the network has scores for."""
        return tuple(CLASSES[index] for index in self.model.classes)

    def record(self) -> dict[str, Any]:
        """Its entry in the JSON sidecar."""
        return {"name": self.name, "weights": self.weights}


AnySegmenter = Segmenter | OwnSegmenter


def segmenter_classes(name: str) -> tuple[str, ...]:
    """The names of the classes of a segmenter, without loading it; `name` as for `load_segmenter`."""
    return REGISTERED[name].names if name in REGISTERED else CLASSES


def best_available() -> str:
    """The name of the best network with converted weights, else of the one of 20 classes in the package."""
    return next((name for name in TORCHVISION_NETWORKS if pretrained.converted_path(name).exists()), LITE_NETWORK)


def load_segmenter(name: str, wanted: Iterable[str] = (), *, instead: str = "") -> AnySegmenter:
    """Loads a segmenter, and logs which one.

    Args:
      name: a registered segmenter, one of SEGMENTERS (msst_jax/models/deeplab.py), a weights file whose metadata names
        its network, a workdir of train.py, or empty: see `best_available`.
      wanted: the regions it must segment, see `region_names`.
      instead: the flags to suggest in errors instead of a segmenter; empty = a mask for every wanted region.

    Raises:
      UserError: no such network, weights that are missing, damaged or do not fit, or a region that the network cannot
        segment.
    """
    wanted = list(wanted)
    if name in REGISTERED:
        own = load_own_segmenter(name)
        _check_wanted(own, wanted, "give", instead)
        logging.info("segmenter: %s, which segments %s", name, ", ".join(foreground(own.classes)))
        return own
    return _load_network(name, wanted, instead)


def _load_network(name: str, wanted: Sequence[str], instead: str) -> Segmenter:
    network, path = _resolve_network(name or best_available())
    try:
        model, file = pretrained.load_deeplab(network, path=path)
    except UserError as error:
        flags = instead or _mask_flags(wanted)
        raise UserError(f"{error}{f'; or do without it: give {flags}' if flags else ''}") from error
    segmenter = Segmenter(model, network, file.name, INFERENCE_SCALES[network])
    _check_wanted(segmenter, wanted, f"use {LITE_NETWORK} or {BEST}, or give", instead)
    hint = LARGER_NETWORK_HINT if best_available() == network == LITE_NETWORK else ""
    logging.info("segmenter: %s%s", network, hint)
    return segmenter


def _check_wanted(segmenter: AnySegmenter, wanted: Sequence[str], advice: str, instead: str) -> None:
    """Raises UserError for regions that a segmenter cannot find; `advice` is what comes before the flags."""
    known = foreground(segmenter.predicted)
    unknown = [region for region in wanted if not set(class_names(region)) <= set(known)]
    if unknown:
        raise UserError(
            f"{segmenter.name} segments only {', '.join(known)}, not {', '.join(unknown)}; {advice} "
            f"{instead or _mask_flags(unknown)}"
        )


def _resolve_network(name: str) -> tuple[str, Path | None]:
    """(one of SEGMENTERS, its weights file); None for the default file of the network.

    Raises:
      UserError: neither a network nor a weights file of one.
    """
    if name in SEGMENTERS:
        return name, None
    path = serialization.weights_path(name, "--segmenter")
    networks = ", ".join((*SEGMENTERS, *REGISTERED.names))
    check_regular_file(path, "segmenter")
    try:
        with safe_open(path, "numpy") as file:
            network = (file.metadata() or {}).get("network")
    except (OSError, SafetensorError) as error:
        raise UnknownNameError(
            f"segmenter {name} is none of {networks}, and {path} cannot be read ({error}); give one of them, a weights "
            f"file that convert_weights wrote, or a workdir of train.py; {IMPORT_HINT}"
        ) from error
    if network not in SEGMENTERS:
        raise UserError(f"segmenter {path} holds weights of {network or 'no named network'}; use one of {networks}")
    return network, path


def _mask_flags(regions: Iterable[str]) -> str:
    return " ".join(f"--mask {region}=FILE" for region in regions)
