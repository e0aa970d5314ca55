"""Settings of the device, for scripts to make before the first computation."""

import os

import jax


def make_repeatable() -> None:
    """Asks XLA for GPU kernels that give the same bits in every run, at some cost in speed.

    CPU and TPU do so anyway. The user's own XLA_FLAGS come later in the line and win.
    """
    os.environ["XLA_FLAGS"] = f"--xla_gpu_deterministic_ops=true {os.environ.get('XLA_FLAGS', '')}".strip()


def join_hosts() -> None:
    """Joins the processes of one run on several hosts, if the environment says that there are any.

    Either JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID, or what Slurm, Open
    MPI or a TPU pod set. To be called before the first computation.
    """
    environ = os.environ
    if "JAX_COORDINATOR_ADDRESS" in environ:
        jax.distributed.initialize(
            environ["JAX_COORDINATOR_ADDRESS"], int(environ["JAX_NUM_PROCESSES"]), int(environ["JAX_PROCESS_ID"])
        )
    elif (
        int(environ.get("SLURM_NTASKS", 1)) > 1
        or int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
        or "," in environ.get("TPU_WORKER_HOSTNAMES", "")
    ):
        jax.distributed.initialize()
