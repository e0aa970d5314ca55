"""How much memory a computation may still take: of the device, or of this machine and the limits of the process."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jax

# Of version 2 and 1 of control groups: the files with the limit and the use, and the fields of memory.stat that count
# what the kernel gives back when it is needed. Without a limit the first says "max", or a number beyond all machines.
CGROUP_V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
CGROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
# What `ulimit` bounds: the line of /proc/self/limits, and the field of /proc/self/status that counts toward it.
ULIMITS = (("Max address space", "VmSize"), ("Max data size", "VmData"))  # -v and -d
KIBI = 1024


def available_memory() -> int | None:
    """Bytes that are free where computations run; None = not known."""
    return available_host_memory() if jax.devices()[0].platform == "cpu" else available_accelerator_memory()


def available_accelerator_memory() -> int | None:
    """Bytes that are free on the accelerator that computes; None = there is none, or it does not tell."""
    device = jax.devices()[0]
    stats = (None if device.platform == "cpu" else device.memory_stats()) or {}
    return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= stats.keys() else None


def is_memory_shared() -> bool:
    """Whether all devices compute in one memory, as those of a CPU do: that of this machine."""
    return jax.default_backend() == "cpu"


def available_host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process can still get on Linux, swap included; None where the system does not tell.

    Args:
      proc: where the kernel tells about itself and about this process.
      cgroups: where it tells about control groups.
    """
    fields = _read_fields(proc / "meminfo")
    if "MemAvailable" not in fields:
        return None
    rooms = [fields["MemAvailable"] * KIBI, *_cgroup_rooms(proc / "self" / "cgroup", cgroups)]
    return min([min(rooms) + fields.get("SwapFree", 0) * KIBI, *_ulimit_rooms(proc / "self")])


def _ulimit_rooms(process: Path) -> Iterator[int]:
    """What every limit of `ulimit` on memory leaves this process, of which swap is a part; nothing if there is none."""
    uses = _read_fields(process / "status")
    with suppress(OSError):
        limits = (process / "limits").read_text().splitlines()
        for name, use in ULIMITS:
            for line in limits:
                soft = line.removeprefix(name).split()[:1]
                if line.startswith(name) and soft and soft[0].isdecimal():  # else "unlimited"
                    yield max(0, int(soft[0]) - uses.get(use, 0) * KIBI)


def _cgroup_rooms(memberships: Path, cgroups: Path) -> Iterator[int]:
    """What every control group around this process has left of its limit."""
    lines = memberships.read_text().splitlines() if memberships.exists() else []
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0":
            mount, files = cgroups, CGROUP_V2
        elif "memory" in controllers.split(","):
            mount, files = cgroups / "memory", CGROUP_V1
        else:
            continue
        own = mount / path.lstrip("/")  # not there in a container that sees its own group as the outermost
        for folder in (own, *own.parents):
            if folder.is_relative_to(mount):
                yield from _room(folder, *files)


def _room(folder: Path, limit: str, use: str, reclaimable: tuple[str, ...]) -> Iterator[int]:
    """What one control group has left; nothing if it has no limit."""
    with suppress(OSError, ValueError):
        fields = _read_fields(folder / "memory.stat")
        cache = sum(fields.get(name, 0) for name in reclaimable)
        yield max(0, int((folder / limit).read_text()) - int((folder / use).read_text()) + cache)


def _read_fields(file: Path) -> dict[str, int]:
    """ "MemFree:  12 kB" or "cache 12", a line each, to {"MemFree": 12}."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    words = [line.replace(":", " ").split() for line in lines]
    return {name: int(value) for name, value, *_ in (line for line in words if len(line) > 1) if value.isdecimal()}
