"""Compares a converted network with torchvision's, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from convert_weights.torch_compat import import_torch, import_torchvision
from msst_jax.models.vgg import tap_names
from msst_jax.models.weights import load_vgg

# Of the layer's maximum: float32 convolutions that add in another order reach 5e-6 at conv5_4.
TOLERANCE = 2e-5
PICTURE = (1, 92, 118, 3)  # odd after one and two poolings, wider than high


class CheckFailed(Exception):
    """A converted layer differs from torchvision's."""


@dataclass(frozen=True)
class Row:
    """One layer: its shape (NHWC), the largest difference and torch's largest value."""

    layer: str
    shape: tuple[int, ...]
    error: float
    maximum: float

    @property
    def ratio(self) -> float:
        """Largest difference in parts of torch's largest value."""
        if self.maximum > 0:
            return self.error / self.maximum
        return 0.0 if self.error == 0 else float("inf")

    @property
    def ok(self) -> bool:
        """Within the tolerance; false for NaN."""
        return self.ratio <= TOLERANCE


def compare_vgg(name: str, path: Path, state: Mapping[str, np.ndarray], deepest: str | None) -> list[Row]:
    """Every tap of a converted VGG against torchvision's, on a random normalised picture.

    Args:
      name: "vgg16" or "vgg19".
      path: the converted weights.
      state: torchvision's state dict; only `features.*` is used.
      deepest: the last tap to compare; None for all.

    Raises:
      UserError: torch or torchvision is not installed, or the file cannot be loaded.
    """
    taps = tap_names(name, deepest)
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    theirs = _torch_taps(name, state, images, len(taps))
    model, _ = load_vgg(name, taps, path=path)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda model, images: model(images, taps))(model, images)
    return [compare(tap, np.asarray(ours[tap]), their) for tap, their in zip(taps, theirs, strict=True)]


def compare(layer: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    """The row of one layer; both arrays NHWC."""
    if ours.shape != theirs.shape:
        return Row(layer, ours.shape, float("inf"), float(np.abs(theirs).max()))
    return Row(layer, ours.shape, float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()))


def _torch_taps(name: str, state: Mapping[str, np.ndarray], images: np.ndarray, count: int) -> list[np.ndarray]:
    torch = import_torch()
    build = getattr(import_torchvision().models, name)
    with torch.device("meta"):  # nothing of the large classifier is ever allocated
        features = build(weights=None, init_weights=False).features
    own = {key.removeprefix("features."): torch.tensor(state[key]) for key in state if key.startswith("features.")}
    features.load_state_dict(own, assign=True)
    outputs = []
    x = torch.tensor(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        for layer in features[:count]:
            x = layer(x)
            outputs.append(x.permute(0, 2, 3, 1).numpy().copy())  # the next ReLU works in place
    return outputs


def table(rows: Sequence[Row]) -> str:
    """The rows as lines of text under a heading."""
    lines = [f"{'layer':<12}{'shape':<22}{'max |ours - torch|':>18}{'max |torch|':>14}{'ratio':>10}  ok"]
    for row in rows:
        numbers = f"{row.error:>18.2e}{row.maximum:>14.4g}{row.ratio:>10.1e}"
        lines.append(f"{row.layer:<12}{row.shape!s:<22}{numbers}  {'yes' if row.ok else 'NO'}")
    return "\n".join(lines)
