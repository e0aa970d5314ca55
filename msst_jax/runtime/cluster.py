"""The processes of a run on several hosts: how one joins the others, and how it takes leave of them."""

import os
import sys
from pathlib import Path

import jax
from jax._src import clusters, distributed
from jax._src.clusters.cloud_tpu_cluster import GceTpuCluster

from msst_jax.errors import UserError, first_line
from msst_jax.runtime.console import print_line
from msst_jax.runtime.hosts import Watch, end_process
from msst_jax.runtime.relay import relay_to

TIMEOUT = 300  # seconds that processes wait for each other at the start
COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES")  # of processes, or of slices of a TPU pod
_watches: list[Watch] = []
"""That of this process, once it has joined others: JAX's own connection to them belongs to the process, too."""


def initialize_distributed() -> None:
    """Joins the processes of a multi-host run, if the environment describes one, and watches them from then on.

    Either by JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID, by the variables
    of Slurm, Open MPI or a TPU pod, or by what a Cloud TPU machine is told of its pod. To be called before the first
    computation.

    Raises:
      UserError: variables that are missing, malformed or contradict each other; a cluster that cannot be joined.
    """
    cluster = _explicit_cluster()
    if cluster is None and not _several_hosts():
        return
    jax.config.update("jax_enable_preemption_service", False)  # its handler would take SIGTERM; see `AgreedStop`
    try:
        _join(*(cluster or _detected_cluster()))
    except Exception as error:  # the type of error depends on the cluster
        way_out = "check JAX_COORDINATOR_ADDRESS" if cluster else "unset SLURM_NTASKS or OMPI_COMM_WORLD_SIZE"
        raise UserError(
            f"the environment describes several hosts, but they cannot be joined ({first_line(error)}); "
            f"{way_out} to run on one"
        ) from error


def _detected_cluster() -> tuple[str, int, int]:
    """(Coordinator, processes, own index), as JAX finds them where the variables are a scheduler's."""
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(*(None,) * 5, TIMEOUT)
    address, count, index, _ = found
    if address is None or count is None or index is None:
        raise ValueError("JAX does not know this scheduler")
    return address, count, index


def _join(address: str, count: int, index: int) -> None:
    """Connects to the coordinator, which is in process 0, and starts the watch."""
    program = Path(sys.argv[0]).name
    watch = Watch(index, count, end_process(lambda line: print_line(program, line), outlive=index == 0))
    near = relay_to(address, watch.coordinator_lost) if index else address
    jax.distributed.initialize(near, count, index, initialization_timeout=TIMEOUT)
    client = distributed.global_state.client
    assert client is not None
    watch.start(client)
    _watches.append(watch)


def is_distributed() -> bool:
    """Whether this process has joined others."""
    return jax.distributed.is_initialized()


def await_verdict() -> None:
    """Gives the watch the time to end this process, if an error is only that of a collective whose host has died."""
    for watch in _watches:
        watch.await_end()


def take_leave(code: int, *, alone: bool) -> bool:
    """Tells the other processes that this one ends, and waits for them after an error.

    Args:
      code: exit code.
      alone: the others do not know the reason, so they must be ended.

    Returns:
      Whether all end together; otherwise the process must end at once, since Python's clean-up would wait for them.
    """
    together = all([watch.leave(code, alone=alone) for watch in _watches])
    if together and is_distributed():
        jax.distributed.shutdown()  # waits until all are here: none loses the coordinator while it still listens
    return together


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
    """Whether the variables of Slurm, Open MPI or a TPU pod, or a Cloud TPU machine, tell of more than one host."""
    counts = [_integer_from_env(name) for name in COUNTS if name in os.environ]
    return any(count > 1 for count in counts) or _in_tpu_pod()


def _in_tpu_pod() -> bool:
    """Whether this machine is one of several of a TPU pod: on GKE by variables, else by the metadata of Cloud TPU."""
    workers = os.environ.get("TPU_WORKER_HOSTNAMES")
    if workers is not None:
        return "," in workers
    try:
        return GceTpuCluster.is_env_present() and GceTpuCluster.get_process_count() > 1
    except Exception as error:  # the metadata server does not answer, or with something else
        raise UserError(
            f"this Cloud TPU machine cannot learn of its pod ({first_line(error)}); set JAX_COORDINATOR_ADDRESS, "
            "JAX_NUM_PROCESSES and JAX_PROCESS_ID, or TPU_SKIP_MDS_QUERY=1 to run on one host"
        ) from error


def _integer_from_env(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdecimal():
        beside = "beside JAX_COORDINATOR_ADDRESS it must be" if name.startswith("JAX_") else "unset it, or make it"
        raise UserError(f"{name} is {value!r}; {beside} a whole number")
    return int(value)
