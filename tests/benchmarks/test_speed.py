"""`python -m benchmarks`: the programs of a case agree, timing is correct, and tables show the measured figures."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.harness import device, program, results, torch_side
from benchmarks.harness.program import OURS, Case, Cost, Disagreement, Program, Timing, check_agreement, measure, ratio
from benchmarks.speed import groups, memory, time_to_loss
from msst_jax.errors import UserError
from msst_jax.runtime.cores import available_cores

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.slow
SLOW_TO_COMPILE = ("segmentation", "train_step")
RATES = device.Rates(flops=1e11, bytes=1e10)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores what the command sets for its process, which here is that of all tests."""
    for name in ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(command, "configure_logging", lambda quiet: None)
    return


def case(**programs: Any) -> Case:
    return Case("group", "what", "8x8", "unit", programs, tolerance=1e-3)


def row(**changes: Any) -> results.Row:
    timings = {
        OURS: Timing([1.0, 2.0, 1.0], 3.0, Cost(flops=5e10, bytes=2e9)),
        "theirs": Timing([2.0, 2.0, 1.5], 0.0, None),
    }
    return results.build_row(case(), timings, {OURS: 1.5, "theirs": 2.25, "only memory": 9.0}, RATES) | changes


# --- measuring
@pytest.mark.parametrize("group", ["optimize", "fast_photo", *(pytest.param(x, marks=SLOW) for x in SLOW_TO_COMPILE)])
@pytest.mark.slow
def test_programs_of_a_case_agree(group: str) -> None:
    for small in groups.CASES[group](True)[:1]:
        programs = {name: start() for name, start in small.programs.items()}
        assert len(programs) > 1
        assert small.tolerance
        check_agreement(small, {name: program.advance() for name, program in programs.items()})
        assert programs[OURS].compile_seconds > 0
        cost = programs[OURS].cost
        assert cost
        assert cost.flops > 1e5
        assert cost.bytes > 1e5


@pytest.mark.parametrize("theirs", [1.01, float("nan")])
def test_programs_that_disagree_are_rejected_before_timing(theirs: float) -> None:
    with pytest.raises(Disagreement, match="the first result of theirs differs by"):
        measure(case(**{OURS: lambda: Program(lambda: 1.0), "theirs": lambda: Program(lambda: theirs)}), 1)


@pytest.mark.slow
def test_programs_alternate_after_a_warm_up() -> None:
    calls: list[str] = []
    programs = {name: lambda name=name: Program(lambda: calls.append(name)) for name in (OURS, "theirs")}
    timings = measure(case(**programs)._replace(tolerance=None, units_per_call=4), 2)
    assert calls == [OURS, "theirs", OURS, "theirs", "theirs", OURS]  # the first pair is the warm-up
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]


def test_ratio_is_taken_within_each_pair() -> None:
    assert ratio([2.0, 2.0, 1.5], [1.0, 2.0, 1.0]) == (1.5, 1.0, 2.0)


def test_time_to_loss_is_that_of_the_first_evaluation_below_the_target() -> None:
    curve = time_to_loss.LossCurve(np.array([1.0, 2.0, 4.0, 5.0]), np.array([np.inf, 9.0, 6.0, 5.0]), 0.5)
    assert time_to_loss.seconds_to_loss(curve, 6.5) == 4.0
    with pytest.raises(time_to_loss.TargetNotReached, match=r"ends at a loss of 5, above the original's 4\.9"):
        time_to_loss.seconds_to_loss(curve, 4.9)


@pytest.mark.slow  # the whole preset; tests/transfer runs its scales and its optimizer with fewer steps
def test_loss_curve_follows_seed_fast_and_excludes_smaller_scales() -> None:
    curve = time_to_loss.run_ours(32)
    config = time_to_loss.seed_fast.get_config()
    assert len(curve.losses) == len(curve.times) == config.steps
    small = round(config.steps * config.scale_steps[0] / sum(config.scale_steps))
    assert np.all(np.isinf(curve.losses[:small]))
    assert np.all(np.isfinite(curve.losses[small:]))
    assert np.all(np.diff(curve.times) >= 0)
    assert curve.losses[-1] < curve.losses[small] / 2


