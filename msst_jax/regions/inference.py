"""Inference of segmentation networks: preprocesses a photo, returns per-pixel class probabilities."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from msst_jax.io.images import to_array, to_picture
from msst_jax.models.voc import CLASSES
from msst_jax.ops.guided_filter import refine_edges
from msst_jax.ops.image import normalize
from msst_jax.regions.own_segmenter import OwnSegmenter
from msst_jax.regions.segmenter import AnySegmenter, Size, preset_size

ALL_CLASSES = tuple(range(len(CLASSES)))


def preprocess(photo: Image.Image | np.ndarray, input_size: Callable[[Size], Size] = preset_size) -> jax.Array:
    """A photo as the input of a network: float32 (h, w, 3), resized and normalized.

    Args:
      photo: 8-bit RGB image, or (H, W, 3) in [0, 1], which is rounded to 8 bits as in a file.
      input_size: maps the photo's size to the network's input size; see `segmenter.INFERENCE_SCALES`.

    Source: torchvision.transforms._presets.SemanticSegmentation on a Pillow image: bilinear and antialiased,
    rounded to 8 bits, then normalized. On a tensor the same preset rounds differently: up to one level of 255 apart.

    Raises:
      UserError: a size that the network does not support.
    """
    picture = _as_picture(photo)
    return normalize(jnp.asarray(_resize_picture(picture, input_size(picture.size))))


def _as_picture(photo: Image.Image | np.ndarray) -> Image.Image:
    return photo if isinstance(photo, Image.Image) else to_picture(photo)


def _resize_picture(picture: Image.Image, size: Size) -> np.ndarray:
    return to_array(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))


def class_probabilities(
    segmenter: AnySegmenter, photo: Image.Image | np.ndarray, size: Size | None = None, *, refine: bool = False
) -> np.ndarray:
    """Probability of every class at every pixel: float32 (H, W, C), sum 1 over `segmenter.classes`.

    Those of a network are the 21 of `voc.CLASSES`; those that it does not predict have probability 0. The scores
    (logits), not the probabilities, are resized, so that the likeliest class agrees with torchvision. The network is
    compiled once per input shape, not once per photo size. With several inference scales, the scores are averaged over
    them. A registered segmenter has classes of its own, and sees the photo at the size of the result.

    Args:
      segmenter: the network, or a registered segmenter.
      photo: 8-bit RGB image, or (H, W, 3) in [0, 1], at its original size; `preprocess` resizes it.
      size: (width, height) of the result; None = the photo's.
      refine: snap the edges to those of the photo at that size; see `guided_filter.refine_edges`.

    Source of the resizing of the scores: torch.nn.functional.interpolate(mode="bilinear", align_corners=False).

    Raises:
      UserError: as `preprocess`, or a registered segmenter that returns something else than probabilities.
    """
    picture = _as_picture(photo)
    size = size or picture.size
    if isinstance(segmenter, OwnSegmenter):
        seen = _resize_picture(picture, size)
        found = segmenter.probabilities(seen)
        return refine_edges(found, seen) if refine else found
    scores = [_scores(*nnx.split(segmenter.model), preprocess(picture, scale)) for scale in segmenter.scales]
    probabilities = np.asarray(_probabilities(scores, size, segmenter.model.classes))
    return refine_edges(probabilities, _resize_picture(picture, size)) if refine else probabilities


@functools.partial(jax.jit, static_argnums=0)
def _scores(definition: nnx.GraphDef, state: nnx.State, image: jax.Array) -> jax.Array:
    return nnx.merge(definition, state)(image[None])[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _probabilities(scores: Sequence[jax.Array], size: Size, classes: tuple[int, ...]) -> jax.Array:
    # Scores are smooth (the network's grid is coarser than any photo), so downsampling them needs no antialiasing.
    shape = (size[1], size[0], len(classes))
    resized = [jax.image.resize(logits, shape, method="linear", antialias=False) for logits in scores]
    probabilities = jax.nn.softmax(sum(resized[1:], resized[0]) / len(resized))
    if classes == ALL_CLASSES:
        return probabilities
    return jnp.zeros((*probabilities.shape[:2], len(CLASSES))).at[..., np.array(classes)].set(probabilities)
