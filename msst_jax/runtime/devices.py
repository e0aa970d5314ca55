"""Settings of the devices, for scripts to make before the first computation, and what several hosts do together."""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from msst_jax.errors import UserError, first_line

Result = TypeVar("Result")


def request_deterministic_ops() -> None:
    """Asks XLA for GPU kernels that give the same bits in every run, at some cost in speed.

    CPU and TPU do so anyway. The user's own XLA_FLAGS come later in the line and win.
    """
    os.environ["XLA_FLAGS"] = f"--xla_gpu_deterministic_ops=true {os.environ.get('XLA_FLAGS', '')}".strip()


def initialize_distributed() -> None:
    """Joins the processes of one run on several hosts, if the environment says that there are any.

    Either JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID, or what Slurm, Open
    MPI or a TPU pod set. To be called before the first computation.

    Raises:
      UserError: JAX_COORDINATOR_ADDRESS without a number of processes, or a number that is none; a cluster that
        cannot be joined.
    """
    environ = os.environ
    if address := environ.get("JAX_COORDINATOR_ADDRESS"):
        count, index = (_whole_number(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
        jax.distributed.initialize(address, count, index)
    elif (
        int(environ.get("SLURM_NTASKS", 1)) > 1
        or int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
        or "," in environ.get("TPU_WORKER_HOSTNAMES", "")
    ):
        try:
            jax.distributed.initialize()
        except Exception as error:  # what is missing differs from cluster to cluster
            raise UserError(
                f"the environment says that there are several hosts, but they cannot be joined ({first_line(error)}); "
                "unset SLURM_NTASKS or OMPI_COMM_WORLD_SIZE for a run on one"
            ) from error


def _whole_number(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdecimal():
        raise UserError(f"{name} is {value!r}; beside JAX_COORDINATOR_ADDRESS it must be a whole number")
    return int(value)


def on_any_host(flag: bool) -> bool:
    """Whether a flag is set on one host at least. All hosts must ask, each as often as the others."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def broadcast_from_host0(number: int) -> int:
    """What the first host says, on every host. All hosts must ask, each as often as the others."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.array(number)))


def run_on_all_hosts(action: Callable[[], Result]) -> Result:
    """Does something on every host and waits for the others; where it fails on one host, it fails on all.

    Raises:
      UserError: what `action` raised here, or a hint at the other host's message.
    """
    error = None
    try:
        result = action()
    except UserError as raised:
        error = raised
    if on_any_host(error is not None):
        raise error or UserError("another host cannot go on; its message says why")
    return result
