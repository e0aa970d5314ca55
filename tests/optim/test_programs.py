"""Compiled minimizers that serve again."""

import gc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from msst_jax.optim import programs as module
from msst_jax.optim.minimize import compile_minimizer, run_minimizer
from msst_jax.optim.optimizer import OptimizerOptions
from msst_jax.optim.programs import Programs, bind

ADAM, LBFGS = OptimizerOptions("adam"), OptimizerOptions(history=5)


def distance(factor: float, target: jax.Array, pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    total = factor * jnp.square(pixels - target).sum()
    return total, {"distance": total}


def loss(target: jax.Array, factor: float = 2.0) -> Partial:
    return Partial(bind(distance, factor), target)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the pixels that programs were compiled for."""
    shapes: list[tuple[int, ...]] = []

    def counted(loss: Partial, pixels: jax.Array, *more: Any, **options: Any) -> Any:
        shapes.append(pixels.shape)
        return compile_minimizer(loss, pixels, *more, **options)

    monkeypatch.setattr(module, "compile_minimizer", counted)
    return shapes


def minimizer(
    programs: Programs,
    size: int = 3,
    factor: float = 2.0,
    evaluations: int = 5,
    optimizer: OptimizerOptions = LBFGS,
    said: list[str] | None = None,
) -> Any:
    """The program; what happens before it is there is noted in `said`."""
    said = [] if said is None else said

    def problem() -> tuple[Partial, None]:
        said.append("problem")
        return loss(jnp.full(size, 0.5), factor), None

    return programs.minimizer(
        optimizer, problem, jnp.zeros(size), evaluations, on_compile=lambda: said.append("compile")
    )[0]


def test_only_what_makes_another_program_is_compiled_again(compiled: list[tuple[int, ...]]):
    programs = Programs()
    assert minimizer(programs).seconds > 0
    assert minimizer(programs).seconds == 0
    assert compiled == [(3,)]
    minimizer(programs, size=4)
    minimizer(programs, factor=3.0)
    minimizer(programs, evaluations=4)
    minimizer(programs, optimizer=ADAM)
    assert compiled == [(3,), (4,), (3,), (3,), (3,)]


def test_evaluations_that_fill_the_history_or_have_none_make_no_other_program(compiled: list[tuple[int, ...]]):
    programs = Programs()
    for optimizer in (LBFGS, ADAM):
        minimizer(programs, optimizer=optimizer)
        minimizer(programs, optimizer=optimizer, evaluations=6)
    minimizer(programs, optimizer=ADAM, evaluations=4)
    assert len(compiled) == 2


@pytest.mark.slow
def test_a_compilation_is_told_once_and_ahead_of_the_problem_where_that_compiles_too():
    programs = Programs(kept=2)
    said: list[str] = []
    minimizer(programs, said=said)
    minimizer(programs, factor=3.0, said=said)
    minimizer(programs, said=said)
    assert said == ["compile", "problem", "problem", "compile", "problem"]
    minimizer(programs, size=4, said=said[:])  # drops the others
    said.clear()
    minimizer(programs, said=said)
    assert said == ["compile", "problem"]


def test_a_program_that_serves_again_minimizes_the_new_problem():
    programs = Programs()
    for target in (jnp.full(3, 0.2), jnp.full(3, 0.7)):
        said: list[bool] = []
        made, posed, _ = programs.minimizer(
            ADAM,
            lambda target=target: (loss(target), None),
            jnp.zeros(3),
            200,
            on_compile=lambda said=said: said.append(True),
        )
        assert run_minimizer(made, posed, jnp.zeros(3), 200).best_pixels == pytest.approx(np.asarray(target), abs=0.02)
    assert not said


@pytest.mark.slow
def test_no_more_programs_are_kept_than_asked_for_not_even_by_jax(compiled: list[tuple[int, ...]]):
    programs = Programs(kept=2)
    kept = []
    for size in (1, 2, 1, 3, 4, 5):
        minimizer(programs, size)
        gc.collect()
        names = [program.hlo_modules()[0].name for program in jax.local_devices()[0].client.live_executables()]
        kept.append(names.count("jit_step"))
    assert compiled == [(1,), (2,), (3,), (4,), (5,)]
    assert [count - kept[3] for count in kept[3:]] == [0, 1, 0]
