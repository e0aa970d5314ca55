"""The programs that a run computes with, as functions of abstract arguments on a device."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import SingleDeviceSharding

from benchmarks.speed import feedforward_photo, optimize, train_step
from msst_jax.models.deeplab import PERSON_NETWORK
from msst_jax.models.feedforward_model import BUILTIN, load_feedforward
from msst_jax.models.precision import products_at
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.optim.lbfgs_direction import Form
from msst_jax.optim.minimize import clip_to_range, compile_step, make_init
from msst_jax.presets.lookup import load_preset
from msst_jax.regions.masks import MaskSpec
from msst_jax.regions.segmenter import load_segmenter
from msst_jax.training.build import build_loop_options
from msst_jax.training.step import AXIS, build_train_optimizer, init_train_state, make_train_step, shard_batch
from msst_jax.transfer.build import build_options
from msst_jax.transfer.feedforward import stylize_batch
from msst_jax.video.feedforward import compiled_stylizer, frames_per_batch
from msst_jax.video.key_segmentation import key_segmenter
from msst_jax.video.temporal_masks import build_mask_spec, initial_mask_state, key_frames

Compile = Callable[[int, jax.Device], jax.stages.Compiled]
"""compile(side in pixels, device)."""
REGIONS = 2
TILES = 8


def place(tree: Any, device: jax.Device) -> Any:
    """Arrays as abstract ones on a device; what is no array stays."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=sharding), tree)


def evaluation(preset: str, form: Form = "by_platform", **changes: Any) -> Compile:
    """Loss, gradient and update of the bundled example, with a full history of the optimizer.

    Args:
      preset: its name.
      form: of L-BFGS's direction.
      changes: fields of its config.
    """

    def build(side: int, device: jax.Device) -> jax.stages.Compiled:
        example = optimize.changed_example(side, load_preset(preset).get_config(), form, changes)
        with products_at(example.config.precision):
            problem = example.problem()
            state = jax.eval_shape(make_init(problem.transform, batched=True), problem.pixels)
            loss, state, runs = place((problem.loss, state, problem.runs), device)
            return compile_step(loss, problem.transform, clip_to_range, state, runs)[0]

    return build


def training(side: int, device: jax.Device) -> jax.stages.Compiled:
    """A step of configs/fast.py on one device."""
    config, task, batch, _ = train_step.build_problem(side, 16, 8)
    optimizer = build_train_optimizer(build_loop_options(config).optimization)
    state = jax.eval_shape(lambda: init_train_state(task, optimizer, 0))
    step = jax.vmap(make_train_step(task.loss, optimizer, config.ema), (None, None, 0), None, axis_name=AXIS)
    arguments = place((state, task.frozen, shard_batch(batch, 1)), device)
    return jax.jit(step, donate_argnums=0).lower(*arguments).compile()


def fast_photo(side: int, device: jax.Device) -> jax.stages.Compiled:
    """A photo by a feed-forward model."""
    network = feedforward_photo.random_network(REGIONS)
    arguments = (network, jnp.zeros((1, side, side, 3)), jnp.zeros((1, side, side, REGIONS)))
    return stylize_batch.lower(*place((*arguments, blend_mixtures(REGIONS, 0.0)), device)).compile()


def video_batch(side: int, device: jax.Device) -> jax.stages.Compiled:
    """A batch of the frames of a video, whose persons are found, by the built-in feed-forward model."""
    options, model = build_options(load_preset("video").get_config()), load_feedforward(BUILTIN)
    masks = MaskSpec(model.regions, (), options.inputs.masks)
    segmenter = load_segmenter(PERSON_NETWORK, masks.missing)
    spec = build_mask_spec(masks, segmenter, (side, side), options.temporal.mask_smoothing)
    every = options.temporal.segment_every
    count = frames_per_batch([spec.size, *spec.scales], every)
    keys = key_frames(0, count, every)
    network, finder = nnx.split(model.network), key_segmenter(segmenter, spec)
    program = compiled_stylizer(network[0], finder.definition, spec, options.temporal.picture_smoothing, keys)
    frames = np.zeros((count, side, side, 3), np.uint8)
    state = {"regions": initial_mask_state(spec), "picture": jnp.zeros((side, side, 3))}
    mixtures = jnp.stack([blend_mixtures(len(model.regions), 0.0)] * count)
    arguments = (network[1], finder.arguments(frames, keys), frames, frames[..., :0], mixtures, None, state)
    return program.lower(*place(arguments, device)).compile()


PROGRAMS: Mapping[str, Compile] = {
    "seed": evaluation("seed"),
    "seed_remat": evaluation("seed", remat=True),
    "seed_tiles": evaluation("seed", tiles=str(TILES)),
    "photo": evaluation("photo"),
    "fast_photo": fast_photo,
    "video_batch": video_batch,
    "training": training,
}


class Variant(NamedTuple):
    """A way to compute an evaluation of `seed`, for the table of predicted seconds."""

    compile: Compile
    exact: bool = False
    """Products in float32, not in TF32."""


VARIANTS: Mapping[str, Variant] = {
    "two loops over the history (before)": Variant(evaluation("seed", form="loops")),
    "the default: blocked, TF32": Variant(evaluation("seed")),
    "`--config.precision=highest`": Variant(evaluation("seed", precision="highest"), exact=True),
    "`--config.precision=bfloat16 --config.history_dtype=bfloat16`": Variant(
        evaluation("seed", precision="bfloat16", history_dtype="bfloat16")
    ),
}
