"""Typed options of a stylization: built once from a config (`transfer.build`), passed down from there."""

from dataclasses import dataclass
from pathlib import Path

from msst_jax.losses.objective import FeatureLayers, LossWeights
from msst_jax.optim.optimizer import Optimizer
from msst_jax.regions.masks import MaskOptions


@dataclass(frozen=True)
class NetworkOptions:
    """The VGG of the losses.

    Attributes:
      name: "vgg16" or "vgg19".
      layers: the taps that are compared, with their factors.
      pooling: "max" or "average".
      padding: what the first convolution sees beyond the border: "zeros" or "replicate".
      dtype: type of the computation, "float32" or "bfloat16".
      weights: a safetensors file; None = converted weights if there are any, else the embedded ones.
    """

    name: str
    layers: FeatureLayers
    pooling: str = "max"
    padding: str = "zeros"
    dtype: str = "float32"
    weights: Path | None = None


@dataclass(frozen=True)
class InputOptions:
    """How a photo, its masks and the style images are read.

    Attributes:
      size: longest side in pixels; 0 = as it is.
      square: stretch to size x size.
      style_scale: longest side of the style images, as a multiple of the photo's.
      stroke_size: a further factor of that side, the user's: strokes are as large as the images are enlarged.
      segmenter: the network for regions without a mask; "" = the best available.
      masks: see `MaskOptions`.
      start: file of the first pixels; "" = those of `StylizationOptions.init`.
    """

    size: int
    square: bool
    style_scale: float
    stroke_size: float
    segmenter: str
    masks: MaskOptions
    start: str = ""


@dataclass(frozen=True)
class ScaleSchedule:
    """Coarse to fine: the scales in order, and the evaluations at each; 0 leaves a scale out."""

    scales: tuple[float, ...]
    evaluations: tuple[int, ...]

    @property
    def total(self) -> int:
        """Evaluations over all scales."""
        return sum(self.evaluations)

    @property
    def costs(self) -> tuple[float, ...]:
        """About what each evaluation takes, relative to one at full size: its share of the pixels."""
        scales = zip(self.scales, self.evaluations, strict=True)
        return tuple(scale**2 for scale, evaluations in scales for _ in range(evaluations))


@dataclass(frozen=True)
class TemporalOptions:
    """How frames of a video depend on their neighbors.

    Attributes:
      segment_every: the segmenter runs on every so many-th frame; in between the masks follow the motion.
      mask_smoothing: weight of the previous, warped mask where the flow is reliable, below 1.
      picture_smoothing: the same weight of the previous output of a feed-forward model, below 1.
      next_steps: evaluations for a frame after the first, in videos that are optimized.
    """

    segment_every: int
    mask_smoothing: float
    picture_smoothing: float
    next_steps: int


@dataclass(frozen=True)
class StylizationOptions:
    """All that the optimization of images depends on, but for the images.

    Attributes:
      inputs: how files are read.
      network: the VGG of the losses.
      guided: one image is optimized, whose regions take their styles by the statistics of their own pixels; else one
        image per region, which the masks composite.
      style_weight: factor of the style loss.
      blend_ratio: the factor of the blend loss is blend_ratio * style_weight.
      content_weight: factor of the content loss.
      tv_weight: factor of the total variation, beside content_weight.
      tv_per_pixel: divide the total variation by the number of pixels.
      schedule: scales and evaluations.
      optimizer: what moves the pixels.
      init: first pixels, unless they are those of a file: "content" or "noise".
      keep_colours: regions that have the photo's colors in the end, or `photo_colors.EVERY_REGION`.
      keep: what is returned: the "best" pixels evaluated, or the "last".
      remat: cap memory by taking one image through VGG at a time.
      tiles: windows of rows that go through VGG one at a time; 1 = the whole picture, 0 = as memory needs.
      devices: that share a photo, each a strip of it; 0 = all that there are.
      temporal: what only videos need.
    """

    inputs: InputOptions
    network: NetworkOptions
    guided: bool
    style_weight: float
    blend_ratio: float
    content_weight: float
    tv_weight: float
    tv_per_pixel: bool
    schedule: ScaleSchedule
    optimizer: Optimizer
    init: str
    keep_colours: tuple[str, ...]
    keep: str
    remat: bool
    tiles: int
    devices: int
    temporal: TemporalOptions

    @property
    def layers(self) -> FeatureLayers:
        """The taps that are compared."""
        return self.network.layers

    def image_count(self, regions: int) -> int:
        """How many images are optimized for a photo of so many regions."""
        return 1 if self.guided else regions

    def weights(self, blend_ratio: float | None = None) -> LossWeights:
        """The four factors of the loss, at `blend_ratio` or at that of the options."""
        ratio = self.blend_ratio if blend_ratio is None else blend_ratio
        return LossWeights(self.style_weight, ratio * self.style_weight, self.content_weight, self.tv_weight)
