"""Checkpoints of a training run: asynchronous saves, and restoring the newest intact one."""

import gc
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from msst_jax.errors import UserError, first_line
from msst_jax.training.run_record import WAYS_OUT

Result = TypeVar("Result")
Checkpointer: TypeAlias = ocp.training.Checkpointer


@contextmanager
def open_checkpoints(
    folder: Path, *, keep_last: int, keep_every: int, own_disk: bool = False
) -> Iterator[Checkpointer]:
    """Opens the checkpoints in a folder, removes temporary files of killed runs, and waits for all saves on exit.

    Args:
      folder: of the checkpoints.
      keep_last: number of newest checkpoints to keep.
      keep_every: checkpoints at multiples of this step are never deleted; 0 = none.
      own_disk: of several hosts, each has a folder of its own, and writes into it.

    Raises:
      UserError: as `save`, or a file in place of the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder; {WAYS_OUT}")
    policies = ocp.training.preservation_policies
    preserved = [policies.LatestN(keep_last), *([policies.EveryNSteps(keep_every)] if keep_every else [])]
    context = ocp.Context()
    if own_disk:
        context.multiprocessing.primary_host = None  # every host is one
    checkpoints = Checkpointer(
        folder.resolve(),
        save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
        preservation_policy=policies.AnyPreservationPolicy(preserved),
        cleanup_tmp_directories=True,
        context=context,
    )
    try:
        yield checkpoints
    except BaseException:
        with suppress(Exception):  # closing would raise the error of a failed save again
            checkpoints.close()
        raise
    _raise_as_user_error(checkpoints.close, checkpoints)


def save(checkpoints: Checkpointer, step: int, state: Any, position: dict[str, Any]) -> None:
    """Starts an asynchronous save; first waits for the previous one.

    Args:
      checkpoints: see `open_checkpoints`.
      step: number of the checkpoint.
      state: arrays. They are copied first, since the next step reuses their (donated) memory.
      position: of the data iterator, JSON.

    Raises:
      UserError: the disk is full, or the file system refuses; the previous checkpoint is kept.
    """
    copied = jax.tree.map(np.array, state)
    saved = {"state": copied, "position": {"data": position, "sha256": _digest(copied)}}
    _raise_as_user_error(lambda: checkpoints.save_checkpointables_async(step, saved), checkpoints)


def wait(checkpoints: Checkpointer) -> None:
    """Waits until all saves are on disk; UserError as `save`."""
    _raise_as_user_error(checkpoints.wait, checkpoints)


def _raise_as_user_error(action: Callable[[], Result], checkpoints: Checkpointer) -> Result:
    """Runs an action of orbax; its errors become a UserError."""
    try:
        return action()
    except (OSError, ValueError, RuntimeError) as error:  # tensorstore reports a full disk as ValueError
        raise UserError(
            f"cannot write a checkpoint to {checkpoints.directory}: {first_line(error)}; free some space and start the "
            "same command again: it continues from the previous checkpoint"
        ) from error


def restore(checkpoints: Checkpointer, state: Any) -> tuple[Any, dict[str, Any]] | None:
    """State and data position of the newest intact checkpoint; None if there is no checkpoint.

    A damaged one is skipped with a warning, and deleted, so that its step can be saved again.

    Args:
      checkpoints: see `open_checkpoints`.
      state: of the expected shapes and dtypes.

    Raises:
      UserError: there are checkpoints, but none can be read.
    """
    damaged = []
    for step in sorted((checkpoint.step for checkpoint in checkpoints.checkpoints), reverse=True):
        restored = _load_if_intact(checkpoints, step, state)
        if restored is None:
            damaged.append(step)
            continue
        for damaged_step in damaged:
            checkpoints.delete(damaged_step)
        return restored
    if damaged:
        raise UserError(f"no checkpoint in {checkpoints.directory} can be read; {WAYS_OUT}")
    return None


def _load_if_intact(checkpoints: Checkpointer, step: int, state: Any) -> tuple[Any, dict[str, Any]] | None:
    """As `_load`; None, with a warning, if the checkpoint is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # orbax leaves unawaited coroutines if a file is damaged
        try:
            return _load(checkpoints, step, state)
        except Exception as error:  # damaged files make orbax and tensorstore raise errors of any type
            logging.warning("checkpoint %d is damaged (%s): falling back to the previous one", step, first_line(error))
        gc.collect()  # collects the coroutines while their warning is suppressed
    return None


def _load(checkpoints: Checkpointer, step: int, state: Any) -> tuple[Any, dict[str, Any]]:
    """State, in NumPy, and position. The template holds types, not arrays, so that orbax does not cast silently."""
    restored = checkpoints.load_checkpointables(step, {"state": jax.tree.map(_numpy_type, state), "position": None})
    for leaf, expected in zip(jax.tree.leaves(restored["state"]), jax.tree.leaves(state), strict=True):
        if (leaf.shape, leaf.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"found {leaf.dtype}{leaf.shape} for {expected.dtype}{expected.shape}")
    if _digest(restored["state"]) != restored["position"]["sha256"]:
        raise ValueError("its arrays do not match their SHA-256")
    return restored["state"], restored["position"]["data"]


def _digest(state: Any) -> str:
    """SHA-256 of all leaves: orbax and tensorstore do not detect bits flipped on disk."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _numpy_type(_leaf: Any) -> type:
    return np.ndarray
