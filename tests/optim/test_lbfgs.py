"""torch_lbfgs equals torch.optim.LBFGS(lr=1, max_iter=20, history_size=100), iterate by iterate."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax.optim.lbfgs import LbfgsState, torch_lbfgs
from reference.lbfgs_cases import (
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    SIZE,
    START,
    ill_conditioned,
    our_iterates,
    torch_iterates,
)
from tests.helpers.pictures import noise


def max_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.dtype == theirs.dtype
    assert np.all(np.isfinite(theirs))
    return float(np.abs(ours - theirs).max())


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


# --- parity with torch


# Smaller histories drop pairs: 5 wraps around seven times in 40 iterations, 39 just fills up, 1 keeps the last only.
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("history", [100, 39, 5, 1])
@pytest.mark.usefixtures("float64")
def test_float64_iterates_equal_torch_for_40_iterations(history: int, clamp: bool) -> None:
    theirs = torch_iterates(ill_conditioned, 40, torch.float64, history=history, clamp=clamp)
    ours, state = our_iterates(ill_conditioned, 40, jnp.float64, history=history, clamp=clamp)
    assert state.steps.shape == (history, SIZE)
    if clamp:
        assert np.any((theirs[10:] == 0) | (theirs[10:] == 1))
    assert np.abs(theirs[-1] - theirs[-2]).max() > 1e-6  # not converged yet
    print(f"history {history}, clamp {clamp}: {max_error(ours, theirs):.1e}")
    assert max_error(ours, theirs) <= FLOAT64_TOLERANCE


@pytest.mark.parametrize("clamp", [False, True])
def test_float32_iterates_equal_torch_for_10_iterations(clamp: bool) -> None:
    theirs = torch_iterates(ill_conditioned, 10, torch.float32, clamp=clamp)
    ours, _ = our_iterates(ill_conditioned, 10, jnp.float32, clamp=clamp)
    print(f"clamp {clamp}: {max_error(ours, theirs):.1e}")
    assert max_error(ours, theirs) <= FLOAT32_TOLERANCE


@pytest.mark.usefixtures("float64")
def test_iterates_with_a_learning_rate_equal_torch() -> None:
    theirs = torch_iterates(ill_conditioned, 40, torch.float64, lr=0.3)
    ours, _ = our_iterates(ill_conditioned, 40, jnp.float64, lr=0.3)
    assert max_error(ours, theirs) <= FLOAT64_TOLERANCE


def random_gradients(count: int) -> np.ndarray:
    """Multiples of one direction plus noise: y.s is negative for many pairs, and zero where a gradient repeats."""
    rng = np.random.default_rng(3)
    gradients = rng.uniform(0.5, 2, (count, 1)) * rng.normal(size=SIZE) + rng.normal(0, 0.3, (count, SIZE))
    gradients[5] = gradients[4]
    return gradients


@pytest.mark.parametrize("history", [100, 3])
@pytest.mark.usefixtures("float64")
def test_pairs_without_curvature_are_skipped_as_in_torch(history: int) -> None:
    gradients = random_gradients(40)
    theirs = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theirs], lr=1, max_iter=20, history_size=history)
    calls = iter(range(40))

    def closure() -> float:
        index = next(calls)
        theirs.grad = torch.from_numpy(gradients[index].copy())
        return -index  # a loss that changes every time

    optimizer.step(closure)
    optimizer.step(closure)
    assert next(calls, None) is None

    transform = torch_lbfgs(history_size=history)
    ours = jnp.zeros(SIZE)
    state = transform.init(ours)
    update = jax.jit(transform.update)
    for gradient in gradients:
        step, state = update(gradient, state)
        ours += step
    skipped = 39 - int(state.stored)
    error = max_error(np.asarray(ours), theirs.detach().numpy()) / float(theirs.detach().abs().max())
    print(f"{skipped} of 39 pairs skipped: {error:.1e}")
    assert 10 <= skipped <= 30
    assert len(optimizer.state[theirs]["old_stps"]) == min(int(state.stored), history)
    assert error <= 1e-9


def test_a_skipped_pair_leaves_the_history_unchanged() -> None:
    transform = torch_lbfgs(history_size=2)
    state = transform.init(jnp.zeros(2))
    for gradient in ([1.0, 0.0], [0.5, 0.0]):  # step -1, change -0.5: y.s = 0.5
        _, state = transform.update(jnp.array(gradient), state)
    _, after = transform.update(jnp.array([3.0, 0.0]), state)  # against the step: y.s < 0
    assert int(state.stored) == int(after.stored) == 1
    assert int(after.updates) == 3
    for name in ("steps", "changes", "curvatures", "scale"):
        np.testing.assert_array_equal(getattr(after, name), getattr(state, name), err_msg=name)


# --- single rules
@pytest.mark.parametrize(
    ("gradient", "factor"), [([3.0, -1.0, 4.0], 1 / 8), ([0.2, -0.1, 0.3], 1.0), ([0.0, 0.0, 0.0], 1)]
)
def test_the_first_step_is_scaled_by_the_l1_norm_of_the_gradient(gradient: list[float], factor: float) -> None:
    transform = torch_lbfgs(learning_rate=0.5)
    step, _ = transform.update(jnp.array(gradient), transform.init(jnp.zeros(3)))
    np.testing.assert_allclose(step, -0.5 * factor * np.array(gradient), rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_a_preconditioner_equals_a_change_of_variables() -> None:
    """For x = A z, L-BFGS over z takes the steps in x of L-BFGS over x with the preconditioner A A^T."""
    scales = 10 ** np.random.default_rng(4).uniform(-0.5, 0.5, SIZE)

    def small(x: jax.Array) -> jax.Array:
        return ill_conditioned(x, jnp) * 1e-4  # the gradient's sum stays below 1, where the first step is not scaled

    preconditioned = torch_lbfgs(preconditioner=lambda flat: flat * scales**2)
    plain = torch_lbfgs()
    x, z = jnp.asarray(START), jnp.asarray(START / scales)
    state_x, state_z = preconditioned.init(x), plain.init(z)
    gradient_x, gradient_z = jax.jit(jax.grad(small)), jax.jit(jax.grad(lambda z: small(z * scales)))
    update_x, update_z = jax.jit(preconditioned.update), jax.jit(plain.update)
    assert float(jnp.abs(gradient_x(x) * scales**2).sum()) < 1
    for _ in range(30):
        step, state_x = update_x(gradient_x(x), state_x)
        step_z, state_z = update_z(gradient_z(z), state_z)
        x, z = x + step, z + step_z
        assert max_error(np.asarray(x), np.asarray(z * scales)) <= 1e-9
    assert max_error(np.asarray(x), START) > 0.1


def test_a_history_size_below_1_is_rejected() -> None:
    for size in (0, -3):
        with pytest.raises(ValueError, match=f"history_size must be at least 1, got {size}"):
            torch_lbfgs(history_size=size)


@pytest.mark.usefixtures("float64")
def test_vmapped_runs_equal_single_runs_even_if_they_skip_different_pairs() -> None:
    transform = torch_lbfgs(history_size=4)
    gradients = random_gradients(45).reshape(3, 15, SIZE)
    states = jax.vmap(transform.init)(jnp.zeros((3, SIZE)))
    batched_update = jax.jit(jax.vmap(transform.update))
    single_update = jax.jit(transform.update)
    separate = [transform.init(jnp.zeros(SIZE)) for _ in range(3)]
    for index in range(15):
        steps, states = batched_update(gradients[:, index], states)
        for run in range(3):
            step, separate[run] = single_update(gradients[run, index], separate[run])
            np.testing.assert_allclose(steps[run], step, rtol=0, atol=1e-10 * np.abs(step).max())
    assert len(set(states.stored.tolist())) > 1
    assert states.stored.tolist() == [int(state.stored) for state in separate]


def test_pytrees_take_the_same_steps_as_a_flat_vector() -> None:
    transform = torch_lbfgs(history_size=5)

    def split(x: jax.Array) -> dict[str, Any]:
        return {"a": x[:60].reshape(3, 20), "b": (x[60:], {})}

    x = jnp.asarray(START, jnp.float32)
    flat, tree = transform.init(x), transform.init(split(x))
    update, gradient_at = jax.jit(transform.update), jax.jit(jax.grad(lambda x: ill_conditioned(x, jnp)))
    for _ in range(8):
        gradient = gradient_at(x)
        step, flat = update(gradient, flat)
        steps, tree = update(split(gradient), tree)
        assert jax.tree.structure(steps) == jax.tree.structure(split(x))
        jax.tree.map(np.testing.assert_array_equal, steps, split(step))
        x = x + step


@pytest.mark.parametrize("copied", [False, True])
def test_state_can_be_donated_to_a_jitted_step(copied: bool) -> None:
    """Warnings are errors here: a buffer that cannot be reused, or is donated twice, fails the test."""
    transform = torch_lbfgs(history_size=3)

    def step(x: jax.Array, state: LbfgsState) -> tuple[jax.Array, LbfgsState]:
        updates, state = transform.update(jax.grad(ill_conditioned)(x, jnp), state)
        return x + updates, state

    x = jnp.asarray(START, jnp.float32)
    state = transform.init(x)
    if copied:
        state = jax.tree.map(jnp.copy, state)
    donating_step = jax.jit(step, donate_argnums=(0, 1))
    for _ in range(6):
        old = state
        x, state = donating_step(x, state)
        assert old.steps.is_deleted()
        assert old.changes.is_deleted()
    expected, _ = our_iterates(ill_conditioned, 7, jnp.float32, history=3)
    np.testing.assert_allclose(x, expected[-1], rtol=0, atol=1e-6)


def test_max_step_limits_the_step_and_no_limit_follows_torch():
    gradient = jnp.asarray(noise(37, 45) / np.float32(255))
    for limit, expected in ((1e-7, 1e-7), (1.0, None)):
        step, _ = torch_lbfgs(max_step=limit).update(gradient, torch_lbfgs().init(gradient))
        free, _ = torch_lbfgs().update(gradient, torch_lbfgs().init(gradient))
        length = float(jnp.sqrt(jnp.mean(jnp.square(step))))
        if expected is None:
            np.testing.assert_array_equal(step, free)
        else:
            assert length == pytest.approx(expected, rel=1e-5)
