"""How programs are compiled in the whole test run, and in the processes that it starts."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

# Programs that compile sooner are not worth a file.
MIN_COMPILE_SECONDS = 0.1
READ_ONLY_CACHE = {"jax_persistent_cache_min_compile_time_secs": float("inf")}
"""Settings of a process that may be killed or lacks space: it would leave half a file in the cache of all tests."""


def share_compilation_cache(folder: Path) -> None:
    """XLA's cache on disk."""
    _configure(
        {
            "jax_compilation_cache_dir": str(folder),
            "jax_persistent_cache_min_compile_time_secs": MIN_COMPILE_SECONDS,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
    )


def compile_quickly() -> None:
    """Leaves out what LLVM optimizes, which takes longer than small programs run; JAX's own tests do the same."""
    _configure({"jax_disable_most_optimizations": True})


@contextlib.contextmanager
def compiled_in_full() -> Iterator[None]:
    """Programs that are first needed in here are compiled as users compile them, for comparisons of the last bits."""
    quickly = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", quickly)


def _configure(settings: Mapping[str, Any]) -> None:
    """For this process and, by the environment, for all that are started later."""
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
