"""Which environments make a process one of several hosts; nothing is joined here."""

import os

import pytest
from jax._src.clusters.cloud_tpu_cluster import GceTpuCluster

from msst_jax.errors import UserError
from msst_jax.runtime import cluster


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """(Coordinator, processes, own index) of what would be joined, in an environment that names no host."""
    for name in [name for name in os.environ if name.startswith(("JAX_", "SLURM_", "OMPI_", "TPU_", "MEGASCALE_"))]:
        monkeypatch.delenv(name)
    found: list[tuple[str, int, int]] = []
    monkeypatch.setattr(cluster, "_join", lambda *parts: found.append(parts))
    monkeypatch.setattr(cluster, "_detected_cluster", lambda: ("detected", 2, 0))
    return found


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def on_cloud_tpu(monkeypatch: pytest.MonkeyPatch, hosts: int) -> None:
    """As on a machine whose metadata tell of a pod."""
    monkeypatch.setattr(GceTpuCluster, "is_env_present", lambda: True)
    monkeypatch.setattr(GceTpuCluster, "get_process_count", lambda: hosts)


def test_without_variables_a_process_runs_alone(joined):
    cluster.initialize_distributed()
    assert joined == []


@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({"SLURM_NTASKS": "2"}, True),
        ({"SLURM_NTASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True),
    ],
)
def test_hosts_of_a_scheduler_are_joined_where_there_are_several(joined, monkeypatch, variables, several: bool):
    set_variables(monkeypatch, variables)
    cluster.initialize_distributed()
    assert joined == [("detected", 2, 0)] * several


@pytest.mark.parametrize("hosts", [1, 4])
def test_machines_of_cloud_tpu_whose_pod_only_the_metadata_know_are_joined(joined, monkeypatch, hosts: int):
    on_cloud_tpu(monkeypatch, hosts)
    cluster.initialize_distributed()
    assert len(joined) == (hosts > 1)


def test_metadata_that_cannot_be_read_are_an_error_and_not_a_run_on_one_host(joined, monkeypatch):
    on_cloud_tpu(monkeypatch, 4)

    def fail() -> int:
        raise ConnectionError("no route")

    monkeypatch.setattr(GceTpuCluster, "get_process_count", fail)
    with pytest.raises(UserError, match=r"^this Cloud TPU machine cannot learn of its pod \(no route\); set JAX_COOR"):
        cluster.initialize_distributed()
    assert joined == []


def test_variables_of_jax_come_before_those_of_a_scheduler(joined, monkeypatch):
    names = {"JAX_COORDINATOR_ADDRESS": "host0:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    set_variables(monkeypatch, {**names, "SLURM_NTASKS": "8"})
    cluster.initialize_distributed()
    assert joined == [("host0:1234", 2, 1)]
