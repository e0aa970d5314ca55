"""PyTorch reference of the feed-forward stylizer and of its training step; shares no code with msst_jax.

Images are NCHW tensors. Parameters are named as in msst_jax, except kernels (`weight` here, `kernel` there). The loss
runs the same passes as msst_jax: the N pictures through VGG to the deepest layer of all, the N photos to the deepest
content layer without gradients; VGG is frozen.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from reference.guided import guided_grams_at_once, guided_terms
from reference.original import Settings, gram, normalize, taps_of, weighted_total

STRIDE = 4
EPSILON = 1e-5
PRIOR = 0.05  # weight of every pixel of the image in the statistics of every region
MOMENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
MAX_STATISTIC = 4.0
OUTPUT_GAIN = 0.3


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """Convolution with reflection padding, without bias."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, padding_mode="reflect", bias=False)


def region_norm(x: Tensor, masks: Tensor, style: Tensor) -> Tensor:
    """Sum over the regions of their masks times x, normalized with the weighted mean and variance of the region.

    Args:
      x: (N, C, H, W).
      masks: (N, K, H, W).
      style: (N, K, 2C): scale less 1, then shift.
    """
    mixed = torch.zeros_like(x)
    for mask, vector in zip(masks.split(1, 1), style.unbind(1), strict=True):
        scale, shift = vector[..., None, None].chunk(2, 1)
        weight = mask + PRIOR
        weight = weight / weight.sum((-2, -1), keepdim=True)
        centered = x - (weight * x).sum((-2, -1), keepdim=True)
        variance = (weight * centered.square()).sum((-2, -1), keepdim=True)
        mixed = mixed + mask * ((1 + scale) * centered / (variance + EPSILON).sqrt() + shift)
    return mixed


def upsample(x: Tensor) -> Tensor:
    """(N, C, H, W) at twice the size by the binomial filter of order 9, borders repeated."""
    _, channels, height, width = x.shape
    rows = (
        torch.tensor([1.0, 9.0, 36.0, 84.0, 126.0, 126.0, 84.0, 36.0, 9.0, 1.0], dtype=x.dtype, device=x.device) / 256
    )
    kernel = torch.outer(rows, rows)[None, None].expand(channels, 1, 10, 10)
    padded = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    full = functional.conv_transpose2d(padded, kernel, stride=2, groups=channels)
    return full[..., 8 : 8 + 2 * height, 8 : 8 + 2 * width]


