"""Checkpoints of a training run: written beside the run, the newest that is whole is read back."""

import gc
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from msst_jax.errors import UserError, first_line

Result = TypeVar("Result")


@contextmanager
def open_checkpoints(folder: Path, *, keep_last: int, keep_every: int) -> Iterator[ocp.training.Checkpointer]:
    """The checkpoints in a folder; left-overs of killed runs are removed. In the end it waits until all is written.

    Args:
      folder: where they lie.
      keep_last: so many newest ones stay.
      keep_every: those at multiples of so many steps stay for good; 0 = none.

    Raises:
      UserError: as `save`.
    """
    policies = ocp.training.preservation_policies
    kept = [policies.LatestN(keep_last), *([policies.EveryNSteps(keep_every)] if keep_every else [])]
    checkpoints = ocp.training.Checkpointer(
        folder.resolve(),
        save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
        preservation_policy=policies.AnyPreservationPolicy(kept),
        cleanup_tmp_directories=True,
    )
    try:
        yield checkpoints
    except BaseException:
        with suppress(Exception):  # it would tell again of a failed save
            checkpoints.close()
        raise
    _reporting_errors(checkpoints.close, checkpoints)


def save(checkpoints: ocp.training.Checkpointer, step: int, state: Any, position: dict[str, Any]) -> None:
    """Starts to write a checkpoint; training goes on meanwhile. Waits for the one before.

    Args:
      checkpoints: see `open_checkpoints`.
      step: its number.
      state: arrays. They are copied first, since the next step takes their memory.
      position: of the data iterator, JSON.

    Raises:
      UserError: the disk is full, or refuses; the checkpoint before stays.
    """
    copied = jax.tree.map(np.array, state)
    saved = {"state": copied, "position": {"data": position, "sha256": _digest(copied)}}
    _reporting_errors(lambda: checkpoints.save_checkpointables_async(step, saved), checkpoints)


def _reporting_errors(action: Callable[[], Result], checkpoints: ocp.training.Checkpointer) -> Result:
    try:
        return action()
    except (OSError, ValueError, RuntimeError) as error:  # tensorstore reports a full disk as ValueError
        raise UserError(
            f"cannot write a checkpoint to {checkpoints.directory}: {first_line(error)}; free some space and start the "
            "same command again: it goes on from the checkpoint before"
        ) from error


def restore(checkpoints: ocp.training.Checkpointer, state: Any) -> tuple[Any, dict[str, Any]] | None:
    """State and data position of the newest checkpoint that can be read; None if there is no checkpoint.

    A damaged one is passed over with a warning, and removed, so that its step can be written again.

    Args:
      checkpoints: see `open_checkpoints`.
      state: of the shapes and types expected.

    Raises:
      UserError: there are checkpoints, and none can be read.
    """
    damaged = []
    for step in sorted((checkpoint.step for checkpoint in checkpoints.checkpoints), reverse=True):
        found = _load_if_intact(checkpoints, step, state)
        if found is None:
            damaged.append(step)
            continue
        for broken in damaged:
            checkpoints.delete(broken)
        return found
    if damaged:
        raise UserError(f"no checkpoint in {checkpoints.directory} can be read; begin anew with --restart")
    return None


def _load_if_intact(checkpoints: ocp.training.Checkpointer, step: int, state: Any) -> tuple[Any, dict[str, Any]] | None:
    """As `_load`; None, and a warning, if the checkpoint is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a damaged one orbax leaves coroutines behind
        try:
            return _load(checkpoints, step, state)
        except Exception as error:  # orbax and tensorstore raise whatever a damaged file leads them to
            logging.warning("checkpoint %d is damaged (%s): falling back to the one before", step, first_line(error))
        gc.collect()  # the coroutines, while their warning is off
    return None


def _load(checkpoints: ocp.training.Checkpointer, step: int, state: Any) -> tuple[Any, dict[str, Any]]:
    """State, in numpy, and position; where types are given instead of arrays, orbax does not cast without a word."""
    found = checkpoints.load_checkpointables(step, {"state": jax.tree.map(_numpy, state), "position": None})
    for leaf, expected in zip(jax.tree.leaves(found["state"]), jax.tree.leaves(state), strict=True):
        if (leaf.shape, leaf.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"found {leaf.dtype}{leaf.shape} for {expected.dtype}{expected.shape}")
    if _digest(found["state"]) != found["position"]["sha256"]:
        raise ValueError("its arrays are not those that were written")
    return found["state"], found["position"]["data"]


def _digest(state: Any) -> str:
    """Orbax and tensorstore do not notice a bit that has changed on the disk."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _numpy(_leaf: Any) -> type:
    return np.ndarray
