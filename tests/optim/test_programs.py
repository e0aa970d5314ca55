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
from msst_jax.optim.programs import Bound, Programs

ADAM = OptimizerOptions("adam")


def distance(factor: float, target: jax.Array, pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    total = factor * jnp.square(pixels - target).sum()
    return total, {"distance": total}


def loss(target: jax.Array, factor: float = 2.0) -> Partial:
    return Partial(Bound(distance, (factor,)), target)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the pixels that programs were compiled for."""
    shapes: list[tuple[int, ...]] = []

    def counted(loss: Partial, pixels: jax.Array, *more: Any, **options: Any) -> Any:
        shapes.append(pixels.shape)
        return compile_minimizer(loss, pixels, *more, **options)

    monkeypatch.setattr(module, "compile_minimizer", counted)
    return shapes


def minimizer(programs: Programs, size: int = 3, factor: float = 2.0, evaluations: int = 5) -> Any:
    problem = loss(jnp.full(size, 0.5), factor)
    return programs.minimizer(ADAM, problem, jnp.zeros(size), evaluations, runs=None, on_compile=lambda: None)


def test_only_what_makes_another_program_is_compiled_again(compiled: list[tuple[int, ...]]):
    programs = Programs()
    assert minimizer(programs).seconds > 0
    assert minimizer(programs).seconds == 0
    assert compiled == [(3,)]
    minimizer(programs, size=4)
    minimizer(programs, factor=3.0)
    minimizer(programs, evaluations=6)
    assert compiled == [(3,), (4,), (3,), (3,)]


def test_a_program_that_serves_again_minimizes_the_new_problem():
    programs = Programs()
    for target in (jnp.full(3, 0.2), jnp.full(3, 0.7)):
        said: list[bool] = []
        made = programs.minimizer(
            ADAM, loss(target), jnp.zeros(3), 200, runs=None, on_compile=lambda said=said: said.append(True)
        )
        assert run_minimizer(made, loss(target), jnp.zeros(3), 200).best_pixels == pytest.approx(
            np.asarray(target), abs=0.02
        )
    assert not said


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
