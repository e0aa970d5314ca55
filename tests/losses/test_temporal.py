"""The temporal loss: zero for what moves along with the photo, not for what stays where it is."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.losses.temporal import synthetic_flow, temporal_loss
from msst_jax.training.data.motion import random_motion
from reference.loss_formulas import uniform
from reference.stylizer_cases import random_masks
from tests.helpers.pictures import noise

SIZE = (24, 32)
PHOTOS, MASKS = np.stack([noise(*SIZE, seed) for seed in range(2)]) / np.float32(255), random_masks(2, 2, SIZE)
PATTERN = uniform(*SIZE, 3, seed=4)  # stays where it is
PAINTERS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "moves along": lambda photos, masks: 1 - photos**2,
    "stays": lambda photos, masks: 0.5 * photos + 0.5 * PATTERN,
}


def motion(shift: tuple[float, float] = (0.0, 0.0), noise: float = 0.0, zoom: float = 0.0) -> dict[str, np.ndarray]:
    affine = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32)
    single = {"affine": affine, "bends": np.zeros((4, 4, 2), np.float32), "noise": np.float32(noise)}
    return {**{name: np.stack([value] * 2) for name, value in single.items()}, "noise_seed": np.uint32([1, 2])}


def loss(painter: str, moved: dict[str, np.ndarray]) -> float:
    paint = PAINTERS[painter]

    @jax.jit
    def value(photos: jax.Array, moved: dict[str, jax.Array]) -> jax.Array:
        return temporal_loss(paint, photos, MASKS, paint(photos, MASKS), moved)

    return float(value(PHOTOS, moved))


@pytest.mark.parametrize("painter", PAINTERS)
def test_a_photo_that_does_not_move_costs_nothing(painter: str) -> None:
    assert loss(painter, motion()) == pytest.approx(0, abs=1e-10)


def test_a_pattern_that_stays_where_it_is_costs_and_one_that_moves_along_does_not() -> None:
    whole_pixels = motion(shift=(3 / SIZE[1], -2 / SIZE[0]))
    assert loss("moves along", whole_pixels) < 1e-10
    assert loss("stays", whole_pixels) > 0.01


def test_noise_costs_what_the_model_makes_of_it() -> None:
    assert 1e-4 < loss("moves along", motion(noise=0.02)) < 1e-2


def test_a_displacement_is_relative_to_the_side_and_a_zoom_leaves_the_middle() -> None:
    shifted = synthetic_flow(jnp.asarray(motion(shift=(0.25, 0.5))["affine"][0]), jnp.zeros((4, 4, 2)), *SIZE)
    np.testing.assert_allclose(shifted, np.broadcast_to([8, 12], (*SIZE, 2)), rtol=1e-5)
    zoomed = synthetic_flow(jnp.asarray(motion(zoom=0.1)["affine"][0]), jnp.zeros((4, 4, 2)), *SIZE)
    np.testing.assert_allclose(zoomed, -zoomed[::-1, ::-1], atol=1e-5)
    np.testing.assert_allclose(zoomed[0, 0], [-0.1 * 15.5, -0.1 * 11.5], rtol=1e-5)


def test_only_the_second_frame_is_pulled_at() -> None:
    """The gradient by the first picture is zero: else both could become gray."""

    def total(pictures: jax.Array) -> jax.Array:
        return temporal_loss(PAINTERS["stays"], PHOTOS, MASKS, pictures, motion(shift=(0.1, 0.0)))

    value, gradient = jax.jit(jax.value_and_grad(total))(PHOTOS)
    assert value > 0
    np.testing.assert_array_equal(gradient, 0)


def test_the_same_seed_draws_the_same_motion_small_and_of_fixed_shapes() -> None:
    first, again, other = (random_motion(np.random.default_rng(seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert (value.shape, value.dtype) == (other[name].shape, other[name].dtype)
        assert (value != other[name]).any()
    flow = np.asarray(synthetic_flow(jnp.asarray(first["affine"]), jnp.asarray(first["bends"]), 100, 100))
    assert 0.5 < np.abs(flow).max() < 15
