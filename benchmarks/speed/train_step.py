"""Benchmark of a training step of the feed-forward model against PyTorch, on the same batch.

Both compute the loss of configs/fast.py for two styles, its gradient, gradient clipping, Adam and the moving average of
the weights, from the same weights and with all threads. msst_jax runs the step of train.py on one device;
PyTorch runs reference/stylizer.py, on a GPU also under torch.compile. The images are random, which does not affect
speed.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.harness.program import OURS, Case, Program, compile_with_cost
from benchmarks.harness.torch_side import torch_device
from msst_jax.configs import fast as fast_config
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.models.serialization import state_to_tensors
from msst_jax.presets.lookup import load_preset
from msst_jax.training.build import build_loop_options, build_stylizer_options
from msst_jax.training.step import (
    build_train_optimizer,
    data_parallel,
    init_train_state,
    learning_rate_schedule,
    make_train_step,
    replicate,
    shard_batch,
)
from msst_jax.training.task import Task
from msst_jax.training.tasks import stylizer
from msst_jax.transfer.objective import load_loss_network
from reference import original
from reference.stylizer import TrainingLoss, build_twin, training_step

GROUP = "train_step"
REFERENCE = "PyTorch twin"
COMPILED = "PyTorch twin, torch.compile"
REGIONS = ("person", "background")
TOLERANCE = 1e-3  # of the losses before the first step
BATCH = 4
RATES = 100  # precomputed learning rates for PyTorch, more than any run needs


def cases(quick: bool) -> list[Case]:
    """Cases of the default network at two sizes of its crops; if quick, of a tiny one."""
    width = fast_config.get_config().width
    return [_case(*sizes) for sizes in ([(32, 4)] if quick else [(256, width), (128, width)])]


def _case(size: int, width: int) -> Case:
    programs = {OURS: partial(start_ours, size, width), REFERENCE: partial(start_torch, size, width)}
    if jax.default_backend() == "gpu":
        programs[COMPILED] = partial(start_torch, size, width, torch_compile=True)
    return Case(
        group=GROUP,
        what=f"training the fast model, width {width}",
        size=f"{BATCH} photos of {size}x{size}",
        unit="step",
        programs=programs,
        tolerance=TOLERANCE,
    )


class TrainingProblem(NamedTuple):
    """A training task with its batch and style images."""

    config: ConfigDict
    task: Task
    batch: dict[str, np.ndarray]
    styles: list[np.ndarray]


def build_problem(size: int, width: int, batch: int, preset: str = "fast") -> TrainingProblem:
    """The task of a preset of the stylizer with random images."""
    config = load_preset(preset).get_config()
    config.size, config.width, config.batch = size, width, batch
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    masks = rng.dirichlet([1] * len(REGIONS), (batch, size, size)).astype(np.float32)
    styles = [rng.uniform(size=(size, size, 3)).astype(np.float32) for _ in REGIONS]
    options = build_stylizer_options(config)
    options = replace(options, network=replace(options.network, weights=EMBEDDED_VGG16))
    vgg, _ = load_loss_network(options.network)
    data = {"photo": photos, "masks": masks}
    return TrainingProblem(config, stylizer.make_task(options, vgg, REGIONS, REGIONS, styles, data), data, styles)


def start_ours(size: int, width: int) -> Program:
    """The step of train.py on one device."""
    config, task, batch, _ = build_problem(size, width, BATCH)
    device = jax.local_devices()[:1]
    optimizer = build_train_optimizer(build_loop_options(config).optimization)
    state = init_train_state(task, optimizer, config.seed)
    step = data_parallel(make_train_step(task.loss, optimizer, config.ema), device)
    state, frozen = replicate(state, device), replicate(task.frozen, device)
    shared = jax.device_put(shard_batch(batch, 1), device[0])
    compiled, seconds, cost = compile_with_cost(step, state, frozen, shared)

    def advance() -> float:
        nonlocal state
        state, metrics = compiled(state, frozen, shared)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return Program(advance, seconds, cost)


def start_torch(size: int, width: int, *, torch_compile: bool = False) -> Program:
    """The PyTorch reference, from the same weights."""
    import torch

    config, task, batch, styles = build_problem(size, width, BATCH)
    optimization = build_loop_options(config).optimization
    weights = state_to_tensors(init_train_state(task, build_train_optimizer(optimization), config.seed).params)
    device = torch_device()
    step = training_step(
        _torch_loss(config, weights, styles).to(device), config.clip, config.ema, compiled=torch_compile
    )
    photos = original.to_tensor(batch["photo"]).to(device) / 255
    masks = torch.from_numpy(np.moveaxis(batch["masks"], -1, 1).copy()).to(device)
    rates = np.asarray(jax.vmap(learning_rate_schedule(optimization))(jnp.arange(RATES))).tolist()
    step_number = 0

    def advance() -> float:
        nonlocal step_number
        value = step(step_number, rates[step_number], photos, masks).item()
        step_number += 1
        return value

    return Program(advance)


def _torch_loss(config: ConfigDict, weights: Mapping[str, np.ndarray], styles: list[np.ndarray]) -> TrainingLoss:
    settings = original.Settings(
        style_layers=config.style_layers,
        content_layers=config.content_layers,
        style_factors=config.style_layer_weights or (1.0,) * len(config.style_layers),
        content_factors=config.content_layer_weights or (1.0,) * len(config.content_layers),
        style_weight=config.style_weight,
        blend_ratio=config.blend_ratio,
        content_weight=config.content_weight,
        tv_weight=config.tv_weight / config.size**2,
    )
    vgg = original.network(EMBEDDED_VGG16)
    vgg.conv1_1.padding_mode = "replicate"  # type: ignore[assignment, union-attr]  # as that of train.py
    return TrainingLoss(build_twin(weights), vgg, [original.to_tensor(style) for style in styles], settings)
