"""`python -m benchmarks`: every program runs and computes the same, and what was measured is what the tables say."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks.harness import device, program, results
from benchmarks.harness.program import OURS, Case, Cost, Disagreement, Program, Timing, check_agreement, measure, ratio
from benchmarks.speed import groups, memory, time_to_loss
from msst_jax.errors import UserError

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.slow
SLOW_TO_COMPILE = ("segmentation", "train_step")
RATES = device.Rates(flops=1e11, bytes=1e10)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets it for its process, which is that of all tests here."""
    for name in ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(command, "only_own", lambda quiet: None)  # what is logged, too
    return


def case(**programs: Any) -> Case:
    return Case("group", "what", "8x8", "piece", programs, agreement=1e-3)


def row(**changes: Any) -> results.Row:
    timings = {
        OURS: Timing([1.0, 2.0, 1.0], 3.0, Cost(flops=5e10, bytes=2e9)),
        "theirs": Timing([2.0, 2.0, 1.5], 0.0, None),
    }
    return results.build_row(case(), timings, {OURS: 1.5, "theirs": 2.25, "only memory": 9.0}, RATES) | changes


# --- what is measured
@pytest.mark.parametrize("group", ["optimize", "fast_photo", *(pytest.param(x, marks=SLOW) for x in SLOW_TO_COMPILE)])
def test_programs_of_a_case_compute_the_same(group: str) -> None:
    for small in groups.CASES[group](True)[:1]:
        programs = {name: start() for name, start in small.programs.items()}
        assert len(programs) > 1
        assert small.agreement
        check_agreement(small, {name: program.advance() for name, program in programs.items()})
        assert programs[OURS].compile_seconds > 0
        cost = programs[OURS].cost
        assert cost
        assert cost.flops > 1e5
        assert cost.bytes > 1e5


@pytest.mark.parametrize("theirs", [1.01, float("nan")])
def test_programs_that_disagree_are_not_timed(theirs: float) -> None:
    with pytest.raises(Disagreement, match="theirs does not compute the same"):
        measure(case(**{OURS: lambda: Program(lambda: 1.0), "theirs": lambda: Program(lambda: theirs)}), 1)


def test_programs_take_turns_and_every_piece_counts() -> None:
    calls: list[str] = []
    programs = {name: lambda name=name: Program(lambda: calls.append(name)) for name in (OURS, "theirs")}
    found = measure(case(**programs)._replace(agreement=None, pieces=4), 2)
    assert calls == [OURS, "theirs", OURS, "theirs", "theirs", OURS]  # the first pair is to warm up
    assert [len(timing.seconds) for timing in found.values()] == [2, 2]


def test_a_ratio_is_of_the_two_turns_of_a_pair() -> None:
    assert ratio([2.0, 2.0, 1.5], [1.0, 2.0, 1.0]) == (1.5, 1.0, 2.0)


def test_the_original_s_loss_is_reached_only_at_the_full_size() -> None:
    descent = time_to_loss.Descent(np.array([1.0, 2.0, 4.0, 5.0]), np.array([np.inf, 9.0, 6.0, 5.0]), 0.5)
    assert time_to_loss.reached(descent, 6.5) == 4.0
    with pytest.raises(time_to_loss.NotReached, match=r"ends at a loss of 5, above the original's 4\.9"):
        time_to_loss.reached(descent, 4.9)


def test_a_descent_is_that_of_seed_fast_and_its_small_pictures_do_not_count() -> None:
    descent = time_to_loss.descend(32)
    config = time_to_loss.seed_fast.get_config()
    assert len(descent.losses) == len(descent.timings) == config.steps
    small = round(config.steps * config.scale_steps[0] / sum(config.scale_steps))
    assert np.all(np.isinf(descent.losses[:small]))
    assert np.all(np.isfinite(descent.losses[small:]))
    assert np.all(np.diff(descent.timings) >= 0)
    assert descent.losses[-1] < descent.losses[small] / 2


def test_memory_per_megapixel_is_what_more_pixels_take(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = memory.SIDES
    monkeypatch.setattr(memory, "peak_of", lambda _, index, *__: 1.0 + 3.0 * (small, large)[index] ** 2 / 1e6)
    found = memory.per_megapixel(False)
    assert list(found) == list(memory.cases(False)[0].programs)
    assert all(gigabytes == pytest.approx(3.0) for gigabytes in found.values())


def test_peak_memory_is_that_of_the_child_and_not_of_its_parent() -> None:
    held = np.ones(2**28)  # 2 GB
    peak = memory.peak_of("fast_photo", 0, OURS, True)
    assert peak
    assert 0.1 < peak < 0.9 * held.nbytes / 1e9


def test_a_child_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="the peak memory of fast_photo 0, nothing, cannot be measured: KeyError"):
        memory.peak_of("fast_photo", 0, "nothing", True)


def test_compiling_on_the_first_call_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    takes = iter([10.0, 4.0, 6.0])  # the first compiles

    def advance() -> None:
        nonlocal moment
        moment += next(takes)

    monkeypatch.setattr(program, "time", SimpleNamespace(perf_counter=lambda: moment))
    found = measure(case(**{OURS: lambda: Program(advance)})._replace(agreement=None, pieces=2), 2)
    assert found[OURS].seconds == [2.0, 3.0]
    assert found[OURS].compile_seconds == 5.0


def test_the_rates_of_the_device_are_of_its_order() -> None:
    rates = device.measured_rates()
    assert 1e8 < rates.flops < 1e16
    assert 1e8 < rates.bytes < 1e14


def test_a_device_s_file_has_a_plain_name() -> None:
    assert device.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert f"{device.cores()} cores" in device.device_name()


# --- what is kept and shown
def test_a_row_tells_medians_shares_and_memory() -> None:
    made = row()
    assert made["seconds"] == statistics.median([1.0, 2.0, 1.0])
    assert made["share_of_product_rate"] == pytest.approx(0.5)
    assert made["share_of_copy_rate"] == pytest.approx(0.2)
    assert made["memory_gb"] == 1.5
    assert made["references"][0] == {"name": "theirs", "seconds": 2.0, "ratio": (1.5, 1.0, 2.0), "memory_gb": 2.25}
    assert made["references"][1] == {"name": "only memory", "seconds": None, "ratio": None, "memory_gb": 9.0}


def test_a_table_shows_what_the_json_holds(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    results.update(path, "a machine", RATES, {"video": [row()]}, 0.1)
    held = json.loads(path.read_text())
    shown = path.with_suffix(".md").read_text()
    assert shown == results.markdown(held)
    first, second = shown.splitlines()[2:4]
    assert first == "| what, per piece | 8x8 | 1 | theirs | 2 | 1.50 (1.00 to 2.00) | 1.50 / 2.25 | 3 | 50% | 20% |"
    assert second == "|  |  |  | only memory | - | - | 1.50 / 9.00 |  |  |  |"
    assert "a machine" in shown
    assert held["groups"]["video"]["date"] in shown


def test_a_group_that_is_measured_again_replaces_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    results.update(path, "a machine", RATES, {"optimize": [row(what="old")]}, 0.1)
    results.update(path, "a machine", RATES, {"memory": [row(what="other")]}, 0.1)
    held = results.update(path, "a machine", RATES, {"optimize": [row(what="new")]}, 0.1)
    assert [part["rows"][0]["what"] for part in held["groups"].values()] == ["new", "other"]


def test_figures_that_xla_does_not_tell_are_left_out(tmp_path: Path) -> None:
    nothing = Timing([1.0], 0.0, Cost(float("nan"), float("nan")))
    made = results.build_row(case(), {OURS: nothing}, {}, RATES)
    held = results.update(tmp_path / "x.json", "a machine", RATES, {"video": [made]}, 0.1)
    json.dumps(held, allow_nan=False)
    assert "| what, per piece | 8x8 | 1 | - | - | - | - | - | - | - |" in results.markdown(held)


def test_the_readme_shows_what_was_measured_and_nothing_typed_by_hand() -> None:
    readme = (ROOT / "README.md").read_text()
    assert command.readme_text(readme) == readme


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(UserError, match="no lines <!-- begin: speed -->"):
        results.readme_with("# Nothing\n", "speed", "table")


# --- the command
def test_a_quick_run_writes_json_and_markdown_apart_from_real_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    asked: list[tuple[str, bool]] = []

    def rows_of(group: str, quick: bool, _: object) -> list[results.Row]:
        asked.append((group, quick))
        return [row()]

    monkeypatch.setattr(groups, "rows_of", rows_of)
    monkeypatch.setattr(command, "measured_rates", lambda: RATES)
    assert command.main(["--quick", "--only", "video", "fast_photo", "--output", str(tmp_path)]) == 0
    assert asked == [("fast_photo", True), ("video", True)]
    name = f"{device.file_name(device.device_name())}-quick"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.md"}
    assert (tmp_path / f"{name}.md").read_text() in capsys.readouterr().out
    assert list(json.loads((tmp_path / f"{name}.json").read_text())["groups"]) == ["fast_photo", "video"]


@pytest.mark.slow
def test_a_quick_run_of_everything(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    assert list(json.loads(path.read_text())["groups"]) == list(command.GROUPS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "everything"], "argument --only: invalid choice: 'everything'"),
        (["--nope"], "unrecognized arguments: --nope"),
        (["--quick", "--output", __file__], "cannot write"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments: list[str], told: str, capsys: Capture) -> None:
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("benchmarks: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(Disagreement("x"), 1), (time_to_loss.NotReached("x"), 1), (UserError("x"), 2), (KeyboardInterrupt(), 130)],
)
def test_what_ends_a_run_is_told_in_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(groups, "rows_of", fail)
    monkeypatch.setattr(command, "measured_rates", lambda: RATES)
    assert command.main(["--only", "video", "--output", str(tmp_path)]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_kernels_are_those_of_the_scripts_from_the_first_computation_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(*_: object) -> None:
        assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_measure", compute)
    assert command.main([]) == 130
