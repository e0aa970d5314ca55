"""The memory that is left: of the machine, and of every control group with a limit around the process."""

import subprocess
import sys
from pathlib import Path

import pytest

from msst_jax.runtime.memory import available_host_memory

MEGA = 1024**2
ROOT = Path(__file__).parents[2]
UNLIMITED_V1 = 2**63 - 4096


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 MiB left and 10 MiB of swap."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {1000 * 1024} kB\nSwapFree: {10 * 1024} kB\n")
    return proc


def group(folder: Path, limit: object, use: int, cache: int, version: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    limits, uses, prefix = (
        ("memory.max", "memory.current", "")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    )
    (folder / limits).write_text(f"{limit}\n")
    (folder / uses).write_text(f"{use}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {cache}\n{prefix}active_file 0\n")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["/outer/inner", "/seen/from/elsewhere"])
def test_the_tightest_group_counts_without_the_files_it_caches(tmp_path: Path, proc: Path, version: int, path: str):
    cgroups = tmp_path / "cgroups"
    mount = cgroups if version == 2 else cgroups / "memory"
    line = "0::" if version == 2 else "7:cpu\n4:memory:"
    (proc / "self" / "cgroup").write_text(f"{line}{path}\n")
    group(mount, 700 * MEGA, 300 * MEGA, 100 * MEGA, version)
    group(mount / "outer" / "inner", "max" if version == 2 else UNLIMITED_V1, 100 * MEGA, 0, version)
    group(mount / "outer", 500 * MEGA, 300 * MEGA, 50 * MEGA, version)
    room = 250 if path == "/outer/inner" else 500
    assert available_host_memory(proc, cgroups) == (room + 10) * MEGA


def test_without_groups_the_machine_counts_and_without_linux_nothing_is_known(tmp_path: Path, proc: Path):
    assert available_host_memory(proc, tmp_path / "none") == 1010 * MEGA
    assert available_host_memory(tmp_path / "none", tmp_path / "none") is None


def test_a_group_that_is_over_its_limit_has_nothing_left(tmp_path: Path, proc: Path):
    (proc / "self" / "cgroup").write_text("0::/\n")
    group(tmp_path / "cgroups", 100, 300, 0, 2)
    assert available_host_memory(proc, tmp_path / "cgroups") == 10 * MEGA


LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max data size             {data}            unlimited            bytes
Max address space         {space}            unlimited            bytes
"""


@pytest.mark.parametrize(
    ("space", "data", "room"),
    [
        ("unlimited", "unlimited", 1010),
        (900 * MEGA, "unlimited", 600),
        (900 * MEGA, 300 * MEGA, 200),
        (200 * MEGA, "unlimited", 0),
        (9000 * MEGA, "unlimited", 1010),
    ],
)
def test_a_limit_of_the_shell_counts_and_swap_does_not_go_beyond_it(proc: Path, space: object, data: object, room: int):
    (proc / "self" / "limits").write_text(LIMITS.format(space=space, data=data))
    (proc / "self" / "status").write_text(f"VmSize:\t{300 * 1024} kB\nVmData:\t{100 * 1024} kB\n")
    assert available_host_memory(proc, proc / "none") == room * MEGA


OF_THIS_PROCESS = """
import resource
from pathlib import Path
from msst_jax.runtime.memory import available_host_memory
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 10**8, resource.RLIM_INFINITY))
print(available_host_memory())
"""


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="only Linux tells")
def test_a_limit_of_this_process_is_read_as_the_kernel_tells_it():
    done = subprocess.run([sys.executable, "-c", OF_THIS_PROCESS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(10**8, rel=0.5)
