"""A segmenter that needs no training: red is a person, green a cat, blue a dog, black the background."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msst_jax.models import pretrained as weights
from msst_jax.models.deeplab import PERSON_NETWORK
from msst_jax.models.voc import CLASSES
from msst_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD
from msst_jax.regions import inference as segmentation
from msst_jax.regions.segmenter import INFERENCE_SCALES, Segmenter

PERSON, CAT, DOG = (CLASSES.index(name) for name in ("person", "cat", "dog"))
COLOURS = {0: (0, 0, 0), PERSON: (255, 0, 0), CAT: (0, 255, 0), DOG: (0, 0, 255)}
WEIGHTS = "deeplabv3_resnet101.safetensors"


class ColourSegmenter(nnx.Module):
    """Scores are linear in the colors, so no third class appears between two classes."""

    classes = tuple(range(len(CLASSES)))

    def __init__(self, sharpness: float = 5.0):
        self.sharpness = sharpness

    def __call__(self, images: jax.Array) -> jax.Array:
        colours = images * jnp.asarray(IMAGENET_STD) + jnp.asarray(IMAGENET_MEAN)
        scores = jnp.full((*images.shape[:3], len(CLASSES)), -1.0)
        scores = scores.at[..., (PERSON, CAT, DOG)].set(colours)
        return self.sharpness * scores.at[..., 0].set(1 - colours.sum(-1))


class ShiftedSegmenter(ColourSegmenter):
    """Segments everything `pixels` pixels of its input too far to the right."""

    def __init__(self, pixels: int):
        super().__init__()
        self.pixels = pixels

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.roll(super().__call__(images), self.pixels, 2)


class PersonSegmenter(ColourSegmenter):
    """Segments only background and persons, like the embedded network."""

    classes = (0, PERSON)

    def __call__(self, images: jax.Array) -> jax.Array:
        return super().__call__(images)[..., np.array(self.classes)]


def colour_segmenter(model: ColourSegmenter | None = None) -> Segmenter:
    return Segmenter(model or ColourSegmenter(), "deeplabv3_resnet101", WEIGHTS)


def person_segmenter() -> Segmenter:
    return Segmenter(
        PersonSegmenter(), PERSON_NETWORK, f"{PERSON_NETWORK}.safetensors", INFERENCE_SCALES[PERSON_NETWORK]
    )


def painted(labels: np.ndarray) -> np.ndarray:
    """The photo, uint8 (H, W, 3), in which `ColourSegmenter` finds the classes `labels` (H, W)."""
    photo = np.zeros((*labels.shape, 3), np.uint8)
    for label, colour in COLOURS.items():
        photo[labels == label] = colour
    return photo


def animals(height: int = 60, width: int = 80) -> np.ndarray:
    """Classes (H, W): a person on the left, a cat on the right, a small dog in between, and background."""
    labels = np.zeros((height, width), int)
    labels[height // 6 :, : width // 4] = PERSON
    labels[height // 3 :, -width // 3 :] = CAT
    labels[height // 2 : height // 2 + 6, width // 2 - 4 : width // 2 + 4] = DOG
    return labels


def people(height: int = 60, width: int = 80) -> np.ndarray:
    """Classes (H, W): three persons of different sizes, a small dog between the last two, and background."""
    labels = np.zeros((height, width), int)
    labels[10:, 3:10] = PERSON
    labels[28:, 36:43] = PERSON
    labels[10:, 68:77] = PERSON
    labels[40:46, 54:60] = DOG
    return labels


def label_probabilities(labels: np.ndarray, certainty: float = 0.9) -> np.ndarray:
    """(H, W, 21), `certainty` for the classes `labels` (H, W), the rest shared by the others."""
    others = (1 - certainty) / (len(CLASSES) - 1)
    return np.where(np.arange(len(CLASSES)) == labels[..., None], certainty, others).astype(np.float32)


def refinements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replaces edge refinement by a stub; the sizes (H, W) of the photos it is called with are appended to the list."""
    sizes: list[tuple[int, int]] = []

    def refine(probabilities: np.ndarray, photo: np.ndarray) -> np.ndarray:
        sizes.append(photo.shape[:2])
        return probabilities

    monkeypatch.setattr(segmentation, "refine_edges", refine)
    return sizes


def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Simulates that the best weights are converted; the names of loaded networks are appended to the list."""
    loaded = fake_networks(monkeypatch)
    convert("deeplabv3_resnet101")
    return loaded


def convert(name: str) -> None:
    """Simulates that the weights of a network are converted; use with `fake_networks`."""
    path = weights.converted_path(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()


def fake_networks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every network that is loaded is a `ColourSegmenter`; its name is appended to the list."""
    loaded: list[str] = []

    def load(name: str, *, path: Path | None = None) -> tuple[nnx.Module, Path]:
        loaded.append(name)
        model = PersonSegmenter() if name == PERSON_NETWORK else ColourSegmenter()
        return model, path or Path("/somewhere") / f"{name}.safetensors"

    monkeypatch.setattr(weights, "load_deeplab", load)
    return loaded
