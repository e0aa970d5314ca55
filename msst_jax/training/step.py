"""The pmapped training step of a `Task`, its state, optimizer and learning-rate schedule."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from msst_jax.losses.objective import Terms
from msst_jax.models.serialization import dotted_key_path
from msst_jax.training.data.mask_bytes import with_float_masks
from msst_jax.training.options import OptimizationOptions
from msst_jax.training.task import Batch, Params, Task

Tree = TypeVar("Tree")

AXIS = "data"


class TrainState(NamedTuple):
    """The complete state of a run, except the position of its data iterator."""

    step: jax.Array
    """Number of steps, skipped ones included."""
    params: Params
    ema: Params
    """Running average of the parameters, which is exported."""
    optimizer: optax.OptState
    key: jax.Array
    """Raw data of the PRNG key."""
    skipped: jax.Array
    """Steps whose loss or gradient was not finite; they did not update anything else."""
    skipped_in_a_row: jax.Array


def learning_rate_schedule(options: OptimizationOptions) -> optax.Schedule:
    """Linear warm-up, then cosine decay to 0. Source: Loshchilov & Hutter 2016 (arXiv:1608.03983), no restarts."""
    warmup = min(options.warmup, options.steps)
    return optax.warmup_cosine_decay_schedule(0.0, options.learning_rate, warmup, max(options.steps, warmup + 1))


def build_train_optimizer(
    options: OptimizationOptions, rate: Callable[[str], float] | None = None
) -> optax.GradientTransformation:
    """Adam with gradient clipping by global norm; `rate` is that of `Task`."""
    clipping = optax.clip_by_global_norm(options.clip) if options.clip else optax.identity()
    adam = optax.adam(learning_rate_schedule(options))
    return optax.chain(clipping, adam) if rate is None else optax.chain(clipping, adam, _scale_updates(rate))


def _scale_updates(rate: Callable[[str], float]) -> optax.GradientTransformation:
    def scale(updates: Params, _: Params | None) -> Params:
        return jax.tree.map_with_path(lambda path, update: update * rate(dotted_key_path(path)), updates)

    return optax.stateless(scale)


def init_train_state(task: Task, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step. Leaves never share a buffer, so that they can be donated."""
    init_key, key = jax.random.split(jax.random.key(seed))
    params = task.init(init_key)
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(zero, params, params, optimizer.init(params), jax.random.key_data(key), zero, zero)
    return jax.tree.map(jnp.copy, state)


def make_train_step(
    loss: Callable[..., tuple[jax.Array, Terms]],
    optimizer: optax.GradientTransformation,
    decay: float,
    accumulate: int = 1,
) -> Callable[[TrainState, Any, Batch], tuple[TrainState, Terms]]:
    """The step `(state, frozen, batch) -> (state, metrics)`, to be pmapped over AXIS.

    Gradients and metrics are means over all devices. A step whose loss or gradient is not finite updates only the
    counters. The decay of the EMA ramps up, so that it forgets the random initialization.

    Args:
      loss: see `Task`; it gets the masks as floats, see `with_float_masks`.
      optimizer: the one that initialized `TrainState.optimizer`.
      decay: upper bound of the EMA's decay.
      accumulate: parts of a device's batch, one in memory at a time, whose losses and gradients are averaged.
    """

    def of_bytes(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        return loss(params, frozen, with_float_masks(batch), key)

    gradient = jax.value_and_grad(of_bytes, has_aux=True)
    if accumulate > 1:
        gradient = _mean_over_parts(gradient, accumulate)

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Terms]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        (value, terms), grads = gradient(state.params, frozen, batch, key)
        value, terms, grads = lax.pmean((value, terms, grads), AXIS)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        current_decay = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
        ema = optax.incremental_update(params, state.ema, 1 - current_decay)
        new = TrainState(
            step=state.step + 1,
            params=_select(finite, params, state.params),
            ema=_select(finite, ema, state.ema),
            optimizer=_select(finite, optimizer_state, state.optimizer),
            key=state.key,
            skipped=state.skipped + ~finite,
            skipped_in_a_row=jnp.where(finite, 0, state.skipped_in_a_row + 1),
        )
        counts = {"skipped": new.skipped, "skipped_in_a_row": new.skipped_in_a_row}
        return new, {"loss": value, **terms, "gradient_norm": norm, **counts}

    return step


def _mean_over_parts(gradient: Callable[..., Any], parts: int) -> Callable[..., Any]:
    """The mean of `gradient(params, frozen, batch, key)` over equal parts of the batch, each with a key of its own."""

    def mean(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> Any:
        cut = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), batch)

        def add(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            found = gradient(params, frozen, part[0], jax.random.fold_in(key, part[1]))
            return jax.tree.map(lambda a, b: a + b / parts, total, found), None

        first = jax.tree.map(lambda leaf: leaf[0], cut)
        none = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, params, frozen, first, key)
        )
        return lax.scan(add, none, (cut, jnp.arange(parts)))[0]

    return mean


def _select(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def data_parallel(step: Callable[..., Any], devices: list[jax.Device] | None = None) -> Callable[..., Any]:
    """Pmaps a step (see `make_train_step`) over devices (all of all hosts if None); the state is donated.

    State and frozen arrays go in and come out without a device axis. If they are not replicated (see `replicate`), they
    are copied to the devices, and the step is compiled again for them. The batch has a leading axis of this host's
    devices.
    """
    return jax.pmap(step, AXIS, in_axes=(None, None, 0), out_axes=None, donate_argnums=0, devices=devices)


def replicate(tree: Tree, devices: list[jax.Device] | None = None) -> Tree:
    """Copies arrays to every device (all of this host if None), fully replicated."""
    mesh = Mesh(np.array(devices or jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_batch(batch: Batch, devices: int) -> Batch:
    """Leaves (N, ...) to (devices, N / devices, ...)."""
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)
