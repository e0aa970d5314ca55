"""Typed options of a training run, built once from a config by `training.build`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msst_jax.losses.objective import LossWeights
from msst_jax.models.voc import CLASSES
from msst_jax.registry import BACKGROUND
from msst_jax.transfer.options import NetworkOptions


@dataclass(frozen=True)
class OptimizationOptions:
    """The optimizer, its learning-rate schedule and the EMA.

    Attributes:
      steps: of the whole run.
      learning_rate: peak, at the end of the warm-up.
      warmup: steps of linear warm-up; cosine decay follows.
      clip: maximum global norm of the gradient; 0 = no clipping.
      ema: decay of the exponential moving average of the parameters.
    """

    steps: int
    learning_rate: float
    warmup: int
    clip: float
    ema: float


@dataclass(frozen=True)
class LoopOptions:
    """The training loop: batch size, seed, intervals of logging, evaluation and checkpoints.

    Attributes:
      optimization: see `OptimizationOptions`.
      batch: photos per step, over all devices of all hosts.
      accumulate: parts of a device's share of them, one in memory at a time.
      seed: of the initial parameters.
      log_every: steps between two records of metrics.
      sample_every: steps between two evaluations.
      checkpoint_every: steps between two checkpoints.
      keep_last: number of newest checkpoints to keep.
      keep_every: checkpoints at multiples of this step are never deleted; 0 = none.
    """

    optimization: OptimizationOptions
    batch: int
    accumulate: int
    seed: int
    log_every: int
    sample_every: int
    checkpoint_every: int
    keep_last: int
    keep_every: int


@dataclass(frozen=True)
class StylizerOptions:
    """The stylizer (feed-forward network) and its losses.

    Attributes:
      architecture: of the network, see `models.architecture`.
      width: channels of the package's own network at full resolution.
      blocks: its residual blocks.
      start: the trained model whose weights it starts from, see `find_feedforward`; "" = random ones.
      dtype: compute dtype, "float32" or "bfloat16".
      style_size: longest side of the style images; 0 = original size.
      network: the VGG of the losses.
      weights: factors of the loss; `tv` weighs the total variation per pixel.
      region_weights: factors of the style distances of the regions, in their order; empty = 1.
      temporal_weight: factor of the temporal loss; 0 = none.
      record: the config of the run, stored in the weights file.
    """

    architecture: str
    width: int
    blocks: int
    start: str
    dtype: str
    style_size: int
    network: NetworkOptions
    weights: LossWeights
    region_weights: Sequence[float]
    temporal_weight: float
    record: Mapping[str, Any]

    @property
    def training(self) -> dict[str, Any]:
        """What the network is built from, see `models.architecture.build_architecture`."""
        return {**self.record, "width": self.width, "blocks": self.blocks}


@dataclass(frozen=True)
class AnyStylizerOptions:
    """The stylizer for any painting, its paintings and its losses.

    Attributes:
      width: channels of the network at full resolution.
      blocks: its residual blocks.
      dtype: compute dtype, "float32" or "bfloat16".
      paintings: folders.
      views: number of views of paintings that are trained on.
      style_size: side of a view in pixels.
      regions: names of the masks, "background" among them.
      seed: of the views.
      network: the VGG of the losses.
      weights: factors of the loss; `tv` weighs the total variation per pixel.
      temporal_weight: factor of the temporal loss; 0 = none.
      start: the model for any painting whose weights it starts from; "" = random ones.
      record: the config of the run, stored in the weights file.
    """

    width: int
    blocks: int
    dtype: str
    paintings: Sequence[str]
    views: int
    style_size: int
    regions: Sequence[str]
    seed: int
    network: NetworkOptions
    weights: LossWeights
    temporal_weight: float
    start: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class SegmenterOptions:
    """A segmenter.

    Attributes:
      network: one of `deeplab.OWN_NETWORKS`.
      classes: names of the classes that it learns, without the background.
      encoder_rate: factor of the learning rate of the encoder's parameters.
      start: the initial weights, see `segmenter_weights.initial_weights`.
      dtype: compute dtype, "float32" or "bfloat16".
      without_mask: photos without a mask: "error", or "background" (all of the photo).
      record: the config of the run, stored in the weights file.
    """

    network: str
    classes: Sequence[str]
    encoder_rate: float
    start: str
    dtype: str
    without_mask: str
    record: Mapping[str, Any]

    @property
    def class_indices(self) -> tuple[int, ...]:
        """The index in `voc.CLASSES` of each score, the background's first."""
        return tuple(map(CLASSES.index, (BACKGROUND, *self.classes)))