def test_memory_per_megapixel_excludes_constant_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = memory.SIDES
    monkeypatch.setattr(
        memory, "peak_in_subprocess", lambda _, index, *__: 1.0 + 3.0 * (small, large)[index] ** 2 / 1e6
    )
    per_megapixel = memory.per_megapixel(False)
    assert list(per_megapixel) == list(memory.cases(False)[0].programs)
    assert all(gigabytes == pytest.approx(3.0) for gigabytes in per_megapixel.values())


@pytest.mark.slow
def test_peak_memory_is_that_of_the_child_process_and_not_of_its_parent() -> None:
    ballast = np.ones(2**28)  # 2 GB
    peak = memory.peak_in_subprocess("optimize", 0, OURS, True)
    assert peak
    assert 0.1 < peak < 0.9 * ballast.nbytes / 1e9


@pytest.mark.slow
def test_failure_of_the_child_process_is_reported_with_its_last_line() -> None:
    with pytest.raises(UserError, match="the peak memory of fast_photo 0, nothing, cannot be measured: KeyError"):
        memory.peak_in_subprocess("fast_photo", 0, "nothing", True)


def test_compile_time_of_the_first_call_is_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    durations = iter([10.0, 4.0, 6.0])  # the first call compiles

    def advance() -> None:
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(program, "time", SimpleNamespace(perf_counter=lambda: now))
    timings = measure(case(**{OURS: lambda: Program(advance)})._replace(tolerance=None, units_per_call=2), 2)
    assert timings[OURS].seconds == [2.0, 3.0]
    assert timings[OURS].compile_seconds == 5.0


def test_device_rates_are_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "MATRIX_SIDES", (256,))
    monkeypatch.setattr(device, "COPY_BYTES", 2**22)
    rates = device.measured_rates()
    assert 1e8 < rates.flops < 1e16
    assert 1e8 < rates.bytes < 1e14


def test_device_name_is_turned_into_a_file_name() -> None:
    assert device.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert f"{available_cores()} cores" in device.device_name()


# --- results and tables
def test_row_holds_medians_shares_and_memory() -> None:
    measured = row()
    assert measured["seconds"] == statistics.median([1.0, 2.0, 1.0])
    assert measured["share_of_product_rate"] == pytest.approx(0.5)
    assert measured["share_of_copy_rate"] == pytest.approx(0.2)
    assert measured["memory_gb"] == 1.5
    assert measured["references"][0] == {"name": "theirs", "seconds": 2.0, "ratio": (1.5, 1.0, 2.0), "memory_gb": 2.25}
    assert measured["references"][1] == {"name": "only memory", "seconds": None, "ratio": None, "memory_gb": 9.0}


def test_markdown_table_matches_the_json(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    results.update(path, "a machine", RATES, {"video": [row()]}, results.circumstances())
    content = json.loads(path.read_text())
    table = path.with_suffix(".md").read_text()
    assert table == results.markdown(content)
    first, second = table.splitlines()[2:4]
    assert first == "| what, per unit | 8x8 | 1 | theirs | 2 | 1.50 (1.00 to 2.00) | 1.50 / 2.25 | 3 | 50% | 20% |"
    assert second == "|  |  |  | only memory | - | - | 1.50 / 9.00 |  |  |  |"
    assert "a machine" in table
    assert content["groups"]["video"]["date"] in table


def test_measuring_a_group_again_replaces_only_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    results.update(path, "a machine", RATES, {"optimize": [row(what="old")]}, results.circumstances())
    results.update(path, "a machine", RATES, {"memory": [row(what="other")]}, results.circumstances())
    content = results.update(path, "a machine", RATES, {"optimize": [row(what="new")]}, results.circumstances())
    assert [part["rows"][0]["what"] for part in content["groups"].values()] == ["new", "other"]


def test_costs_that_xla_does_not_report_are_left_out(tmp_path: Path) -> None:
    unknown = Timing([1.0], 0.0, Cost(float("nan"), float("nan")))
    measured = results.build_row(case(), {OURS: unknown}, {}, RATES)
    content = results.update(tmp_path / "x.json", "a machine", RATES, {"video": [measured]}, results.circumstances())
    json.dumps(content, allow_nan=False)
    assert "| what, per unit | 8x8 | 1 | - | - | - | - | - | - | - |" in results.markdown(content)


def test_the_docs_show_the_measured_tables_and_nothing_typed_by_hand() -> None:
    pages = command.docs_with_results()
    assert {page.relative_to(ROOT).as_posix() for page in pages} == {"docs/benchmarks.md", "docs/parity.md"}
    for page, text in pages.items():
        assert page.read_text() == text


def test_the_flag_docs_replaces_the_tables_between_the_marks_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pages = {name: tmp_path / f"{name}.md" for name in command.PAGES}
    for name, page in pages.items():
        page.write_text(f"# Title\n\n<!-- begin: {name} -->\nold\n<!-- end: {name} -->\n\nThe rest.\n")
    tables = {
        name: page.read_text().partition(f"<!-- begin: {name} -->")[2].partition("<!-- end")[0]
        for name, page in command.PAGES.items()
    }
    monkeypatch.setattr(command, "PAGES", pages)
    assert command.main(["--docs"]) == 0
    for name, page in pages.items():
        marked = f"<!-- begin: {name} -->{tables[name]}<!-- end: {name} -->"
        assert page.read_text() == f"# Title\n\n{marked}\n\nThe rest.\n"


@pytest.mark.parametrize("text", ["# Nothing\n", "<!-- begin: speed -->\nno end\n"])
def test_a_page_without_the_marks_is_rejected(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match=r"page\.md has no lines <!-- begin: speed -->"):
        results.page_with(page, "speed", "table")
    with pytest.raises(UserError, match=r"missing\.md cannot be read"):
        results.page_with(tmp_path / "missing.md", "speed", "table")


# --- command line
def test_quick_run_writes_its_results_to_separate_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    requested: list[tuple[str, bool]] = []

    def rows_of(group: str, quick: bool, _: object) -> list[results.Row]:
        requested.append((group, quick))
        return [row()]

    monkeypatch.setattr(groups, "rows_of", rows_of)
    monkeypatch.setattr(command, "measured_rates", lambda: RATES)
    assert command.main(["--quick", "--only", "video", "fast_photo", "--output", str(tmp_path)]) == 0
    assert requested == [("fast_photo", True), ("video", True)]
    name = f"{device.file_name(device.device_name())}-quick"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.md"}
    assert (tmp_path / f"{name}.md").read_text() in capsys.readouterr().out
    assert list(json.loads((tmp_path / f"{name}.json").read_text())["groups"]) == ["fast_photo", "video"]


@pytest.mark.slow
def test_quick_run_of_all_groups_succeeds(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("*.json")
    assert list(json.loads(path.read_text())["groups"]) == list(command.GROUPS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "everything"], "argument --only: invalid choice: 'everything'"),
        (["--nope"], "unrecognized arguments: --nope"),
        (["--quick", "--output", __file__], "cannot write"),
    ],
)
def test_bad_arguments_exit_with_2_and_one_line(arguments: list[str], message: str, capsys: Capture) -> None:
    assert command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("benchmarks: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(Disagreement("x"), 1), (time_to_loss.TargetNotReached("x"), 1), (UserError("x"), 2), (KeyboardInterrupt(), 130)],
)
def test_failure_or_ctrl_c_gives_an_exit_code_and_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(groups, "rows_of", fail)
    monkeypatch.setattr(command, "measured_rates", lambda: RATES)
    assert command.main(["--only", "video", "--output", str(tmp_path)]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- a GPU
@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX uses a GPU, as far as the benchmarks ask it."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3")])


@pytest.mark.usefixtures("gpu")
def test_a_torch_that_cannot_use_the_gpu_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(command, "measured_rates", lambda: pytest.fail("measured"))
    assert command.main(["--only", "optimize", "--output", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("benchmarks: JAX uses NVIDIA H100 80GB HBM3, and torch ")
    assert line.endswith("install a torch for CUDA, or set JAX_PLATFORMS=cpu\n")


@pytest.mark.usefixtures("gpu")
def test_torch_tunes_its_kernels_and_rounds_as_jax_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    precision = torch.get_float32_matmul_precision()
    try:
        assert torch_side.described_device() == "cuda with cudnn.benchmark, products in TF32 on both sides"
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(precision)


def test_operations_are_counted_where_the_compiler_counts_none() -> None:
    matrix = jax.ShapeDtypeStruct((8, 8), np.float32)
    silent = SimpleNamespace(cost_analysis=lambda: None)
    assert program.cost_of(silent, silent, jnp.matmul, matrix, matrix).flops == 2 * 8**3
