"""Compares a converted network, layer by layer, with PyTorch's in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from msst_jax.models.efficientnet import EfficientNetLite
from msst_jax.models.pretrained import load_deeplab, load_vgg
from msst_jax.models.serialization import assign_tensors, read_tensors
from msst_jax.models.vgg import tap_names

from .deeplab import block_modules
from .efficientnet import torch_blocks as efficientnet_torch_blocks
from .torch_compat import import_torch, import_torchvision

# Relative to the layer's maximum. torch computes in float64, so the limit covers our rounding alone, which reaches
# 1.5e-5 in a DeepLab-V3 (torch's own float32 is 2.1e-5 off); a kernel that is wrong by 0.1% shifts the output by 1e-3.
TOLERANCE = 2e-5
PICTURE = (1, 92, 118, 3)  # odd after one and after two poolings, wider than tall


class CheckFailed(Exception):
    """A converted layer differs from torchvision's."""


@dataclass(frozen=True)
class Row:
    """Comparison of one layer: its shape (NHWC), the largest difference and torch's largest magnitude."""

    layer: str
    shape: tuple[int, ...]
    error: float
    maximum: float

    @property
    def ratio(self) -> float:
        """Largest difference relative to torch's largest magnitude."""
        if self.maximum > 0:
            return self.error / self.maximum
        return 0.0 if self.error == 0 else float("inf")

    @property
    def ok(self) -> bool:
        """Whether the ratio is within TOLERANCE; false for NaN."""
        return self.ratio <= TOLERANCE


def compare_vgg(name: str, path: Path, state: Mapping[str, np.ndarray], deepest: str | None) -> list[Row]:
    """Compares every tap of a converted VGG with torchvision's, on a random normalized image.

    Args:
      name: "vgg16" or "vgg19".
      path: file of converted weights.
      state: torchvision's state dict; only `features.*` is read.
      deepest: last tap to compare; None for all.

    Raises:
      UserError: torch or torchvision is not installed, or the file cannot be loaded.
    """
    taps = tap_names(name, deepest)
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    theirs = torch_taps(name, state, images, len(taps))
    model, _ = load_vgg(name, taps, path=path)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda model, images: model(images, taps))(model, images)
    return [compare(tap, np.asarray(ours[tap]), their) for tap, their in zip(taps, theirs, strict=True)]


def compare_deeplab(name: str, path: Path, state: Mapping[str, np.ndarray], deepest: str | None) -> list[Row]:
    """Compares every block of a converted DeepLab-V3, and its logits, with torchvision's on a random normalized image.

    Arguments and errors as for `compare_vgg`; `deepest` is None, since these networks are never truncated.
    """
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    theirs = torch_blocks(name, state, images)
    model, _ = load_deeplab(name, path=path)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda model, images: dict(model.blocks(images)))(model, images)
    return [compare(block, np.asarray(ours[block]), their) for block, their in theirs.items()]


def compare_efficientnet(path: Path, state: Mapping[str, np.ndarray], deepest: str | None) -> list[Row]:
    """Compares every block of a converted EfficientNet-Lite0 with PyTorch's on a random normalized image.

    Arguments and errors as for `compare_vgg`; `deepest` is None.
    """
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    theirs = efficientnet_torch_blocks(state, images)
    network = nnx.eval_shape(lambda: EfficientNetLite(rngs=nnx.Rngs(0)))
    model = assign_tensors(network, read_tensors(path), str(path))
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda model, images: dict(model.blocks(images)))(model, images)
    return [compare(block, np.asarray(ours[block]), their) for block, their in theirs.items()]


def compare(layer: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Row of one layer; both arrays NHWC."""
    if ours.shape != theirs.shape:
        return Row(layer, ours.shape, float("inf"), float(np.abs(theirs).max()))
    return Row(layer, ours.shape, float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()))


def torch_taps(name: str, state: Mapping[str, np.ndarray], images: np.ndarray, count: int) -> list[np.ndarray]:
    """First `count` taps of torchvision's VGG in float64, NHWC; `state` need not contain deeper weights."""
    torch = import_torch()
    build = getattr(import_torchvision().models, name)
    with torch.device("meta"):  # avoids allocating the large classifier
        features = build(weights=None, init_weights=False).features[:count]
    features.load_state_dict({key: _double(state[f"features.{key}"]) for key in features.state_dict()}, assign=True)
    outputs = []
    x = _double(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        for layer in features:
            x = layer(x)
            outputs.append(x.permute(0, 2, 3, 1).numpy().copy())  # the next ReLU is in place
    return outputs


def torch_blocks(name: str, state: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """{block of `DeepLabV3.blocks`: torchvision's output in float64}, NHWC; `state` has no auxiliary head."""
    torch = import_torch()
    build_torch = getattr(import_torchvision().models.segmentation, name)
    with torch.device("meta"):
        network = build_torch(weights=None, weights_backbone=None, aux_loss=False).eval()
    tensors = {key: _double(value) for key, value in state.items()}
    tensors |= {key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")}
    network.load_state_dict(tensors, assign=True)
    outputs: dict[str, np.ndarray] = {}

    def record(block: str, output: Any) -> None:
        outputs[block] = output.permute(0, 2, 3, 1).numpy().copy()  # a later layer may be in place

    modules = dict(network.named_modules())
    for block, module in block_modules(name).items():
        modules[module].register_forward_hook(lambda _, __, output, block=block: record(block, output))
    with torch.no_grad():
        record("logits", network(_double(images).permute(0, 3, 1, 2))["out"])
    return outputs


def _double(values: np.ndarray) -> Any:
    """As a float64 torch tensor, which represents every float32 exactly."""
    return import_torch().tensor(values).double()


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a plain-text table with a header line."""
    lines = [f"{'layer':<14}{'shape':<22}{'max |ours - torch|':>18}{'max |torch|':>14}{'ratio':>10}  ok"]
    for row in rows:
        numbers = f"{row.error:>18.2e}{row.maximum:>14.4g}{row.ratio:>10.1e}"
        lines.append(f"{row.layer:<14}{row.shape!s:<22}{numbers}  {'yes' if row.ok else 'NO'}")
    return "\n".join(lines)
