"""The weights that the training of a segmenter starts from, and those that it reads and never changes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from msst_jax.errors import UserError
from msst_jax.models import efficientnet, pretrained, serialization
from msst_jax.models.deeplab import LITE_NETWORK, PERSON_NETWORK
from msst_jax.models.efficientnet import EfficientNetLite
from msst_jax.models.low_rank_vgg import LOW_RANK, NETWORK, low_rank_factors
from msst_jax.ops.image import IMAGENET_MEAN, IMAGENET_STD
from msst_jax.training.options import SegmenterOptions

RANDOM = "random"
IMAGENET = "imagenet"
BACKBONE = "backbone."  # of the segmenter's weights that are the encoder's

Tensors = dict[str, np.ndarray]
"""{module path: array}."""


def embedded_weights(network: str) -> Tensors:
    """The weights of a segmenter that are another file's of the package, and are not trained."""
    return pretrained.embedded_vgg_tensors() if network == PERSON_NETWORK else {}


def initial_weights(options: SegmenterOptions) -> Tensors:
    """The weights that are not randomly initialized, by config.start.

    Raises:
      UserError: weights that are missing, damaged or of another network.
    """
    start = options.start
    if start == RANDOM:
        return {}
    if options.network == PERSON_NETWORK and start == NETWORK:
        return _conv5_of_vgg16()
    if options.network == LITE_NETWORK and start == IMAGENET:
        return _encoder_of_imagenet()
    path = None if start == options.network else serialization.weights_path(start, "config.start")
    network, _ = pretrained.load_deeplab(options.network, path=path, classes=options.class_indices)  # validates them
    tensors = serialization.state_to_tensors(nnx.state(network, nnx.Any(*serialization.WEIGHT_TYPES)))
    return {name: value for name, value in tensors.items() if not name.startswith(pretrained.EMBEDDED_PREFIX)}


def _encoder_of_imagenet() -> Tensors:
    """EfficientNet-Lite0 as it was trained to classify; UserError if it has not been converted."""
    path = pretrained.converted_path(efficientnet.NETWORK)
    if not path.exists():
        raise UserError(
            f"weights of {efficientnet.NETWORK} are not in {pretrained.weights_folder()}: run "
            f"`{pretrained.CONVERT} {efficientnet.NETWORK}`; or start without them: --config.start={RANDOM}"
        )
    encoder = nnx.eval_shape(lambda: EfficientNetLite(rngs=nnx.Rngs(0)))
    tensors = serialization.read_tensors(path)
    serialization.assign_tensors(encoder, tensors, str(path))  # validates them
    return {f"{BACKBONE}{name}": value for name, value in with_our_normalization(tensors).items()}


def with_our_normalization(encoder: Mapping[str, np.ndarray]) -> Tensors:
    """EfficientNet-Lite0's weights for images as `ops.image.normalize` gives them.

    It was trained on (255 x - 127) / 128 for x in [0, 1], whose range is half as wide: the stem's kernel and mean take
    the difference. Only at the border, where the padding is another gray, do the features differ.

    Source of the numbers: TensorFlow's EfficientNet-Lite (MEAN_RGB and STDDEV_RGB).
    """
    scale = 255 * np.array(IMAGENET_STD) / 128
    shift = (255 * np.array(IMAGENET_MEAN) - 127) / 128
    kernel = encoder["stem.kernel"].astype(np.float64)  # (3, 3, 3, C)
    mean = encoder["stem.mean"] - np.einsum("hwio,i->o", kernel, shift)
    stem = {"stem.kernel": kernel * scale[:, None], "stem.mean": mean}
    return {**encoder, **{name: value.astype(np.float32) for name, value in stem.items()}}


def _conv5_of_vgg16() -> Tensors:
    """A low-rank factorization of VGG-16's own conv5.

    Raises:
      UserError: its weights are missing; names the command that creates them, and the way to start without them.
    """
    path = _complete_vgg16()
    tensors = serialization.read_tensors(path)
    if f"{LOW_RANK[-1]}.kernel" not in tensors:
        raise UserError(
            f"weights {path} end before {LOW_RANK[-1]}; convert all of {NETWORK}, or give --config.start={RANDOM}"
        )
    initial: Tensors = {}
    for name in LOW_RANK:
        inner, outer = low_rank_factors(tensors[f"{name}.kernel"])
        layer = f"{BACKBONE}{name}"
        initial |= {f"{layer}.inner.kernel": inner, f"{layer}.outer.kernel": outer}
        initial[f"{layer}.outer.bias"] = tensors[f"{name}.bias"]
    return initial


def _complete_vgg16() -> Path:
    try:
        return pretrained.find_vgg(NETWORK, LOW_RANK[-1])
    except UserError as error:
        raise UserError(f"{error}; or start without them: --config.start={RANDOM}") from error
