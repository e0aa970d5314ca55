"""How XLA compiles: with its programs kept on disk, so that a command that was run before compiles nothing.

On a GPU JAX keeps there too which kernels XLA's autotuner chose: the choice is a race that depends on the moment, and
runs that share its outcome take the same kernels.
"""

import atexit
import hashlib
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path

import jax

SWITCH = "MSST_COMPILATION_CACHE"
"""Environment variable: off, or another folder."""
OWN_OF_JAX = "JAX_COMPILATION_CACHE_DIR"
MIN_COMPILE_SECONDS = 0.2  # programs that compile sooner are not worth a file
MAX_BYTES = 2 * 1024**3
ENTRIES = "*-cache"  # as jax names them
MARKER = "running-"
"""Prefix of the file that names a running process; what one that was killed has written may be half a program."""


def prepare_xla(*, deterministic: bool = False) -> None:
    """Settings of the scripts; to be called before the first computation.

    Args:
      deterministic: only GPU kernels whose results repeat bit for bit. XLA then chooses none by its speed either. CPU
        and TPU repeat their results anyway. The user's own XLA_FLAGS come later in the variable and take precedence.
    """
    if deterministic:
        os.environ["XLA_FLAGS"] = f"--xla_gpu_deterministic_ops=true {os.environ.get('XLA_FLAGS', '')}".strip()
    use_compilation_cache()


def use_compilation_cache() -> None:
    """Lets JAX keep compiled programs in the user's cache folder, or where MSST_COMPILATION_CACHE says; off = nowhere.

    To be called before the first computation. JAX's own JAX_COMPILATION_CACHE_DIR takes precedence. A folder that
    cannot be written is no error: it would only save time.
    """
    place = os.environ.get(SWITCH, "")
    if place == "off" or os.environ.get(OWN_OF_JAX):
        return
    with suppress(OSError, RuntimeError):  # a home without a folder, or none at all
        root = Path(place).expanduser() if place else Path.home() / ".cache" / "msst_jax" / "xla"
        folder = root / _machine()
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        remove_oldest(folder, MAX_BYTES)
        _mark(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
        # A full disk, or two processes that write the same program at the same time.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def remove_unfinished(folder: Path) -> None:
    """Deletes what was written since the start of a process that was killed: JAX does not write at one stroke."""
    for marker in folder.glob(f"{MARKER}*"):
        if _runs(int(marker.name.removeprefix(MARKER))):
            continue
        started = marker.stat().st_mtime_ns
        for entry in folder.glob(ENTRIES):
            if entry.stat().st_mtime_ns >= started:
                entry.unlink(missing_ok=True)
        marker.unlink(missing_ok=True)


def remove_oldest(folder: Path, limit: int) -> None:
    """Deletes the programs that were used longest ago, until at most `limit` bytes are left."""
    entries = sorted(((entry.stat(), entry) for entry in folder.glob(ENTRIES)), key=lambda each: each[0].st_atime_ns)
    total = sum(status.st_size for status, _ in entries)
    for status, entry in entries:
        if total <= limit:
            return
        entry.unlink(missing_ok=True)
        total -= status.st_size


def _mark(folder: Path) -> None:
    marker = folder / f"{MARKER}{os.getpid()}"
    marker.touch()
    atexit.register(marker.unlink, missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process runs; one of another machine that shares the folder counts as ended, which costs time only."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _machine() -> str:
    """Names the kind of this machine: programs for other processors may not run here."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
    return f"{platform.machine()}-{hashlib.sha256(platform.processor().encode()).hexdigest()[:12]}"
