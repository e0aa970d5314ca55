"""PyTorch reference of the original program's L-BFGS style transfer; shares no code with msst_jax.

Images enter and leave as numpy arrays, (H, W, 3) float32 in [0, 1]; internally they are NCHW tensors. Two structures
compute the same loss:

- "original": each loss runs its own forward pass through VGG, 2 K + 1 passes per evaluation (five for K = 2), and
  gradients are also computed for the weights of the network, where they are unused;
- "lean": one pass over the batch [I_1, ..., I_K, R], no gradients of weights.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Structure = Literal["original", "lean"]


class Settings(NamedTuple):
    """Layers and weights of the loss; the defaults are the original's."""

    style_layers: tuple[str, ...] = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    content_layers: tuple[str, ...] = ("conv2_2",)
    style_factors: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    content_factors: tuple[float, ...] = (1.0,)
    style_weight: float = 1e6
    blend_ratio: float = 0.2
    content_weight: float = 1.0
    tv_weight: float = 8.5e-5


class Modes(NamedTuple):
    """What PyTorch offers for speed; none of it changes the formulas."""

    compiled: bool = False
    """torch.compile of loss and gradient."""
    channels_last: bool = False
    """Features in the memory layout that tensor cores read."""
    amp: bool = False
    """Products in bfloat16 (torch.autocast)."""


class Terms(NamedTuple):
    """Loss terms before weighting."""

    distances: dict[str, Tensor]
    """{style layer: D (K, K)}: image i against style j."""
    contents: dict[str, Tensor]
    """{content layer: scalar}."""
    variation: Tensor


class Run(NamedTuple):
    """Result of an optimization."""

    losses: np.ndarray
    """(evaluations,)."""
    images: np.ndarray
    """(K, H, W, 3), after the last step."""


def to_tensor(images: np.ndarray) -> Tensor:
    """Array (..., H, W, 3) to tensor (..., 3, H, W)."""
    return torch.from_numpy(np.moveaxis(images, -1, -3).astype(np.float32))


def to_array(images: Tensor) -> np.ndarray:
    """Tensor (..., 3, H, W) to array (..., H, W, 3)."""
    return np.moveaxis(images.detach().cpu().numpy().copy(), -3, -1)


def network(weights: Path | Mapping[str, np.ndarray]) -> nn.Sequential:
    """VGG with layers named conv1_1, relu1_1, ..., up to the deepest one in the weights.

    Args:
      weights: a safetensors file, or {"conv1_1.kernel": (3, 3, I, O), "conv1_1.bias": (O,), ...}.
    """
    tensors = load_file(weights) if isinstance(weights, Path) else weights
    names = sorted({name.partition(".")[0] for name in tensors})
    net = nn.Sequential()
    for previous, name in zip(["", *names], names, strict=False):
        block = name[4]
        if previous and previous[4] != block:
            net.add_module(f"pool{previous[4]}", nn.MaxPool2d(2))
        kernel = torch.from_numpy(np.asarray(tensors[f"{name}.kernel"], np.float32)).permute(3, 2, 0, 1).contiguous()
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        conv.weight.data.copy_(kernel)
        conv.bias.data.copy_(torch.from_numpy(np.asarray(tensors[f"{name}.bias"], np.float32)))  # type: ignore[union-attr]
        net.add_module(name, conv)
        net.add_module(name.replace("conv", "relu"), nn.ReLU())  # not in place: the convolution before it is a tap
    return net


def normalize(images: Tensor) -> Tensor:
    """Normalizes (..., 3, H, W) with ImageNet mean and standard deviation."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return (images - mean) / std


def taps_of(net: nn.Sequential, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """{layer: features (N, C, h, w)} of normalized images (N, 3, H, W); stops at the deepest layer requested."""
    taps: dict[str, Tensor] = {}
    for name, layer in net.named_children():
        images = layer(images)
        if name in layers:
            taps[name] = images
        if len(taps) == len(set(layers)):
            break
    return taps


def gram(features: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of features (N, C, H, W), divided by C H W."""
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a - b)^2."""
    return nn.functional.mse_loss(a, b)


def distances_of(grams: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference of every pair: (..., I, C, C) and (J, C, C) to (..., I, J)."""
    return (grams[..., :, None, :, :] - targets).square().mean((-2, -1))


def variation(image: Tensor) -> Tensor:
    """Total variation: sum of absolute differences of neighboring pixels in (..., 3, H, W)."""
    return (image[..., 1:, :] - image[..., :-1, :]).abs().sum() + (image[..., 1:] - image[..., :-1]).abs().sum()


def weighted_total(terms: Terms, settings: Settings) -> Tensor:
    """Weighted sum of the terms."""
    style, blend, content = (torch.zeros((), device=terms.variation.device) for _ in range(3))
    for layer, factor in zip(settings.style_layers, settings.style_factors, strict=True):
        diagonal = terms.distances[layer].trace()
        style = style + factor * diagonal
        blend = blend + factor * (terms.distances[layer].sum() - diagonal)
    for layer, factor in zip(settings.content_layers, settings.content_factors, strict=True):
        content = content + factor * terms.contents[layer]
    smooth = settings.tv_weight * terms.variation
    return settings.style_weight * (style + settings.blend_ratio * blend) + settings.content_weight * (content + smooth)


