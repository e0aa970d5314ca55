"""The on-line loop: any loss, any optax transformation; Ctrl-C and NaN lose nothing that was found."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msst_jax.optim.lbfgs import torch_lbfgs
from msst_jax.optim.minimize import clip_to_range, minimize

TARGET = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 3)).astype(np.float32)
START = np.full_like(TARGET, 0.5)
CURVATURES = np.linspace(0.5, 3, TARGET.size).astype(np.float32).reshape(TARGET.shape)


def bowl(pixels: jax.Array, centre: Any = 0.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A user's own loss: a quadratic around TARGET + centre, and its two halves as terms."""
    terms = jnp.sum(CURVATURES * jnp.square(pixels - TARGET - centre), axis=(1, 2))
    return jnp.sum(terms), {"upper": jnp.sum(terms[:2]), "lower": jnp.sum(terms[2:])}


@pytest.mark.parametrize(
    ("transform", "evaluations"),
    [
        (optax.adam(0.05), 60),
        (optax.sgd(0.1), 60),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), 80),
        (optax.lbfgs(), 12),
        (torch_lbfgs(), 30),
    ],
    ids=["adam", "sgd", "clipped sgd", "optax.lbfgs with line search", "torch_lbfgs"],
)
def test_any_optax_transformation_finds_the_minimum(transform: optax.GradientTransformation, evaluations: int):
    solution = minimize(bowl, START, transform, evaluations)
    np.testing.assert_allclose(solution.best_pixels, TARGET, atol=0.02)
    assert solution.finite
    assert not solution.interrupted


def test_best_pixels_are_those_of_the_smallest_loss():
    solution = minimize(bowl, START, optax.sgd(lambda count: jnp.where(count < 4, 0.1, 0.8)), 9)
    assert 0 < solution.losses["total"].argmin() < 8
    assert solution.best_loss == solution.losses["total"].min()
    np.testing.assert_allclose(bowl(jnp.asarray(solution.best_pixels))[0], solution.best_loss, rtol=1e-6)


def test_pixels_are_those_after_the_last_update():
    one = minimize(bowl, START, optax.sgd(0.01), 1)
    np.testing.assert_array_equal(one.best_pixels, START)
    two = minimize(bowl, START, optax.sgd(0.01), 2)
    np.testing.assert_allclose(two.best_pixels, one.pixels, rtol=1e-6)


def test_the_terms_of_every_evaluation_are_kept_and_add_up():
    losses = minimize(bowl, START, optax.sgd(0.1), 7).losses
    assert set(losses) == {"total", "upper", "lower"}
    assert losses["total"].shape == (7,)
    np.testing.assert_allclose(losses["total"], losses["upper"] + losses["lower"], rtol=1e-6)


def test_pixels_stay_in_range_unless_the_caller_says_otherwise():
    far = jax.tree_util.Partial(bowl, centre=2.0)
    assert minimize(far, START, optax.sgd(0.1), 20).pixels.max() == 1
    assert minimize(far, START, optax.sgd(0.1), 20, project=lambda pixels: pixels).pixels.max() > 2
    assert clip_to_range(jnp.array([-1.0, 0.5, 2.0])).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("evaluations", [1, 2, 3, 10])
def test_every_evaluation_is_reported_once_and_in_order(evaluations: int):
    reports: list[tuple[int, float]] = []
    solution = minimize(
        bowl, START, optax.sgd(0.1), evaluations, on_evaluation=lambda index, total: reports.append((index, total))
    )
    assert [index for index, _ in reports] == list(range(1, evaluations + 1))
    np.testing.assert_allclose([total for _, total in reports], solution.losses["total"], rtol=1e-6)


@pytest.mark.parametrize("evaluations", [0, -1])
def test_no_evaluations_is_an_error(evaluations: int):
    with pytest.raises(ValueError, match="at least 1"):
        minimize(bowl, START, optax.sgd(0.1), evaluations)


