"""PyTorch twin of the guided stylization loss; shares no code with msst_jax, and its networks with `original`."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from reference.original import (
    Settings,
    Terms,
    distances_of,
    mean_square,
    normalize,
    taps_of,
    to_array,
    to_tensor,
    variation,
    weighted_total,
)

MIN_PIXELS = 16.0


def receptive_field(layer: str) -> int:
    """Of a convolution or ReLU of VGG-16: 2 for each convolution and 1 for each pooling before, times their stride."""
    block, index = int(layer[-3]), int(layer[-1])
    convolutions = [(2, 2, 3, 3, 3)[b] for b in range(block - 1)]
    below = sum(2 * count * 2**b + 2**b for b, count in enumerate(convolutions))
    return 1 + below + 2 * index * 2 ** (block - 1)


def guides(masks: Tensor, size: Sequence[int], field: int) -> Tensor:
    """Masks (K, H, W) at the size of a layer, eroded by half its receptive field."""
    radius = max(1, round(field / 4))
    share = nn.functional.avg_pool2d(masks[None], 2 * radius + 1, 1, radius, count_include_pad=False)
    eroded = (2 * share - 1).clamp(0, 1)
    resized = nn.functional.interpolate(eroded, tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].clamp(0, 1)


def guided_grams(features: Tensor, guides: Tensor) -> Tensor:
    """Gram matrices (K, C, C) of features (C, H, W) over guides (K, H, W), pixel by pixel."""
    outer = features[:, None] * features[None]
    weighted = [(outer * guide).sum((-2, -1)) / (len(features) * guide.sum().clamp(min=1e-6)) for guide in guides]
    return torch.stack(weighted)


def guided_grams_at_once(features: Tensor, guides: Tensor) -> Tensor:
    """As `guided_grams`, in one product: for programs whose time is measured."""
    flat, weights = features.flatten(1), guides.flatten(1)
    area = len(features) * weights.sum(1).clamp(min=1e-6)
    return (flat * weights[:, None]) @ flat.T / area[:, None, None]


def region_weights(masks: Tensor, guides: Tensor) -> Tensor:
    """(K,): root of the share relative to the mean share, less for regions of a few pixels."""
    shares = masks.mean((-2, -1))
    return (shares / shares.mean()).sqrt() * (guides.sum((-2, -1)) / MIN_PIXELS).clamp(max=1)


def guided_terms(
    taps: Mapping[str, Tensor],
    contents: Mapping[str, Tensor],
    grams: Mapping[str, Tensor],
    masks: Tensor,
    image: Tensor,
    settings: Settings,
    grams_of: Callable[[Tensor, Tensor], Tensor] = guided_grams,
) -> Terms:
    """Terms of one image (3, H, W) with features {layer: (C, h, w)}, and masks (K, H, W).

    Args:
      taps: features of the image.
      contents: features of the photo.
      grams: of the styles, {style layer: (K, C, C)}.
      masks: sum 1 at every pixel.
      image: normalized.
      settings: the layers.
      grams_of: `guided_grams`, or what equals it.
    """
    distances = {}
    for layer in settings.style_layers:
        guide = guides(masks, taps[layer].shape[1:], receptive_field(layer))
        relative = distances_of(grams_of(taps[layer], guide), grams[layer]) / grams[layer].square().mean((-2, -1))
        distances[layer] = region_weights(masks, guide)[:, None] * relative
    differences = {layer: mean_square(taps[layer], contents[layer]) for layer in settings.content_layers}
    return Terms(distances, differences, variation(image))


class GuidedReference:
    """Guided loss of one photo with K styles."""

    def __init__(
        self,
        net: nn.Sequential,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        masks: np.ndarray,
        settings: Settings,
    ):
        """Computes the targets; arguments as of `original.Reference`."""
        self.net, self.settings = net, settings
        self.masks = torch.from_numpy(np.moveaxis(masks, -1, 0).copy())
        with torch.no_grad():
            self.contents = self._taps(to_tensor(content), settings.content_layers)
            paintings = [self._taps(to_tensor(style), settings.style_layers) for style in styles]
        everywhere = {
            layer: [torch.ones(1, *each[layer].shape[1:]) for each in paintings] for layer in settings.style_layers
        }
        self.grams = {
            layer: torch.cat(
                [guided_grams(each[layer], ones) for each, ones in zip(paintings, everywhere[layer], strict=True)]
            )
            for layer in settings.style_layers
        }

    def _taps(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return {layer: features[0] for layer, features in taps_of(self.net, normalize(image)[None], layers).items()}

    def value_and_gradient(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and gradient (H, W, 3) at an image (H, W, 3)."""
        pixels = to_tensor(image).requires_grad_()
        taps = self._taps(pixels, (*self.settings.style_layers, *self.settings.content_layers))
        terms = guided_terms(taps, self.contents, self.grams, self.masks, normalize(pixels), self.settings)
        value = weighted_total(terms, self.settings)
        value.backward()
        assert pixels.grad is not None
        return value.item(), to_array(pixels.grad)
