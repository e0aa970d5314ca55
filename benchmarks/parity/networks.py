"""Parity of VGG and DeepLab-V3 with torchvision's networks in float64, also of a checkpoint of the user's."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from benchmarks.parity.rows import Arrays, Comparison, Errors, Label, format_shape, relative_errors
from convert_weights.check import TOLERANCE, torch_blocks, torch_taps
from convert_weights.checkpoint import read_checkpoint
from convert_weights.convert import convert
from convert_weights.layouts import recognize, with_torchvision_names
from convert_weights.networks import NETWORKS
from convert_weights.output import save_tensors
from msst_jax.models.deeplab import TORCHVISION_NETWORKS, DeepLabV3
from msst_jax.models.pretrained import EMBEDDED_DEEPEST, EMBEDDED_VGG16, load_deeplab, load_vgg
from msst_jax.models.serialization import read_tensors
from msst_jax.models.vgg import BLOCKS, VGG, tap_names
from reference.converted import converted
from reference.random_networks import State, deeplab_state, vgg_state

AGAINST = "torchvision in float64"
SIZES = ((64, 64), (75, 101))
DEEPLAB_SIZE = (333, 500)
QUICK_SIZE = (33, 42)


def vgg(*, quick: bool) -> list[Comparison]:
    """Every tap of VGG-16 with the embedded weights, and of VGG-19 with random ones."""
    comparisons = []
    for size in (QUICK_SIZE,) if quick else SIZES:
        embedded = Label("VGG-16, embedded weights, worst tap", AGAINST, format_shape(*size), TOLERANCE)
        comparisons.append(Comparison({"taps": embedded}, partial(_start_embedded_vgg16, size)))
        if not quick:
            random = Label("VGG-19, random weights, worst tap", AGAINST, format_shape(*size), TOLERANCE)
            comparisons.append(Comparison({"taps": random}, partial(_start_vgg19, size)))
    return comparisons


def deeplab(*, quick: bool) -> list[Comparison]:
    """Every block and the logits of torchvision's three DeepLab-V3, with random weights and statistics."""
    size, names = (QUICK_SIZE, TORCHVISION_NETWORKS[-1:]) if quick else (DEEPLAB_SIZE, TORCHVISION_NETWORKS)
    return [Comparison(_block_labels(name, size), partial(_start_deeplab, name, size)) for name in names]


def checkpoint(path: Path, *, quick: bool) -> list[Comparison]:
    """Every layer of the network in a checkpoint, converted and read as `convert_weights` and the scripts do.

    PyTorch's side is torchvision's network with the tensors of that same file.

    Raises:
      UserError: the file cannot be read, or holds none of the networks of `convert_weights`.
    """
    state = read_checkpoint(path)
    network = recognize(state, path.name)
    state = with_torchvision_names(state, network, path.name)
    tensors = convert(state, network, deepest=None, dtype=np.float32, origin=path.name)
    name, what = network.name, f"{path.name} as {network.name}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.safetensors"
        save_tensors(file, tensors, {"network": name})
        if name not in BLOCKS:
            size, model = QUICK_SIZE if quick else DEEPLAB_SIZE, load_deeplab(name, path=file)[0]
            return [Comparison(_block_labels(what, size), partial(_compare_blocks, name, model, state, size))]
        vgg, taps = load_vgg(name, tap_names(name), path=file)[0], tap_names(name)
    return [
        Comparison(
            {"taps": Label(f"{what}, worst tap", AGAINST, format_shape(*size), TOLERANCE)},
            partial(_compare_taps, name, vgg, state, taps, size),
        )
        for size in ((QUICK_SIZE,) if quick else SIZES)
    ]


def _block_labels(what: str, size: tuple[int, int]) -> dict[str, Label]:
    return {
        "blocks": Label(f"{what}, worst block", AGAINST, format_shape(*size), TOLERANCE),
        "logits": Label(f"{what}, logits", AGAINST, format_shape(*size), TOLERANCE),
    }


def _start_embedded_vgg16(size: tuple[int, int]) -> Callable[[], Mapping[str, Errors]]:
    tensors = read_tensors(EMBEDDED_VGG16)
    state = {key: _from_flax(tensors[path]) for key, path in NETWORKS["vgg16"].keys.items() if path in tensors}
    taps = tap_names("vgg16", EMBEDDED_DEEPEST)
    return _compare_taps("vgg16", load_vgg("vgg16", taps, path=EMBEDDED_VGG16)[0], state, taps, size)


def _start_vgg19(size: tuple[int, int]) -> Callable[[], Mapping[str, Errors]]:
    state = _arrays(vgg_state("vgg19"))
    model = converted("vgg19", nnx.eval_shape(lambda: VGG("vgg19", rngs=nnx.Rngs(0))), state)
    return _compare_taps("vgg19", model, state, tap_names("vgg19"), size)


def _compare_taps(
    name: str, model: VGG, state: Arrays, taps: tuple[str, ...], size: tuple[int, int]
) -> Callable[[], Mapping[str, Errors]]:
    images = _random_image(size)
    theirs = dict(zip(taps, torch_taps(name, state, images, len(taps)), strict=True))
    forward = jax.jit(lambda model, images: model(images, taps))
    return lambda: {"taps": relative_errors(forward(model, images), theirs)}


def _start_deeplab(name: str, size: tuple[int, int]) -> Callable[[], Mapping[str, Errors]]:
    state = _arrays(deeplab_state(name))
    model = converted(name, nnx.eval_shape(lambda: DeepLabV3(name, rngs=nnx.Rngs(0))), state)
    return _compare_blocks(name, model, state, size)


def _compare_blocks(
    name: str, model: DeepLabV3, state: Arrays, size: tuple[int, int]
) -> Callable[[], Mapping[str, Errors]]:
    images = _random_image(size)
    theirs = torch_blocks(name, {key: state[key] for key in NETWORKS[name].keys}, images)
    forward = jax.jit(lambda model, images: dict(model.blocks(images)))

    def measure() -> Mapping[str, Errors]:
        errors = relative_errors(forward(model, images), theirs)
        return {"blocks": errors, "logits": {"logits": errors["logits"]}}

    return measure


def _arrays(state: State) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in state.items()}


def _from_flax(tensor: np.ndarray) -> np.ndarray:
    """Transposes a kernel HWIO to OIHW; other tensors are unchanged."""
    return tensor.transpose(3, 2, 0, 1) if tensor.ndim == 4 else tensor


def _random_image(size: tuple[int, int]) -> np.ndarray:
    """Normalized image (1, H, W, 3)."""
    return np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