def test_a_batch_gives_the_results_of_single_runs():
    centres = jnp.array([0.0, 0.1, -0.1])
    starts = np.stack([START] * 3)
    reports: list[float] = []
    batch = minimize(
        bowl, starts, optax.adam(0.02), 8, runs=centres, on_evaluation=lambda _, total: reports.append(total)
    )
    np.testing.assert_allclose(reports, batch.losses["total"].sum(0), rtol=1e-6)
    for run, centre in enumerate(centres):
        single = minimize(jax.tree_util.Partial(bowl, centre=centre), START, optax.adam(0.02), 8)
        np.testing.assert_allclose(batch.losses["upper"][run], single.losses["upper"], rtol=1e-5)
        np.testing.assert_allclose(batch.best_pixels[run], single.best_pixels, atol=1e-5)


def breaks_below(threshold: Any, value: float = np.nan) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """`bowl`, but not finite once it falls below the threshold."""

    def loss(pixels: jax.Array, run: Any = 1.0) -> tuple[jax.Array, dict[str, jax.Array]]:
        total, terms = bowl(pixels)
        return jnp.where(total < threshold * run, value, total), terms

    return loss


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_breaks_falls_back_to_the_best_pixels(value: float):
    start_loss = float(bowl(START)[0])
    reports: list[int] = []
    solution = minimize(
        breaks_below(start_loss / 10, value),
        START,
        optax.sgd(0.05),
        1000,
        on_evaluation=lambda index, _: reports.append(index),
    )
    assert not solution.finite
    assert 0 < solution.best_loss < start_loss
    np.testing.assert_array_equal(solution.pixels, solution.best_pixels)
    np.testing.assert_allclose(bowl(solution.best_pixels)[0], solution.best_loss, rtol=1e-6)
    assert len(solution.losses["total"]) < 100  # nothing is left to do
    assert reports == list(range(1, len(solution.losses["total"]) + 1))


def test_a_start_that_is_not_finite_comes_back_as_it_was():
    solution = minimize(breaks_below(np.inf), START, optax.sgd(0.05), 20)
    assert not solution.finite
    np.testing.assert_array_equal(solution.best_pixels, START)
    np.testing.assert_array_equal(solution.pixels, START)
    assert not np.isfinite(solution.best_loss)


def test_a_gradient_that_is_not_finite_falls_back_to_the_best_pixels():
    def loss(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.sum(jnp.sqrt(jnp.maximum(pixels - 0.5, 0))), {}  # slope 1 / 0 at the start

    solution = minimize(loss, START, optax.sgd(0.05), 20)
    assert not solution.finite
    np.testing.assert_array_equal(solution.pixels, START)


def test_a_member_of_a_batch_that_breaks_does_not_stop_the_others():
    start_loss = float(bowl(START)[0])
    solution = minimize(
        breaks_below(start_loss / 10), np.stack([START] * 2), optax.sgd(0.05), 60, runs=jnp.array([1.0, 0.0])
    )
    assert solution.finite.tolist() == [False, True]
    assert solution.losses["total"].shape == (2, 60)
    np.testing.assert_allclose(solution.pixels[1], TARGET, atol=0.02)
    np.testing.assert_array_equal(solution.pixels[0], solution.best_pixels[0])
    np.testing.assert_allclose(bowl(solution.best_pixels[0])[0], solution.best_loss[0], rtol=1e-6)


def test_ctrl_c_ends_the_loop_with_the_best_so_far():
    reports: list[int] = []

    def interrupt(index: int, _total: float) -> None:
        reports.append(index)
        if index == 5:
            signal.raise_signal(signal.SIGINT)

    solution = minimize(bowl, START, optax.sgd(0.05), 100_000, on_evaluation=interrupt)
    made = len(solution.losses["total"])
    assert solution.interrupted
    assert solution.finite
    assert 5 <= made < 20
    assert reports == list(range(1, made + 1))
    assert solution.best_loss == solution.losses["total"].min() < solution.losses["total"][0]


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """A shell without job control starts its background jobs with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_is_a_keyboard_interrupt_and_the_handler_is_put_back(usual_ctrl_c: None):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(_index: int, _total: float) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        minimize(bowl, START, optax.sgd(0.05), 100_000, on_evaluation=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_two_runs_are_equal_bit_for_bit():
    first, second = (minimize(bowl, START, torch_lbfgs(), 15) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.losses["total"], second.losses["total"])


def test_the_start_of_the_caller_is_not_consumed():
    start = jnp.asarray(START)
    minimize(bowl, start, optax.sgd(0.05), 3)
    np.testing.assert_array_equal(start, START)
