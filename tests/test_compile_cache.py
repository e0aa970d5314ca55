"""A process that may be killed, or run out of space, leaves no half of a program in the cache that all tests share."""

from pathlib import Path

import jax
import pytest

from tests.helpers.commands import run_script
from tests.helpers.compilation import READ_ONLY_CACHE

WRITTEN = "jax_persistent_cache_min_compile_time_secs"


def compile_a_program() -> None:
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))


@pytest.mark.parametrize(("settings", "kept"), [({WRITTEN: 0.0}, True), (READ_ONLY_CACHE, False)])
def test_only_a_process_that_lives_to_its_end_writes_into_the_cache(tmp_path: Path, settings, kept: bool):
    cache = tmp_path / "cache"
    settings = {"jax_compilation_cache_dir": str(cache), **settings}
    assert run_script(["--version"], tmp_path, settings=settings, before=compile_a_program) == (0, "")
    assert bool([*cache.glob("*")]) == kept