class Normed(nn.Module):
    """Convolution and instance normalization with one scale and shift."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv = conv(inputs, outputs, 3, stride)
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        return functional.instance_norm(self.conv(x), weight=self.scale, bias=self.shift, eps=EPSILON)


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(channels, channels, 3)
        self.conv2 = conv(channels, channels, 3)

    def forward(self, x: Tensor, masks: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """(N, C, H, W), masks (N, K, H, W) and two style vectors (N, K, 2C) to (N, C, H, W)."""
        inner = functional.relu(region_norm(self.conv1(x), masks, first))
        return x + region_norm(self.conv2(inner), masks, second)


class TorchTransfer(nn.Module):
    """Paints photos, each region by its own style vector."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.encoder = nn.ModuleList([Normed(3, width), Normed(width, 2 * width, 2), Normed(2 * width, 4 * width, 2)])
        self.blocks = nn.ModuleList([Block(4 * width) for _ in range(blocks)])
        self.decoder = nn.ModuleList([conv(4 * width, 2 * width, 3), conv(2 * width, width, 3)])
        self.output = conv(width, 3, 5)
        self.bias = nn.Parameter(torch.zeros(3))

    @property
    def vector_parts(self) -> list[int]:
        """Lengths of the parts of a style vector."""
        quarter = self.decoder[0].in_channels
        assert isinstance(quarter, int)
        return [*[2 * quarter] * (2 * len(self.blocks)), quarter, quarter // 2]

    def forward(self, images: Tensor, masks: Tensor, vectors: Tensor) -> Tensor:
        """Normalized (N, 3, H, W), masks (N, K, H, W) and vectors (N, K, V) to (N, 3, H, W) in [0, 1]."""
        height, width = images.shape[-2:]
        border = (0, -width % STRIDE, 0, -height % STRIDE)
        x, full = (functional.pad(images, border, mode="reflect"), functional.pad(masks, border, mode="replicate"))
        half, quarter = functional.avg_pool2d(full, 2), functional.avg_pool2d(full, 4)
        *inner, at_half, at_full = vectors.split(self.vector_parts, -1)
        encoded = []
        for layer in self.encoder:
            x = functional.relu(layer(x))
            encoded.append(x)
        for index, block in enumerate(self.blocks):
            x = block(x, quarter, inner[2 * index], inner[2 * index + 1])
        styled = ((half, encoded[1], at_half), (full, encoded[0], at_full))
        for layer, (mask, skip, style) in zip(self.decoder, styled, strict=True):
            x = upsample(x)
            x = functional.relu(region_norm(layer(x) + skip, mask, style))
        return torch.sigmoid(self.output(x) + self.bias[:, None, None])[..., :height, :width]


class TorchStylizer(nn.Module):
    """A transfer network and a table of style vectors."""

    def __init__(self, styles: int, width: int, blocks: int):
        super().__init__()
        self.transfer = TorchTransfer(width, blocks)
        self.table = nn.Parameter(torch.zeros(styles, sum(self.transfer.vector_parts)))

    def forward(self, images: Tensor, masks: Tensor, mixtures: Tensor | None = None) -> Tensor:
        """Normalized (N, 3, H, W), masks (N, K, H, W), mixtures (K, styles) or (N, K, styles) to (N, 3, H, W)."""
        vectors = self.table if mixtures is None else mixtures @ self.table
        return self.transfer(images, masks, vectors.expand(len(images), -1, -1))


class Equalized(nn.Module):
    """Linear map whose weights are scaled when they are used."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        return functional.linear(x, self.gain / self.weight.shape[1] ** 0.5 * self.weight, self.bias)


class TorchPredictor(nn.Module):
    """Style vectors from the moments of paintings."""

    def __init__(self, moments: int, hidden: int, bottleneck: int, vector: int):
        super().__init__()
        self.register_buffer("center", torch.zeros(moments))
        self.register_buffer("spread", torch.ones(moments))
        self.hidden = Equalized(moments, hidden)
        self.bottleneck = Equalized(hidden, bottleneck)
        self.output = Equalized(bottleneck, vector, OUTPUT_GAIN)

    def forward(self, moments: Tensor) -> Tensor:
        """(..., D), means and then mean squares, to (..., V)."""
        means, squares = moments.chunk(2, -1)
        deviations = (squares - means.square()).clamp(min=0).sqrt()
        statistics = (torch.cat([means, deviations], -1) - self.get_buffer("center")) / self.get_buffer("spread")
        inner = self.hidden(statistics.clamp(-MAX_STATISTIC, MAX_STATISTIC))
        return self.output(self.bottleneck(functional.gelu(inner, approximate="tanh")))


class TorchAnyStylizer(nn.Module):
    """A transfer network and a predictor of style vectors."""

    def __init__(self, transfer: TorchTransfer, predictor: TorchPredictor):
        super().__init__()
        self.transfer = transfer
        self.predictor = predictor

    def forward(self, images: Tensor, masks: Tensor, moments: Tensor) -> Tensor:
        """Normalized (N, 3, H, W), masks (N, K, H, W) and moments (N, K, D) to (N, 3, H, W)."""
        return self.transfer(images, masks, self.predictor(moments))


def style_moments(net: nn.Sequential, painting: Tensor) -> Tensor:
    """Moments (D,) of a painting (3, H, W) in [0, 1]: means of the features of VGG, then of their squares."""
    taps = taps_of(net, normalize(painting)[None], MOMENT_LAYERS)
    flat = [taps[layer].flatten(2)[0] for layer in MOMENT_LAYERS]
    return torch.cat([*(each.mean(1) for each in flat), *(each.square().mean(1) for each in flat)])


def build_twin(tensors: Mapping[str, np.ndarray]) -> TorchStylizer:
    """The `Stylizer` with msst_jax's parameters: {"transfer.encoder.0.conv.kernel": (3, 3, 3, C), ...}."""
    network = TorchStylizer(len(tensors["table"]), *_transfer_shape(tensors))
    network.load_state_dict(_state_dict(tensors))
    return network


def build_any_twin(tensors: Mapping[str, np.ndarray]) -> TorchAnyStylizer:
    """The `AnyStylizer` with msst_jax's parameters and statistics."""
    sizes = [tensors[f"predictor.{layer}.kernel"].shape for layer in ("hidden", "bottleneck", "output")]
    predictor = TorchPredictor(sizes[0][0], *(size[1] for size in sizes))
    network = TorchAnyStylizer(TorchTransfer(*_transfer_shape(tensors)), predictor)
    network.load_state_dict(_state_dict(tensors))
    return network


def _transfer_shape(tensors: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """(width, blocks)."""
    blocks = {name.split(".")[2] for name in tensors if name.startswith("transfer.blocks.")}
    return tensors["transfer.output.kernel"].shape[2], len(blocks)


def _state_dict(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {torch_name(name): to_torch(name, value) for name, value in tensors.items()}


def torch_name(name: str) -> str:
    """Converts msst_jax's name of a parameter to the name here."""
    return name.replace("kernel", "weight")


def to_torch(name: str, value: np.ndarray) -> Tensor:
    """Converts a parameter of msst_jax; kernels are (k, k, I, O) or (I, O) there and (O, I, k, k) or (O, I) here."""
    tensor = torch.tensor(np.asarray(value))
    if not name.endswith("kernel"):
        return tensor
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor.T.contiguous()


class TrainingLoss(nn.Module):
    """Training loss of a batch: mean over the photos of the guided loss that the optimization minimizes."""

    def __init__(self, stylizer: TorchStylizer, vgg: nn.Sequential, styles: Sequence[Tensor], settings: Settings):
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
        layers = (*self.settings.style_layers, *self.settings.content_layers)
        with torch.no_grad():
            contents = taps_of(self.vgg, normalize(photos), self.settings.content_layers)
        pictures = normalize(self.stylizer(normalize(photos), masks))
        taps = taps_of(self.vgg, pictures, layers)
        grams = {layer: self.get_buffer(f"gram_{layer}") for layer in self.settings.style_layers}
        losses = []
        for index, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
            own, content = ({layer: each[index] for layer, each in values.items()} for values in (taps, contents))
            terms = guided_terms(own, content, grams, mask, picture, self.settings, guided_grams_at_once)
            losses.append(weighted_total(terms, self.settings))
        return torch.stack(losses).mean()


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
