"""How XLA compiles: with its programs kept on disk, so that a command that was run before compiles little.

On a GPU JAX keeps there too which kernels XLA's autotuner chose: the choice is a race that depends on the moment, and
runs that share its outcome take the same kernels.
"""

import atexit
import hashlib
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jax

SWITCH = "MSST_COMPILATION_CACHE"
"""Environment variable: off, or another folder."""
OWN_OF_JAX = "JAX_COMPILATION_CACHE_DIR"
MIN_COMPILE_SECONDS = 0.2  # programs that compile sooner are not worth a file
MAX_BYTES = 2 * 1024**3
ENTRIES = "*-cache"  # as jax names them
OFF = ("off", "0", "false", "no")
MAX_DIGITS = 9  # of a process number
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
    if place.lower() in OFF or os.environ.get(OWN_OF_JAX):
        return
    with suppress(OSError, RuntimeError):  # a home without a folder, or none at all
        folder = (Path(place).expanduser() if place else _default_folder()) / _machine()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
        # A full disk, or two processes that write the same program at the same time.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        remove_unfinished(folder)
        remove_oldest(folder, MAX_BYTES)
        _mark(folder)


def _default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msst_jax" / "xla"


def remove_unfinished(folder: Path) -> None:
    """Deletes what was written since the start of a process that was killed: JAX does not write at one stroke."""
    for marker in folder.glob(f"{MARKER}*"):
        number = marker.name.removeprefix(MARKER)
        if not number.isdecimal() or len(number) > MAX_DIGITS or _runs(int(number)):
            continue
        with suppress(OSError):  # another start was faster
            started = marker.stat().st_mtime_ns
            for entry, status in _entries(folder):
                if status.st_mtime_ns >= started:
                    _remove(entry)
        _remove(marker)


def remove_oldest(folder: Path, limit: int) -> None:
    """Deletes the programs that were used longest ago, until at most `limit` bytes are left."""
    entries = sorted(_entries(folder), key=lambda each: each[1].st_atime_ns)
    total = sum(status.st_size for _, status in entries)
    for entry, status in entries:
        if total <= limit:
            return
        _remove(entry)
        total -= status.st_size


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The programs in the folder, without those that another process removes meanwhile."""
    for entry in folder.glob(ENTRIES):
        with suppress(OSError):
            yield entry, entry.stat()


def _remove(path: Path) -> None:
    with suppress(OSError):  # it is gone, or another user's
        path.unlink()


def _mark(folder: Path) -> None:
    marker = folder / f"{MARKER}{os.getpid()}"
    marker.touch()
    atexit.register(_remove, marker)


def _runs(process: int) -> bool:
    """Whether another process runs.

    This one's own number is that of an earlier one: in a container every start may have the same. One of another
    machine that shares the folder counts as ended, too, which costs time only.
    """
    if process == os.getpid():
        return False
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
