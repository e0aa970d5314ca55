"""The device at hand: what it is called, and how fast it multiplies matrices and copies memory."""

import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

PRODUCTS = (1024, 2048, 4096, 8192)  # sides of square matrices; CPUs do best below the largest
ON_CPU = 4096
COPIED = 2**28  # bytes
REPEATS = 5
GIGA = 1e9


class Rates(NamedTuple):
    """The best that was seen."""

    flops: float
    """FLOP/s of float32 matrix products, at the precision that JAX takes by default."""
    bytes: float
    """Bytes/s read and written by a copy of 256 MiB to another place."""


def device_name() -> str:
    """Such as "AMD EPYC, 2 cores" or "NVIDIA H100 80GB HBM3"."""
    if jax.default_backend() != "cpu":
        return str(jax.devices()[0].device_kind)
    return f"{_processor()}, {cores()} cores"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_name(device: str) -> str:
    """A device's name in letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", information.read_text()) if information.exists() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def measured_rates() -> Rates:
    """Takes some seconds."""
    sides = [side for side in PRODUCTS if side <= ON_CPU or jax.default_backend() != "cpu"]
    return Rates(max(_product_rate(side) for side in sides), _copy_rate())


def _product_rate(side: int) -> float:
    matrix = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(jnp.dot)
    return 2 * side**3 / _shortest(lambda: product(matrix, matrix))


def _copy_rate() -> float:
    array = jnp.zeros(COPIED // 4)
    copy = jax.jit(jnp.copy)
    return 2 * COPIED / _shortest(lambda: copy(array))


def _shortest(run: Callable[[], jax.Array]) -> float:
    run().block_until_ready()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run().block_until_ready()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def peak_memory(program_is_ours: bool) -> float | None:
    """The most GB that this process has held: of the device's memory, or on CPU of the machine's; None if unknown."""
    if jax.default_backend() == "cpu":
        return _peak_of_process()
    if program_is_ours:
        held = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return held and float(held) / GIGA
    import torch

    return float(torch.cuda.max_memory_allocated()) / GIGA if torch.cuda.is_available() else None


def _peak_of_process() -> float | None:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux counts the parent's memory too
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return float(found.group(1)) * 1024 / GIGA if found else None
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGA
