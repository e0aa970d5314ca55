"""Programs for a GPU that is not there: their text is read right, and what would hold a card back is absent."""

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

from benchmarks.plans import __main__ as plans
from benchmarks.plans import toolchain
from benchmarks.plans.facts import Facts, facts_of_text
from msst_jax.errors import UserError
from tests.helpers.commands import ROOT

HLO = """HloModule jit_step, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], /*index=1*/f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %scaled = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused
  %sum = f32[] fusion(%scaled), kind=kInput, calls=%fused
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %scaled)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0}) parameter(0)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %conv = (f32[8]{0}, u8[0]{0}) custom-call(%a), custom_call_target="__cudnn$convForward"
  %known = (s32[], /*index=1*/f32[8]{0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %open = (s32[], f32[8]{0}) while(%known), condition=%condition, body=%body
  %pool = f32[8]{0} select-and-scatter(%a, %a, %zero), select=%ge, scatter=%add
  %wide = f64[8]{0} convert(%a)
  %told = () custom-call(%a), custom_call_target="xla_ffi_python_gpu_callback"
  ROOT %out = f32[8]{0} get-tuple-element(%open), index=1
}
"""


def test_kernels_are_counted_as_often_as_a_loop_runs_and_slow_things_are_found() -> None:
    # convolution, 5 trips of 2 + 1, one trip of the loop of unknown length, pool, convert, callback
    assert facts_of_text(HLO) == Facts(1 + 5 * 3 + 3 + 3, 2, 1, 1, 1, 1, 0)


def test_missing_compiler_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(toolchain.FOLDER, str(tmp_path))
    assert plans.main([]) == 2
    line = capsys.readouterr().err
    assert line.startswith("benchmarks.plans: the compiler for NVIDIA's GPUs is not at ")
    assert line.endswith(f"and set {toolchain.FOLDER} to it\n")
    assert line.count("\n") == 1


def test_unknown_program_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"^there is no program seeds; give some of seed, "):
        plans.plan(["seeds"], 32)


# --- compiled for an H100
@cache
def planned(name: str, size: int = 128) -> Facts:
    """What the compiler says, in a process that has it."""
    try:
        folder = toolchain.find_toolchain()
    except UserError as error:
        pytest.skip(str(error))
    line = toolchain.command("benchmarks.plans", ["--child", name, "--size", str(size), "--json"])
    done = subprocess.run(
        line, cwd=ROOT, env=toolchain.environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Facts(**json.loads(done.stdout.splitlines()[-1])[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed", "seed_remat", "photo", "fast_photo", "video_batch", "training"])
def test_program_of_a_card_has_nothing_that_holds_it_back(name: str) -> None:
    facts = planned(name)
    assert facts.unknown_loops == 0
    assert facts.select_and_scatter == 0
    assert facts.float64 == 0
    assert facts.callbacks == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kernels", "megabytes"),
    [("seed", 180, 60), ("photo", 220, 80), ("fast_photo", 240, 15), ("training", 800, 700)],
)
def test_program_of_a_card_launches_few_kernels_and_plans_little_memory(
    name: str, kernels: int, megabytes: int
) -> None:
    facts = planned(name)
    assert facts.kernels <= kernels
    assert facts.temporary <= megabytes * 1e6


@pytest.mark.slow
def test_remat_halves_the_memory_of_an_evaluation_on_a_card_and_tiles_take_a_fifth() -> None:
    plain, remat, tiles = (planned(name, 512).temporary for name in ("seed", "seed_remat", "seed_tiles"))
    assert remat <= 0.6 * plain
    assert tiles <= 0.2 * plain
