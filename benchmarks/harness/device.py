"""The benchmarked device: its name, its rates of matrix products and copies, and peak memory."""

import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from msst_jax.runtime.cores import available_cores

MATRIX_SIDES = (1024, 2048, 4096, 8192)  # of square matrices; CPUs do best below the largest
MAX_SIDE_ON_CPU = 4096
COPY_BYTES, COPY_BYTES_ON_CPU = 2**31, 2**28  # a GPU reads as fast as it can only where launching takes no part
REPEATS = 5
GIGA = 1e9


class Rates(NamedTuple):
    """The highest rates measured."""

    flops: float
    """FLOP/s of float32 matrix products, at JAX's default precision."""
    bytes: float
    """Bytes/s read and written by a copy, of 256 MiB on a CPU and of 2 GiB elsewhere."""


def device_name() -> str:
    """The name of the device, such as "AMD EPYC, 2 cores" or "NVIDIA H100 80GB HBM3"."""
    if jax.default_backend() != "cpu":
        return str(jax.devices()[0].device_kind)
    return f"{_processor()}, {available_cores()} cores"


def file_name(device: str) -> str:
    """A device's name in lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def measured_rates() -> Rates:
    """Measures the rates of the device, in a few seconds."""
    sides = [side for side in MATRIX_SIDES if side <= MAX_SIDE_ON_CPU or jax.default_backend() != "cpu"]
    return Rates(max(product_rate(side) for side in sides), copy_rate())


def product_rate(side: int, dtype: DTypeLike = jnp.float32) -> float:
    """FLOP/s of a product of square matrices, at the precision that is set around here."""
    matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(jnp.dot)
    return 2 * side**3 / _shortest(lambda: product(matrix, matrix))


def copy_rate() -> float:
    """Bytes/s read and written by a copy."""
    size = COPY_BYTES_ON_CPU if jax.default_backend() == "cpu" else COPY_BYTES
    array = jnp.zeros(size // 4)
    copy = jax.jit(jnp.copy)
    return 2 * size / _shortest(lambda: copy(array))


def _shortest(run: Callable[[], jax.Array]) -> float:
    run().block_until_ready()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run().block_until_ready()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def peak_memory(program_is_ours: bool) -> float | None:
    """Peak GB of this process in the device's memory, or on a CPU in the machine's; None if unknown."""
    if jax.default_backend() == "cpu":
        return _peak_of_process()
    if program_is_ours:
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        return peak and float(peak) / GIGA
    import torch

    return float(torch.cuda.max_memory_allocated()) / GIGA if torch.cuda.is_available() else None


def _peak_of_process() -> float | None:
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage counts the parent's memory too
        match = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return float(match.group(1)) * 1024 / GIGA if match else None
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGA
