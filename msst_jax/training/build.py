"""Builds the typed options of training from a config (configs/fast.py, configs/person_segmenter.py)."""

from ml_collections import ConfigDict

from msst_jax.losses.objective import LossWeights
from msst_jax.models.precision import PRECISIONS
from msst_jax.regions.masks import BACKGROUND
from msst_jax.training.data.augment import CropOptions
from msst_jax.training.options import (
    AnyStylizerOptions,
    LoopOptions,
    OptimizationOptions,
    SegmenterOptions,
    StylizerOptions,
)
from msst_jax.transfer.build import build_layers
from msst_jax.transfer.options import NetworkOptions


def build_loop_options(config: ConfigDict) -> LoopOptions:
    """The options of the training loop, from fields that configs/fast.py and configs/person_segmenter.py share."""
    return LoopOptions(
        optimization=OptimizationOptions(
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            clip=config.clip,
            ema=config.ema,
        ),
        batch=config.batch,
        accumulate=config.accumulate,
        seed=config.seed,
        log_every=config.log_every,
        sample_every=config.sample_every,
        checkpoint_every=config.checkpoint_every,
        keep_last=config.keep_last,
        keep_every=config.keep_every,
    )


def build_crop_options(config: ConfigDict) -> CropOptions:
    """The options of cropping, from fields that configs/fast.py and configs/person_segmenter.py share."""
    random_regions = config.without_mask == "random"
    return CropOptions(config.size, config.smallest_crop, config.largest_crop, config.colour, random_regions)


def build_stylizer_options(config: ConfigDict) -> StylizerOptions:
    """The options of the stylizer and its losses, from fields of configs/fast.py."""
    return StylizerOptions(
        architecture=config.architecture,
        width=config.width,
        blocks=config.blocks,
        start=config.start,
        dtype=PRECISIONS[config.precision].dtype,
        style_size=config.style_size,
        network=_build_network(config),
        weights=_build_weights(config),
        region_weights=config.region_weights,
        temporal_weight=config.temporal_weight,
        record=config.to_dict(),
    )


def build_any_stylizer_options(config: ConfigDict) -> AnyStylizerOptions:
    """The options of the stylizer for any painting and its losses, from fields of configs/any.py."""
    return AnyStylizerOptions(
        width=config.width,
        blocks=config.blocks,
        dtype=PRECISIONS[config.precision].dtype,
        paintings=config.paintings,
        views=config.views,
        style_size=config.style_size,
        regions=(*config.regions, BACKGROUND),
        seed=config.seed,
        network=_build_network(config),
        weights=_build_weights(config),
        temporal_weight=config.temporal_weight,
        start=config.start,
        record=config.to_dict(),
    )


def _build_network(config: ConfigDict) -> NetworkOptions:
    return NetworkOptions(
        config.network, build_layers(config), padding="replicate", dtype=PRECISIONS[config.precision].dtype
    )


def _build_weights(config: ConfigDict) -> LossWeights:
    blend_weight = config.blend_ratio * config.style_weight
    return LossWeights(config.style_weight, blend_weight, config.content_weight, config.tv_weight)


def build_segmenter_options(config: ConfigDict) -> SegmenterOptions:
    """The options of a segmenter, from fields of configs/person_segmenter.py and configs/segmenter.py."""
    return SegmenterOptions(
        network=config.segmenter_network,
        classes=tuple(config.classes),
        encoder_rate=config.encoder_rate,
        start=config.start,
        dtype=PRECISIONS[config.precision].dtype,
        without_mask=config.without_mask,
        record=config.to_dict(),
    )
