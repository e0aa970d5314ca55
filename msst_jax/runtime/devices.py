"""The devices that compute, and collectives over the hosts of a run."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from msst_jax.errors import UserError, first_line

Result = TypeVar("Result")


def start_device() -> None:
    """Starts what computes, which otherwise the first computation does, wherever it is.

    Raises:
      UserError: JAX_PLATFORMS names what JAX cannot use here; without it JAX takes what there is.
    """
    try:
        jax.devices()
    except Exception as error:  # without the plugin for CUDA a bare AssertionError
        platforms = os.environ.get("JAX_PLATFORMS")
        if not platforms:
            raise
        raise UserError(
            f"JAX_PLATFORMS is {platforms!r}, which JAX cannot use here ({first_line(error)}); unset it, or install "
            "the JAX of that device"
        ) from error


def chosen_devices(count: int) -> Sequence[jax.Device]:
    """The first `count` devices of this host; 0 = all.

    Raises:
      UserError: there are not as many.
    """
    devices = jax.local_devices()
    if count > len(devices):
        there = f"there are {len(devices)}" if len(devices) > 1 else f"there is one ({devices[0].device_kind})"
        raise UserError(f"config.devices is {count}, and {there}; give at most {len(devices)}, or 0 for all")
    return devices[:count] if count else devices


def on_any_host(flag: bool) -> bool:
    """Whether the flag is set on any host. A collective: every host must call it, equally often."""
    return bool(hosts_where(flag))


def text_of_host0(text: str) -> str:
    """The text of the first host, on every host. A collective: every host must call it, equally often."""
    content = np.frombuffer(text.encode(), np.uint8)
    length = int(_array_of_host0(np.array(len(content))))
    return _array_of_host0(np.resize(content, length)).tobytes().decode() if length else ""


def _array_of_host0(values: np.ndarray) -> np.ndarray:
    """The array of the first host, on every host; `values` has its shape and type. A collective."""
    return values if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(values))


def hosts_where(flag: bool) -> list[int]:
    """The indices of the hosts on which the flag is set. A collective: every host must call it, equally often."""
    if jax.process_count() == 1:
        return [0] if flag else []
    return [int(index) for index in np.flatnonzero(multihost_utils.process_allgather(np.array(flag)))]


def hosts_unlike_host0(value: Any) -> list[int]:
    """The indices of the hosts whose value is not that of the first one. A collective, as `hosts_where`.

    Args:
      value: JSON.
    """
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return hosts_where(digest != _array_of_host0(np.frombuffer(digest, np.uint8)).tobytes())


def run_on_all_hosts(action: Callable[[], Result]) -> Result:
    """Runs an action on every host and waits for the others; if it fails on one host, it fails on all.

    Raises:
      UserError: the error of `action` on this host, or a reference to the other host's message.
    """
    error = None
    try:
        result = action()
    except UserError as raised:
        error = raised
    if on_any_host(error is not None):
        raise error or UserError("another host cannot go on; its message says why")
    return result
