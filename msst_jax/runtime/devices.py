"""Devices and distributed setup, to be called before the first computation, and collectives over the hosts of a run."""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from msst_jax.errors import UserError, first_line

Result = TypeVar("Result")


def initialize_distributed() -> None:
    """Joins the processes of a multi-host run, if the environment describes one.

    Either by JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID, or by the
    variables of Slurm, Open MPI or a TPU pod. To be called before the first computation.

    Raises:
      UserError: variables that are missing, malformed or contradict each other; a cluster that cannot be joined.
    """
    cluster = _explicit_cluster()
    if cluster is None and not _several_hosts():
        return
    jax.config.update("jax_enable_preemption_service", False)  # its handler would take SIGTERM; see `AgreedStop`
    try:
        jax.distributed.initialize(*(cluster or ()))
    except Exception as error:  # the type of error depends on the cluster
        way_out = "check JAX_COORDINATOR_ADDRESS" if cluster else "unset SLURM_NTASKS or OMPI_COMM_WORLD_SIZE"
        raise UserError(
            f"the environment describes several hosts, but they cannot be joined ({first_line(error)}); "
            f"{way_out} to run on one"
        ) from error


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


def is_distributed() -> bool:
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def _explicit_cluster() -> tuple[str, int, int] | None:
    """(Coordinator, processes, own index) of JAX's variables; None if they name no coordinator."""
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"JAX_COORDINATOR_ADDRESS is {address!r}; it must be HOST:PORT of process 0, as localhost:1234")
    count, index = (_integer_from_env(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    if index >= count:
        raise UserError(f"JAX_PROCESS_ID is {index}; it must be below JAX_NUM_PROCESSES, which is {count}")
    return address, count, index


def _several_hosts() -> bool:
    """Whether the variables of Slurm, Open MPI or a TPU pod describe more than one host."""
    counts = [_integer_from_env(name) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE") if name in os.environ]
    return any(count > 1 for count in counts) or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _integer_from_env(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdecimal():
        beside = "beside JAX_COORDINATOR_ADDRESS it must be" if name.startswith("JAX_") else "unset it, or make it"
        raise UserError(f"{name} is {value!r}; {beside} a whole number")
    return int(value)


def on_any_host(flag: bool) -> bool:
    """Whether the flag is set on any host. A collective: every host must call it, equally often."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def broadcast_from_host0(number: int) -> int:
    """The number of the first host, on every host. A collective: every host must call it, equally often."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.array(number)))


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
