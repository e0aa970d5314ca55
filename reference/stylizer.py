"""PyTorch reference of the feed-forward stylizer and of its training step; shares no code with msst_jax.

Images are NCHW tensors. Parameters are named as in msst_jax, except kernels (`weight` here, `kernel` there). The loss
runs the same passes as msst_jax: the N K images through VGG to the deepest style layer, the N composites to the deepest
content layer, the N photos to there without gradients; VGG is frozen.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reference.original import (
    Settings,
    Terms,
    distances_of,
    gram,
    mean_square,
    normalize,
    taps_of,
    variation,
    weighted_total,
)

STRIDE = 4
EPSILON = 1e-5


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Convolution with reflection padding, without bias."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode="reflect", bias=False)


class Normed(nn.Module):
    """Convolution and instance normalization, with one scale and shift, or one per style."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, styles: int | None = None):
        super().__init__()
        shape = (outputs,) if styles is None else (styles, outputs)
        self.conv = conv(inputs, outputs, size, stride)
        self.scale = nn.Parameter(torch.ones(shape))
        self.shift = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, mixtures: Tensor | None = None) -> Tensor:
        """(N, inputs, H, W), mixtures (N, styles) or None to (N, outputs, H', W')."""
        x = functional.instance_norm(self.conv(x), eps=EPSILON)
        scale, shift = (values[None] if mixtures is None else mixtures @ values for values in (self.scale, self.shift))
        return x * scale[..., None, None] + shift[..., None, None]


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, channels: int, styles: int):
        super().__init__()
        self.conv1 = Normed(channels, channels, styles=styles)
        self.conv2 = Normed(channels, channels, styles=styles)

    def forward(self, x: Tensor, mixtures: Tensor) -> Tensor:
        """(N, C, H, W) and mixtures (N, styles) to (N, C, H, W)."""
        return x + self.conv2(functional.relu(self.conv1(x, mixtures)), mixtures)


class TorchStylizer(nn.Module):
    """Renders every photo in K mixtures of styles."""

    def __init__(self, styles: int, width: int, blocks: int):
        super().__init__()
        self.styles = styles
        self.encoder = nn.ModuleList(
            [Normed(3, width, 9), Normed(width, 2 * width, stride=2), Normed(2 * width, 4 * width, stride=2)]
        )
        self.blocks = nn.ModuleList([Block(4 * width, styles) for _ in range(blocks)])
        self.decoder = nn.ModuleList(
            [Normed(4 * width, 2 * width, styles=styles), Normed(2 * width, width, styles=styles)]
        )
        self.output = conv(width, 3, 9)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor, mixtures: Tensor | None = None) -> Tensor:
        """Normalized (N, 3, H, W), mixtures (K, styles) or None for each style by itself, to (N, K, 3, H, W)."""
        n, _, height, width = images.shape
        mixtures = torch.eye(self.styles, device=images.device) if mixtures is None else mixtures
        x = functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        for layer in self.encoder:
            x = functional.relu(layer(x))
        x = x.repeat_interleave(len(mixtures), 0)
        mixtures = mixtures.repeat(n, 1)
        for block in self.blocks:
            x = block(x, mixtures)
        for layer in self.decoder:
            x = functional.relu(layer(functional.interpolate(x, scale_factor=2, mode="nearest"), mixtures))
        x = torch.sigmoid(self.output(x) + self.bias[:, None, None])
        return x[..., :height, :width].reshape(n, -1, 3, height, width)


def build_twin(tensors: Mapping[str, np.ndarray]) -> TorchStylizer:
    """The network with msst_jax's parameters: {"encoder.0.conv.kernel": (9, 9, 3, C), ...}."""
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    styles, width = tensors["decoder.1.scale"].shape
    network = TorchStylizer(styles, width, blocks)
    network.load_state_dict({torch_name(name): to_torch(name, value) for name, value in tensors.items()})
    return network


def torch_name(name: str) -> str:
    """Converts msst_jax's name of a parameter to the name here."""
    return name.replace("kernel", "weight")


def to_torch(name: str, value: np.ndarray) -> Tensor:
    """Converts a parameter of msst_jax; kernels are (k, k, I, O) there and (O, I, k, k) here."""
    tensor = torch.tensor(np.asarray(value))
    return tensor.permute(3, 2, 0, 1).contiguous() if name.endswith("kernel") else tensor


class TrainingLoss(nn.Module):
    """Training loss of a batch: mean over the photos of the loss that the optimization-based method minimizes."""

    def __init__(self, stylizer: TorchStylizer, vgg: nn.Sequential, styles: list[Tensor], settings: Settings):
        """Precomputes the Gram matrices of K styles (3, h, w) in [0, 1]; freezes VGG."""
        super().__init__()
        self.stylizer = stylizer
        self.vgg = vgg.requires_grad_(False)
        self.settings = settings
        taps = [taps_of(vgg, normalize(style)[None], settings.style_layers) for style in styles]
        for layer in settings.style_layers:
            self.register_buffer(f"gram_{layer}", torch.cat([gram(features[layer]) for features in taps]))

    def forward(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Loss of photos (N, 3, H, W) in [0, 1] with masks (N, K, H, W) that sum to 1 at every pixel."""
        with torch.no_grad():
            targets = taps_of(self.vgg, normalize(photos), self.settings.content_layers)
        images = self.stylizer(normalize(photos))
        return weighted_total(self.terms(images, targets, masks), self.settings)

    def terms(self, images: Tensor, targets: Mapping[str, Tensor], masks: Tensor) -> Terms:
        """Loss terms, means over the photos; images (N, K, 3, H, W), features of the photos, masks (N, K, H, W)."""
        n, k = images.shape[:2]
        distances = {}
        for layer, features in taps_of(self.vgg, normalize(images.flatten(0, 1)), self.settings.style_layers).items():
            grams = gram(features).unflatten(0, (n, k))
            distances[layer] = distances_of(grams, self.get_buffer(f"gram_{layer}")).mean(0)
        result = normalize((images * masks[:, :, None]).sum(1))
        taps = taps_of(self.vgg, result, self.settings.content_layers)
        contents = {layer: mean_square(features, targets[layer]) for layer, features in taps.items()}
        return Terms(distances, contents, variation(result) / n)


class TrainingStep(NamedTuple):
    """Gradient, clipping by global norm, Adam, exponential moving average of the parameters."""

    loss: nn.Module
    """A `TrainingLoss`, possibly compiled."""
    parameters: list[Tensor]
    averages: list[Tensor]
    optimizer: torch.optim.Adam
    clip: float
    decay: float

    def __call__(self, step: int, rate: float, photos: Tensor, masks: Tensor) -> Tensor:
        """Takes step number `step` (from 0) with learning rate `rate`; returns the loss before it."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss = self.loss(photos, masks)
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1 - min(self.decay, (1 + step) / (10 + step)))
        return loss.detach()


def training_step(loss: TrainingLoss, clip: float, decay: float, *, compiled: bool = False) -> TrainingStep:
    """Builds the training step for the network in `loss`."""
    parameters: list[Tensor] = list(loss.stylizer.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.Adam(parameters)
    return TrainingStep(torch.compile(loss) if compiled else loss, parameters, averages, optimizer, clip, decay)  # type: ignore[arg-type]