class Reference:
    """Loss of one photo with K styles."""

    def __init__(
        self,
        weights: Path | Mapping[str, np.ndarray],
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        masks: np.ndarray,
        settings: Settings | None = None,
        structure: Structure = "original",
        device: str = "cpu",
        modes: Modes = Modes(),  # noqa: B008  # immutable
    ):
        """Computes the targets.

        Args:
          weights: see `network`.
          content: (H, W, 3).
          styles: K images (h, w, 3).
          masks: (H, W, K).
          settings: layers and weights of the loss; None for the original's.
          structure: see the module docstring.
          device: torch device to run on.
          modes: what makes it faster; the targets are computed without.
        """
        self.settings = settings or Settings()
        self.device = device
        self.modes = modes
        self.net = network(weights).to(device)
        if structure == "lean":
            self.net.requires_grad_(False)
        self.terms: Callable[[Tensor], Terms] = self._lean if structure == "lean" else self._original
        self.masks = torch.from_numpy(np.moveaxis(masks, -1, 0).astype(np.float32))[:, None].to(device)
        with torch.no_grad():
            photo = taps_of(self.net, normalize(to_tensor(content).to(device))[None], self.settings.content_layers)
            self.contents = photo
            self.grams: dict[str, list[Tensor]] = {layer: [] for layer in self.settings.style_layers}
            for style in styles:
                taps = taps_of(self.net, normalize(to_tensor(style).to(device))[None], self.settings.style_layers)
                for layer, features in taps.items():
                    self.grams[layer].append(gram(features)[0])
        if modes.channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # and with it all features
        self.objective: Callable[[Tensor], Tensor] = (
            torch.compile(self._objective) if modes.compiled else self._objective
        )

    def _objective(self, images: Tensor) -> Tensor:
        """The loss of images (K, 3, H, W)."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.modes.amp):
            return self.total(self.terms(images))

    def composite(self, images: Tensor) -> Tensor:
        """Composite R (3, H, W) of images (K, 3, H, W)."""
        return (images * self.masks).sum(0)

    def _original(self, images: Tensor) -> Terms:
        """2 K + 1 passes: every image once for the style loss and once for the blend loss, then the composite."""
        layers = self.settings.style_layers
        others = [[j for j in range(len(images)) if j != i] for i in range(len(images))]
        pairwise: dict[tuple[str, int, int], Tensor] = {}
        for pairs in ([[i] for i in range(len(images))], others):
            for i, targets in enumerate(pairs):
                for layer, features in taps_of(self.net, normalize(images[i])[None], layers).items():
                    matrix = gram(features)[0]
                    pairwise |= {(layer, i, j): mean_square(matrix, self.grams[layer][j]) for j in targets}
        count = range(len(images))
        distances = {x: torch.stack([torch.stack([pairwise[x, i, j] for j in count]) for i in count]) for x in layers}
        result = normalize(self.composite(images))
        taps = taps_of(self.net, result[None], self.settings.content_layers)
        contents = {layer: mean_square(features, self.contents[layer]) for layer, features in taps.items()}
        return Terms(distances, contents, variation(result))

    def _lean(self, images: Tensor) -> Terms:
        """One pass over the batch [I_1, ..., I_K, R]."""
        batch = normalize(torch.cat([images, self.composite(images)[None]]))
        layers = {*self.settings.style_layers, *self.settings.content_layers}
        taps = taps_of(self.net, batch, tuple(layers))
        distances = {}
        for layer in self.settings.style_layers:
            distances[layer] = distances_of(gram(taps[layer][:-1]), torch.stack(self.grams[layer]))
        contents = {x: mean_square(taps[x][-1:], self.contents[x]) for x in self.settings.content_layers}
        return Terms(distances, contents, variation(batch[-1]))

    def total(self, terms: Terms) -> Tensor:
        """Weighted sum of the terms with this loss's settings."""
        return weighted_total(terms, self.settings)

    def value_and_gradient(self, images: np.ndarray) -> tuple[float, np.ndarray, Terms]:
        """Loss, its gradient (K, H, W, 3) and its terms at images (K, H, W, 3)."""
        pixels = to_tensor(images).to(self.device).requires_grad_()
        terms = self.terms(pixels)
        value = self.total(terms)
        value.backward()
        assert pixels.grad is not None
        return value.item(), to_array(pixels.grad), terms


class Optimization:
    """The original's loop: torch.optim.LBFGS, pixels clamped in place before every evaluation."""

    def __init__(self, reference: Reference, images: np.ndarray, evaluations_per_step: int = 20):
        """Starts at images (K, H, W, 3)."""
        self.reference = reference
        self.pixels = to_tensor(images).contiguous().to(reference.device).requires_grad_()
        # torch's default limit of evaluations, 5/4 of the iterations, would truncate steps of 2 or 3.
        count = evaluations_per_step
        self.optimizer = torch.optim.LBFGS([self.pixels], lr=1, max_iter=count, max_eval=2 * count, history_size=100)
        self.losses: list[float] = []

    def step(self) -> None:
        """Runs `evaluations_per_step` evaluations and updates."""
        self.optimizer.step(self._evaluate)

    def _evaluate(self) -> float:
        self.pixels.data.clamp_(0, 1)
        self.optimizer.zero_grad()
        loss = self.reference.objective(self.pixels)
        loss.backward()
        self.losses.append(loss.item())
        return self.losses[-1]


def run(reference: Reference, images: np.ndarray, steps: int) -> Run:
    """Optimizes until the first complete step with more than `steps` evaluations in total."""
    optimization = Optimization(reference, images)
    while len(optimization.losses) <= steps:
        optimization.step()
    return Run(np.array(optimization.losses), to_array(optimization.pixels.clamp(0, 1)))
