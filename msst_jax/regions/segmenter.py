"""The networks that find regions: which there are, what each of them sees of a photo, and which one is taken."""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
from absl import logging
from safetensors import SafetensorError, safe_open

from msst_jax.errors import UserError
from msst_jax.models import pretrained as weights
from msst_jax.models import serialization
from msst_jax.models.deeplab import PERSON_NETWORK, SEGMENTERS, TORCHVISION_NETWORKS
from msst_jax.models.voc import CLASSES
from msst_jax.regions.masks import BACKGROUND

SHORT_SIDE = 520  # torchvision's preset: what its DeepLab weights were evaluated at
MAX_PIXELS = 8 * SHORT_SIDE**2  # of what such a network sees; a longer strip would take many gigabytes
PERSON_SIDES = (384, 256, 192)  # the longer side of a photo to the person network: for outlines, and for the whole
PERSON_STEP = 16  # to whole ones of which its sides are rounded: the stride of its deepest features
BEST = TORCHVISION_NETWORKS[0]
LARGER_NETWORK_HINT = (
    f", which finds only {{known}}; for {len(CLASSES) - 1} classes: `python -m convert_weights {BEST}`"
)

Size = tuple[int, int]
"""(Width, height) in pixels."""


def preset_size(size: Size) -> Size:
    """The photo as torchvision's networks see it: the shorter side 520 pixels.

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


def person_size(size: Size, side: int) -> Size:
    """The photo as the person network sees it: the longer side `side` pixels, both sides multiples of 16."""
    scale = side / PERSON_STEP / max(size)
    width, height = (PERSON_STEP * max(1, round(side * scale)) for side in size)
    return width, height


InferenceScales = tuple[Callable[[Size], Size], ...]
"""The size of a photo to each of the sizes at which a network sees it."""

INFERENCE_SCALES: Mapping[str, InferenceScales] = {
    **dict.fromkeys(TORCHVISION_NETWORKS, (preset_size,)),
    PERSON_NETWORK: tuple(functools.partial(person_size, side=side) for side in PERSON_SIDES),
}


class Network(Protocol):
    """An nnx.Module that tells the classes of a photo apart."""

    @property
    def classes(self) -> tuple[int, ...]:
        """What its C scores stand for, as indices of voc.CLASSES."""
        ...

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalised images (N, h, w, 3) to scores (N, h, w, C)."""
        ...


class Segmenter(NamedTuple):
    """A network with its weights, and what to call them in the JSON."""

    model: Network
    name: str
    weights: str
    """Name of the weights file."""
    scales: InferenceScales = (preset_size,)
    """Its scores are the mean over them."""

    def record(self) -> dict[str, str]:
        """What the JSON says of it."""
        return {"name": self.name, "weights": self.weights}


def best_available() -> str:
    """The name of the best network that was converted, or of the one in the package."""
    return next((name for name in TORCHVISION_NETWORKS if weights.converted_path(name).exists()), PERSON_NETWORK)


def load_segmenter(name: str, wanted: Iterable[str] = (), *, instead: str = "") -> Segmenter:
    """The network called `name`, and says in the log which one it is.

    Args:
      name: one of SEGMENTERS (msst_jax/models/deeplab.py), a file of weights that names its network, a workdir of
        train.py, or empty: see `best_available`.
      wanted: the regions it is needed for, names of classes joined by +.
      instead: what a person can give to do without it, for the errors; empty = a mask for every region wanted.

    Raises:
      UserError: no such network, weights that are missing, damaged or not fitting, or a region that the network does
        not know.
    """
    wanted = list(wanted)
    chosen, path = _network_and_file(name or best_available())
    try:
        model, file = weights.load_deeplab(chosen, path=path)
    except UserError as error:
        without = instead or _mask_flags(wanted)
        raise UserError(f"{error}{f'; or do without it: give {without}' if without else ''}") from error
    segmenter = Segmenter(model, chosen, file.name, INFERENCE_SCALES[chosen])
    known = [CLASSES[index] for index in model.classes if CLASSES[index] != BACKGROUND]
    unknown = [region for region in wanted if not set(region.split("+")) <= set(known)]
    if unknown:
        raise UserError(
            f"{chosen} finds only {', '.join(known)}, not {', '.join(unknown)}; take {BEST} "
            f"(`python -m convert_weights {BEST}` makes its weights), or give {instead or _mask_flags(unknown)}"
        )
    larger = LARGER_NETWORK_HINT.format(known=", ".join(known)) if best_available() == chosen == PERSON_NETWORK else ""
    logging.info("regions are found by %s%s", chosen, larger)
    return segmenter


def _network_and_file(name: str) -> tuple[str, Path | None]:
    """One of SEGMENTERS, and the file of its weights; None for the usual one.

    Raises:
      UserError: neither a network nor a file of one.
    """
    if name in SEGMENTERS:
        return name, None
    path = Path(name).expanduser()
    path = path / serialization.MODEL_FILE if path.is_dir() else path
    networks = ", ".join(SEGMENTERS)
    try:
        with safe_open(path, "numpy") as file:
            network = (file.metadata() or {}).get("network")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"segmenter {name} is none of {networks}, and {path} cannot be read ({error}); give one of them, a file "
            "that convert_weights wrote, or a workdir of train.py"
        ) from error
    if network not in SEGMENTERS:
        raise UserError(f"segmenter {path} holds weights of {network or 'no named network'}; use one of {networks}")
    return network, path


def _mask_flags(regions: Iterable[str]) -> str:
    return " ".join(f"--mask {region}=FILE" for region in regions)
