"""Programs are compiled once for all runs, and what a killed process has written is not trusted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from msst_jax.runtime import compilation
from msst_jax.runtime.compilation import MARKER, prepare_xla, remove_oldest, remove_unfinished
from tests.helpers.commands import ROOT

PROGRAM = """
import jax
from msst_jax.runtime.compilation import prepare_xla
prepare_xla()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: 2 * x)(21))
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of this test's own; the settings of the test run are taken back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv(compilation.OWN_OF_JAX)
    monkeypatch.setenv(compilation.SWITCH, str(tmp_path))
    monkeypatch.setattr(compilation.atexit, "register", lambda *_, **__: None)
    monkeypatch.setattr(compilation.warnings, "filterwarnings", lambda *_: None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def write_entry(folder: Path, name: str, *, size: int = 1, age: float = 0.0) -> Path:
    entry = folder / f"{name}-cache"
    entry.write_bytes(bytes(size))
    now = entry.stat().st_mtime
    os.utime(entry, (now - age, now - age))
    return entry


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run_program(cache: Path, code: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environ |= {compilation.SWITCH: str(cache), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)


def entries(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.glob("*/*-cache")}


def test_second_process_takes_the_program_of_the_first_and_neither_leaves_a_marker(tmp_path: Path) -> None:
    assert (run_program(tmp_path).stdout, run_program(tmp_path).stderr) == ("42\n", "")
    kept = entries(tmp_path)
    assert kept
    explain = 'jax.config.update("jax_explain_cache_misses", True)\n'
    explained = PROGRAM.replace("prepare_xla()\n", f"prepare_xla()\n{explain}")
    again = run_program(tmp_path, explained)
    assert (again.stdout, entries(tmp_path)) == ("42\n", kept)
    assert "PERSISTENT COMPILATION CACHE MISS" not in again.stderr
    assert not [*tmp_path.glob(f"*/{MARKER}*")]


def test_program_that_was_cut_off_is_compiled_anew_without_a_word(tmp_path: Path) -> None:
    run_program(tmp_path)
    for path in tmp_path.glob("*/*-cache"):
        path.write_bytes(path.read_bytes()[:-20])
    done = run_program(tmp_path)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_what_a_killed_process_wrote_is_removed_and_the_rest_stays(tmp_path: Path) -> None:
    older = write_entry(tmp_path, "older", age=100)
    marker = tmp_path / f"{MARKER}{ended_process()}"
    marker.touch()
    half = write_entry(tmp_path, "half", age=-1)
    remove_unfinished(tmp_path)
    assert older.exists()
    assert not half.exists()
    assert not marker.exists()


def test_what_a_running_process_writes_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{MARKER}{os.getppid()}").touch()
    entry = write_entry(tmp_path, "new", age=-1)
    remove_unfinished(tmp_path)
    assert entry.exists()


def test_marker_with_the_number_of_this_process_is_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / f"{MARKER}{os.getpid()}").touch()
    entry = write_entry(tmp_path, "half", age=-1)
    remove_unfinished(tmp_path)
    assert not entry.exists()


@pytest.mark.parametrize("name", ["abc", "77.sync", "9" * 20, ""])
def test_file_that_is_no_marker_is_left_alone(name: str, tmp_path: Path) -> None:
    strange, entry = tmp_path / f"{MARKER}{name}", write_entry(tmp_path, "new", age=-1)
    strange.touch()
    remove_unfinished(tmp_path)
    assert strange.exists()
    assert entry.exists()


def test_programs_used_longest_ago_make_room(tmp_path: Path) -> None:
    old, middle, new = (write_entry(tmp_path, str(age), size=10, age=age) for age in (30, 20, 10))
    remove_oldest(tmp_path, 25)
    assert [path.exists() for path in (old, middle, new)] == [False, True, True]


def test_switch_takes_another_folder_or_none(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_xla()
    folder = Path(jax.config.jax_compilation_cache_dir)
    assert folder.parent == elsewhere
    assert (folder / f"{MARKER}{os.getpid()}").exists()
    jax.config.update("jax_compilation_cache_dir", "before")
    for word in ("off", "OFF", "0", "false"):
        monkeypatch.setenv(compilation.SWITCH, word)
        prepare_xla()
        assert jax.config.jax_compilation_cache_dir == "before"


def test_folder_of_jax_itself_takes_precedence(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compilation.OWN_OF_JAX, "its own")
    prepare_xla()
    assert not [*elsewhere.iterdir()]


@pytest.mark.parametrize("place", ["file", "~nobody-of-this-name/cache"])
def test_cache_folder_that_cannot_be_costs_time_only(
    place: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "file").touch()
    monkeypatch.setenv(compilation.SWITCH, str(elsewhere / place) if place == "file" else place)
    before = jax.config.jax_compilation_cache_dir
    prepare_xla()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize("deterministic", [True, False])
def test_kernels_are_deterministic_only_where_that_is_asked_for(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    prepare_xla(deterministic=deterministic)
    assert ("--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]) == deterministic
    assert os.environ["XLA_FLAGS"].endswith("--xla_cpu_enable_fast_math=false")
