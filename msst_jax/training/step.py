"""A training step that runs on all devices of all hosts, and its state. What is trained is a `Task`."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from msst_jax.training.task import Batch, Params, Task, Terms

Tree = TypeVar("Tree")

AXIS = "data"


class TrainState(NamedTuple):
    """All that a run is, but for its position in the data."""

    step: jax.Array
    """Steps made, skipped ones too."""
    params: Params
    ema: Params
    """Running average of the parameters: what is used in the end."""
    optimizer: optax.OptState
    key: jax.Array
    """Raw data of a random key."""
    skipped: jax.Array
    """Steps whose loss or gradient was not finite, and that changed nothing."""
    skipped_in_a_row: jax.Array


def learning_rate_schedule(config: ConfigDict) -> optax.Schedule:
    """Linear warm-up, then a cosine down to 0. Source: Loshchilov & Hutter 2016 (arXiv:1608.03983), no restarts."""
    warmup = min(config.warmup, config.steps)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(config.steps, warmup + 1))


def build_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """Adam behind a limit on the norm of the gradient (config.clip; 0 = none)."""
    limit = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    return optax.chain(limit, optax.adam(learning_rate_schedule(config)))


def init_train_state(task: Task, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step. Leaves never share a buffer, so that they can be donated."""
    first, rest = jax.random.split(jax.random.key(seed))
    params = task.init(first)
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(zero, params, params, optimizer.init(params), jax.random.key_data(rest), zero, zero)
    return jax.tree.map(jnp.copy, state)


def make_train_step(
    loss: Callable[..., tuple[jax.Array, Terms]], optimizer: optax.GradientTransformation, decay: float
) -> Callable[[TrainState, Any, Batch], tuple[TrainState, Terms]]:
    """The step `(state, frozen, batch) -> (state, metrics)`, to be mapped over AXIS.

    Gradients and metrics are means over all devices. A step whose loss or gradient is not finite changes nothing
    but the counters. The average of the parameters starts with a short memory, so that it forgets the random start.

    Args:
      loss: see `Task`.
      optimizer: what `State.optimizer` belongs to.
      decay: of the average of the parameters, at most.
    """

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Terms]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        (value, terms), grads = jax.value_and_grad(loss, has_aux=True)(state.params, frozen, batch, key)
        value, terms, grads = lax.pmean((value, terms, grads), AXIS)
        norm = optax.tree.norm(grads)
        good = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, moved = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        memory = jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
        ema = optax.incremental_update(params, state.ema, 1 - memory)
        new = TrainState(
            step=state.step + 1,
            params=_select(good, params, state.params),
            ema=_select(good, ema, state.ema),
            optimizer=_select(good, moved, state.optimizer),
            key=state.key,
            skipped=state.skipped + ~good,
            skipped_in_a_row=jnp.where(good, 0, state.skipped_in_a_row + 1),
        )
        counts = {"skipped": new.skipped, "skipped_in_a_row": new.skipped_in_a_row}
        return new, {"loss": value, **terms, "gradient_norm": norm, **counts}

    return step


def _select(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def data_parallel(step: Callable[..., Any], devices: list[jax.Device] | None = None) -> Callable[..., Any]:
    """A step (see `make_train_step`) data-parallel over devices (all of all hosts if None); state donated.

    State and frozen arrays go in and come out whole; those that are not `replicate` are copied to the devices, and
    the step compiled again for them. The batch has a leading axis of this host's devices.
    """
    return jax.pmap(step, AXIS, in_axes=(None, None, 0), out_axes=None, donate_argnums=0, devices=devices)


def replicate(tree: Tree, devices: list[jax.Device] | None = None) -> Tree:
    """Arrays whole on each of some devices (all of this host if None)."""
    mesh = Mesh(np.array(devices or jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_batch(batch: Batch, devices: int) -> Batch:
    """Leaves (N, ...) to (devices, N / devices, ...)."""
    return jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)
