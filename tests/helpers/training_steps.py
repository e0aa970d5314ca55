"""One step of training: its start, the batches it takes, and the same step on some devices or for another platform."""

from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from msst_jax.training.options import LoopOptions
from msst_jax.training.step import (
    AXIS,
    TrainState,
    build_train_optimizer,
    data_parallel,
    init_train_state,
    make_train_step,
    shard_batch,
)
from msst_jax.training.task import Batch, Task
from tests.helpers.pictures import noise

DEVICES = 4


def random_batch(count: int, size: int = 32) -> dict[str, np.ndarray]:
    """Photos and soft masks of two regions."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(size=(count, size, size, 1)).astype(np.float32)
    photos = np.stack([noise(size, size, seed) for seed in range(count)])
    return {"photo": photos, "masks": np.concatenate([inside, 1 - inside], -1)}


def start(options: LoopOptions, task: Task) -> tuple[TrainState, Any]:
    """The initial state, and the step to be mapped over the devices."""
    optimizer = build_train_optimizer(options.optimization)
    step = make_train_step(task.loss, optimizer, options.optimization.ema)
    return init_train_state(task, optimizer, options.seed), step


def steps_on_four_devices_and_one(task: Task, state: TrainState, step: Any, batch: Batch) -> list[Any]:
    """(state, metrics) after the step, of each."""
    return [
        jax.device_get(data_parallel(step, jax.devices()[:count])(state, task.frozen, shard_batch(batch, count)))
        for count in (DEVICES, 1)
    ]


def perturbed(params: Any) -> Any:
    """Nonzero parameters: Adam takes a full step even where the gradient is rounding error, large relative to 0."""
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(3)
    return jax.tree.unflatten(
        structure, [leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    )


def assert_near(one: Any, other: Any, tolerance: float) -> None:
    """Every leaf, relative to its largest value."""
    for (path, found), wanted in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
        limit = tolerance * np.abs(wanted).max()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=limit, err_msg=jax.tree_util.keystr(path))


def largest_gradients(state: TrainState) -> dict[str, float]:
    """{parameter: its largest gradient}, from Adam's mean of one step."""
    means = jax.tree_util.tree_leaves_with_path(state.optimizer[1][0].mu)
    return {jax.tree_util.keystr(path): float(np.abs(mean).max()) for path, mean in means}


def lowered(options: LoopOptions, task: Task, batch: Batch, platform: str) -> str:
    """The complete step for four devices of a platform, as StableHLO."""
    state, step = start(options, task)

    def on_one(state: TrainState, frozen: Any, batch: Any) -> Any:
        return step(state, frozen, batch)

    whole, part = PartitionSpec(), PartitionSpec(AXIS)
    mesh = jax.make_mesh((DEVICES,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(on_one, mesh=mesh, in_specs=(whole, whole, part), out_specs=(whole, whole), check_vma=False)
    return jax.export.export(jax.jit(mapped), platforms=[platform])(state, task.frozen, dict(batch)).mlir_module()
