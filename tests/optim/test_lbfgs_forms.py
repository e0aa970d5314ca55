"""L-BFGS: the blocked form equals the loops and has none, the history has the pixels' shape and may be narrow."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from msst_jax.optim.lbfgs import torch_lbfgs
from msst_jax.optim.lbfgs_direction import Form
from msst_jax.optim.lbfgs_state import LbfgsState
from msst_jax.optim.minimize import minimize
from msst_jax.optim.preconditioner import power_law_preconditioner
from reference.lbfgs_cases import SIZE, ill_conditioned, our_iterates

ITERATIONS = 60
FORMS: tuple[Form, ...] = ("loops", "blocked")
SHAPE = (8, 9, 3)  # of a picture
TARGET = np.random.default_rng(5).uniform(-0.1, 1.1, SHAPE)
STIFFNESS = 10 ** np.random.default_rng(6).uniform(-1.35, 1.35, SHAPE)
PRECONDITIONED = {"preconditioner": partial(power_law_preconditioner, power=1.0), "max_step": 0.05}
NARROW = {"history_dtype": jnp.bfloat16}


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert np.all(np.isfinite(theirs))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def rough(picture: jax.Array) -> jax.Array:
    """Smooth and not quadratic, of a picture."""
    stiffness, target = jnp.asarray(STIFFNESS, picture.dtype), jnp.asarray(TARGET, picture.dtype)
    differences = picture - jnp.roll(picture, 1, 1)
    return jnp.sum(stiffness * (picture - target) ** 2) / 2 + jnp.sum(differences**4)


def picture_iterates(count: int, dtype: Any = jnp.float64, **options: Any) -> tuple[np.ndarray, LbfgsState]:
    transform = torch_lbfgs(**options)

    @jax.jit
    def step(picture: jax.Array, state: LbfgsState) -> tuple[jax.Array, LbfgsState]:
        updates, state = transform.update(jax.grad(rough)(picture), state)
        return optax.apply_updates(picture, updates), state

    picture = jnp.full(SHAPE, 0.5, dtype)
    state = transform.init(picture)
    points = []
    for _ in range(count):
        points.append(np.asarray(picture))
        picture, state = step(picture, state)
    return np.stack(points), state


# --- blocked against loops


# 100 pairs are never all there in 60 iterations, 59 just fill up, 20 wrap around three times, 5 twelve times.
@pytest.mark.parametrize("history", [100, 59, 20, 5])
@pytest.mark.usefixtures("float64")
def test_the_blocked_form_takes_the_iterates_of_the_loops(history: int) -> None:
    (loops, after_loops), (blocked, after_blocked) = (
        picture_iterates(ITERATIONS, history_size=history, form=form) for form in FORMS
    )
    assert np.abs(loops[-1] - loops[-2]).max() > 1e-6  # not converged yet
    error = relative(blocked, loops)
    print(f"history {history}: {error:.1e}")
    assert error <= 1e-12
    assert int(after_loops.stored) == int(after_blocked.stored) == ITERATIONS - 1


# Where two runs that differ in the last bit drift apart, as where a pixel is clamped in one of them an iteration
# earlier, the forms are compared step by step: the blocked one is given what the loops have done so far.
@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("history", [100, 20, 1])
@pytest.mark.usefixtures("float64")
def test_every_step_of_the_blocked_form_is_that_of_the_loops(history: int, clamp: bool) -> None:
    points, _ = our_iterates(ill_conditioned, ITERATIONS, jnp.float64, history=history, clamp=clamp, form="loops")
    if clamp:
        assert np.any((points[10:] == 0) | (points[10:] == 1))
    loops, blocked = (torch_lbfgs(history_size=history, form=form) for form in FORMS)
    update_loops, update_blocked = jax.jit(loops.update), jax.jit(blocked.update)
    gradient_at = jax.jit(jax.grad(lambda x: ill_conditioned(x, jnp)))
    state, other, errors = loops.init(points[0]), blocked.init(points[0]), []
    for point in points:
        step, state = update_loops(gradient_at(point), state)
        same, other = update_blocked(gradient_at(point), other)
        errors.append(relative(same, step))
        other = other._replace(step=state.step)
    print(f"history {history}, clamp {clamp}: {max(errors):.1e}")
    assert max(errors) <= 1e-12


@pytest.mark.usefixtures("float64")
def test_the_blocked_form_takes_a_preconditioner_and_a_longest_step_as_the_loops_do() -> None:
    (loops, state), (blocked, _) = (
        picture_iterates(40, history_size=15, form=form, **PRECONDITIONED) for form in FORMS
    )
    lengths = np.sqrt(np.square(np.diff(loops, axis=0)).mean((1, 2, 3)))
    assert lengths.max() == pytest.approx(0.05)
    assert lengths.min() < 0.04
    assert state.steps.shape == state.changes.shape == (15, *SHAPE)
    error = relative(blocked, loops)
    print(f"preconditioned: {error:.1e}")
    assert error <= 1e-10


@pytest.mark.parametrize("history", [100, 3])
@pytest.mark.usefixtures("float64")
def test_batched_runs_that_skip_different_pairs_and_meet_nan_agree_in_both_forms(history: int) -> None:
    rng = np.random.default_rng(7)
    gradients = rng.uniform(0.5, 2, (20, 3, 1)) * rng.normal(size=SIZE) + rng.normal(0, 0.3, (20, 3, SIZE))
    gradients[9, 1] = np.nan
    updates, states = [], []
    for form in FORMS:
        transform = torch_lbfgs(history_size=history, form=form)
        state, update, steps = jax.vmap(transform.init)(jnp.zeros((3, SIZE))), jax.jit(jax.vmap(transform.update)), []
        for gradient in gradients:
            step, state = update(gradient, state)
            steps.append(step)
        updates.append(np.stack(steps))
        states.append(state)
    assert len(set(states[0].stored.tolist())) > 1
    assert states[0].stored.tolist() == states[1].stored.tolist()
    lost = np.isnan(updates[0]).any(-1)
    assert np.argwhere(lost).tolist() == [[9, 1]]  # the run goes on after it
    for ours, theirs in zip(updates[1][~lost], updates[0][~lost], strict=True):
        assert relative(ours, theirs) <= 1e-11


@pytest.mark.usefixtures("float64")
def test_the_inverse_of_the_blocked_form_is_that_of_the_triangle_of_the_pairs_by_age() -> None:
    _, state = our_iterates(ill_conditioned, 30, jnp.float64, history=7, form="blocked")
    by_age = np.argsort((np.arange(7) - int(state.stored)) % 7)
    steps, changes, inverse = (np.asarray(array)[by_age] for array in (state.steps, state.changes, state.inverse))
    np.testing.assert_allclose(inverse[:, by_age] @ np.triu(steps @ changes.T), np.eye(7), rtol=0, atol=1e-10)


def test_an_unknown_form_is_rejected() -> None:
    with pytest.raises(ValueError, match="form must be one of by_platform, loops, blocked, got 'block'"):
        torch_lbfgs(form="block")


# --- what is compiled
def lowered(platform: str, **options: Any) -> str:
    """The program of one update of two runs, before the compiler of the platform."""
    transform = torch_lbfgs(history_size=10, **options)
    pixels = jax.ShapeDtypeStruct((2, 1, *SHAPE), jnp.float32)
    state = jax.eval_shape(jax.vmap(transform.init), pixels)
    return jax.jit(jax.vmap(transform.update)).trace(pixels, state).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    "options", [{}, PRECONDITIONED, {"history_dtype": jnp.bfloat16}], ids=["plain", "full", "bf16"]
)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_update_on_an_accelerator_has_no_loop_and_no_call_of_the_host(platform: str, options: Any) -> None:
    program = lowered(platform, **options)
    assert "while" not in program
    assert "callback" not in program
    assert "f64" not in program
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) >= 7
    assert all("[HIGHEST, HIGHEST]" in line and "bf16" not in line for line in products)


def test_the_loops_stay_where_they_are_faster_and_either_form_can_be_forced() -> None:
    assert lowered("cpu").count("stablehlo.while") == 2
    assert lowered("cuda", form="loops").count("stablehlo.while") == 2
    assert "while" not in lowered("cpu", form="blocked")


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_a_picture_on_several_devices_stay_there(form: Form) -> None:
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
    transform = torch_lbfgs(history_size=5, form=form)
    pixels = jax.ShapeDtypeStruct((2, 16, 10, 3), jnp.float32)

    def sharded(array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        axes = (*[None] * (array.ndim - 3), "rows") if array.shape[-3:] == pixels.shape[-3:] else ()
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    arguments = jax.tree.map(sharded, (pixels, jax.eval_shape(transform.init, pixels)))
    compiled = jax.jit(transform.update, donate_argnums=1).lower(*arguments).compile()
    assert "all-gather" not in compiled.as_text()
    assert compiled.output_shardings[1].steps.spec == PartitionSpec(None, None, "rows")


# --- a narrower history
def distance(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    return rough(pixels), {}


@pytest.mark.parametrize("form", FORMS)
def test_a_bfloat16_history_reaches_the_minimum(form: Form) -> None:
    narrow, wide = (
        minimize(distance, np.full(SHAPE, 0.5, np.float32), torch_lbfgs(1.0, 20, form=form, history_dtype=dtype), 80)
        for dtype in (jnp.bfloat16, None)
    )
    losses = narrow.losses["total"]
    print(f"{form}: {losses[0]:.1f} to {narrow.best_loss:.5f}, float32 {wide.best_loss:.5f}")
    assert wide.best_loss < 0.2 * losses[0]
    assert narrow.best_loss == pytest.approx(wide.best_loss, rel=1e-3)


@pytest.mark.usefixtures("float64")
def test_a_bfloat16_history_takes_half_the_memory_and_rounds_nothing_else_in_either_form() -> None:
    (loops, state), (blocked, _) = (
        picture_iterates(30, jnp.float64, history_size=9, history_dtype=jnp.bfloat16, form=form) for form in FORMS
    )
    assert state.steps.dtype == state.changes.dtype == jnp.bfloat16
    assert {array.dtype.name for array in (state.step, state.gradient, state.curvatures, state.scale)} == {"float64"}
    error = relative(blocked, loops)
    print(f"bfloat16, blocked against loops: {error:.1e}")
    assert error <= 1e-10
