"""`minimize` works with any loss and optax transformation; Ctrl-C and NaN keep the best pixels so far."""

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


def bowl(pixels: jax.Array, center: Any = 0.0) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A user-defined loss: a quadratic around TARGET + center, and its two halves as terms."""
    terms = jnp.sum(CURVATURES * jnp.square(pixels - TARGET - center), axis=(1, 2))
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
def test_any_optax_transformation_reaches_the_minimum(transform: optax.GradientTransformation, evaluations: int):
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


def test_the_terms_of_every_evaluation_are_returned_and_sum_to_the_total():
    losses = minimize(bowl, START, optax.sgd(0.1), 7).losses
    assert set(losses) == {"total", "upper", "lower"}
    assert losses["total"].shape == (7,)
    np.testing.assert_allclose(losses["total"], losses["upper"] + losses["lower"], rtol=1e-6)


def test_pixels_stay_in_0_to_1_unless_another_projection_is_given():
    far = jax.tree_util.Partial(bowl, center=2.0)
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
def test_fewer_than_1_evaluation_is_rejected(evaluations: int):
    with pytest.raises(ValueError, match="at least 1"):
        minimize(bowl, START, optax.sgd(0.1), evaluations)


def test_a_batch_equals_single_runs():
    centers = jnp.array([0.0, 0.1, -0.1])
    starts = np.stack([START] * 3)
    reports: list[float] = []
    batch = minimize(
        bowl, starts, optax.adam(0.02), 8, runs=centers, on_evaluation=lambda _, total: reports.append(total)
    )
    np.testing.assert_allclose(reports, batch.losses["total"].sum(0), rtol=1e-6)
    for run, center in enumerate(centers):
        single = minimize(jax.tree_util.Partial(bowl, center=center), START, optax.adam(0.02), 8)
        np.testing.assert_allclose(batch.losses["upper"][run], single.losses["upper"], rtol=1e-5)
        np.testing.assert_allclose(batch.best_pixels[run], single.best_pixels, atol=1e-5)


def nonfinite_below(threshold: Any, value: float = np.nan) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """`bowl`, but not finite once it falls below the threshold."""

    def loss(pixels: jax.Array, run: Any = 1.0) -> tuple[jax.Array, dict[str, jax.Array]]:
        total, terms = bowl(pixels)
        return jnp.where(total < threshold * run, value, total), terms

    return loss


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nonfinite_loss_falls_back_to_the_best_pixels(value: float):
    start_loss = float(bowl(START)[0])
    reports: list[int] = []
    solution = minimize(
        nonfinite_below(start_loss / 10, value),
        START,
        optax.sgd(0.05),
        1000,
        on_evaluation=lambda index, _: reports.append(index),
    )
    assert not solution.finite
    assert 0 < solution.best_loss < start_loss
    np.testing.assert_array_equal(solution.pixels, solution.best_pixels)
    np.testing.assert_allclose(bowl(solution.best_pixels)[0], solution.best_loss, rtol=1e-6)
    assert len(solution.losses["total"]) < 100  # stops early, as no run is alive
    assert reports == list(range(1, len(solution.losses["total"]) + 1))


def test_initial_pixels_with_a_nonfinite_loss_are_returned_unchanged():
    solution = minimize(nonfinite_below(np.inf), START, optax.sgd(0.05), 20)
    assert not solution.finite
    np.testing.assert_array_equal(solution.best_pixels, START)
    np.testing.assert_array_equal(solution.pixels, START)
    assert not np.isfinite(solution.best_loss)


def test_a_nonfinite_gradient_falls_back_to_the_best_pixels():
    def loss(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.sum(jnp.sqrt(jnp.maximum(pixels - 0.5, 0))), {}  # derivative 1 / 0 at the start

    solution = minimize(loss, START, optax.sgd(0.05), 20)
    assert not solution.finite
    np.testing.assert_array_equal(solution.pixels, START)


def test_a_nonfinite_run_of_a_batch_does_not_stop_the_others():
    start_loss = float(bowl(START)[0])
    solution = minimize(
        nonfinite_below(start_loss / 10), np.stack([START] * 2), optax.sgd(0.05), 60, runs=jnp.array([1.0, 0.0])
    )
    assert solution.finite.tolist() == [False, True]
    assert solution.losses["total"].shape == (2, 60)
    np.testing.assert_allclose(solution.pixels[1], TARGET, atol=0.02)
    np.testing.assert_array_equal(solution.pixels[0], solution.best_pixels[0])
    np.testing.assert_allclose(bowl(solution.best_pixels[0])[0], solution.best_loss[0], rtol=1e-6)


def test_ctrl_c_ends_the_loop_and_returns_the_best_so_far():
    reports: list[int] = []

    def interrupt(index: int, _total: float) -> None:
        reports.append(index)
        if index == 5:
            signal.raise_signal(signal.SIGINT)

    solution = minimize(bowl, START, optax.sgd(0.05), 100_000, on_evaluation=interrupt)
    evaluations = len(solution.losses["total"])
    assert solution.interrupted
    assert solution.finite
    assert 5 <= evaluations < 20
    assert reports == list(range(1, evaluations + 1))
    assert solution.best_loss == solution.losses["total"].min() < solution.losses["total"][0]


@pytest.fixture
def default_ctrl_c() -> Iterator[None]:
    """Restores the default handler: a shell without job control starts its background jobs with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_raises_keyboard_interrupt_and_the_handler_is_restored(default_ctrl_c: None):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(_index: int, _total: float) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        minimize(bowl, START, optax.sgd(0.05), 100_000, on_evaluation=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_two_runs_are_bitwise_equal():
    first, second = (minimize(bowl, START, torch_lbfgs(), 15) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.losses["total"], second.losses["total"])


def test_the_callers_initial_pixels_are_not_donated():
    start = jnp.asarray(START)
    minimize(bowl, start, optax.sgd(0.05), 3)
    np.testing.assert_array_equal(start, START)


def test_a_nonfinite_run_does_not_affect_the_others_of_its_batch():
    def loss(pixels: jax.Array, scale: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = jnp.sum(jnp.square(pixels - 0.2)) * jnp.where(scale > 1, jnp.nan, 1.0)
        return value, {"square": value}

    start = np.full((2, 4), 0.9, np.float32)
    solution = minimize(loss, start, optax.sgd(0.1), 50, runs=jnp.array([1.0, 2.0]))
    assert solution.finite.tolist() == [True, False]
    np.testing.assert_allclose(solution.pixels[0], 0.2, atol=1e-3)
    np.testing.assert_array_equal(solution.pixels[1], start[1])
