"""The trace of a run: of the steps asked for, on disk also where the run ends before."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from msst_jax.training.profile import WARM_UP, profiled


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the profiler, in order."""
    calls: list[str] = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(f"start {Path(folder).name}"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    return calls


def steps(advance: Any, calls: list[str], count: int) -> None:
    state = jnp.zeros(())
    for number in range(count):
        calls.append(str(number))
        state, _ = advance(state, None)


def counting(state: jax.Array, batch: None) -> tuple[jax.Array, jax.Array]:
    return state + 1, state


def test_the_steps_after_the_first_ones_are_traced(tmp_path: Path, traces: list[str]):
    with profiled(counting, tmp_path / "profile", 2, 0) as advance:
        steps(advance, traces, WARM_UP + 3)
    assert traces == ["0", "1", "2", "3", "start profile", "4", "stop", "5"]


def test_a_run_that_ends_before_leaves_the_trace_that_it_has(tmp_path: Path, traces: list[str]):
    with profiled(counting, tmp_path / "profile", 9, 0) as advance:
        steps(advance, traces, WARM_UP + 1)
    assert traces[-2:] == ["start profile", "stop"]


def test_a_run_that_is_too_short_for_a_trace_says_so(tmp_path: Path, traces: list[str], caplog):
    with profiled(counting, tmp_path / "profile", 2, 0) as advance:
        steps(advance, traces, WARM_UP)
    assert traces == ["0", "1", "2"]
    assert "there is no trace: it begins after 3 steps, and this call took 3" in caplog.text


def test_without_the_flag_a_step_is_the_same_function(tmp_path: Path, traces: list[str]):
    with profiled(counting, tmp_path / "profile", 0, 0) as advance:
        assert advance is counting
    assert traces == []


@pytest.mark.slow
def test_a_trace_names_the_steps_and_opens_in_the_profilers_format(tmp_path: Path):
    with profiled(jax.jit(counting), tmp_path / "profile", 2, 10) as advance:
        steps(advance, [], WARM_UP + 3)
    (trace,) = (tmp_path / "profile" / "plugins" / "profile").glob("*/*.xplane.pb")
    content = trace.read_bytes()
    assert b"train" in content
    assert len(content) > 1000
