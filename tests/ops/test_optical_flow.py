"""Optical flow: known motions are found, and what did not move along is not trusted."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from msst_jax.ops import optical_flow
from tests.helpers.pictures import noise

MOTION, WARP, TRUST = (
    jax.jit(function) for function in (optical_flow.estimate_flow, optical_flow.warp, optical_flow.flow_confidence)
)
HEIGHT, WIDTH = 96, 128


def view(dx: float = 0, dy: float = 0, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A window onto an endless picture of waves, moved right by dx pixels and down by dy, exactly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.zeros((height, width, 3))
    for length in np.geomspace(8, 60, 40):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        along = np.cos(angle) * (x + dx) + np.sin(angle) * (y + dy)
        waves += np.sin(2 * np.pi * along / length + phase)[..., None] * rng.uniform(0.2, 1, 3)
    return (0.5 + waves / 30).clip(0, 1).astype(np.float32)


def inside(values: np.ndarray | jax.Array, margin: int = 12) -> np.ndarray:
    return np.asarray(values)[margin:-margin, margin:-margin]


def off(flow: jax.Array, dx: float, dy: float) -> float:
    """Median distance from the true flow, in pixels."""
    return float(np.median(np.linalg.norm(inside(flow) - (dx, dy), axis=-1)))


@pytest.mark.parametrize(("dx", "dy"), [(0.4, -0.3), (-0.75, 0.5), (1.3, 0.0)])
def test_motion_of_a_fraction_of_a_pixel_points_where_each_pixel_was(dx: float, dy: float):
    assert off(MOTION(view(), view(dx, dy)), dx, dy) < 0.05


@pytest.mark.parametrize(("dx", "dy"), [(6.0, 0.0), (0.0, -8.0), (-7.5, 6.5), (10.0, 3.0)])
def test_motion_by_many_pixels_is_found_from_coarse_to_fine(dx: float, dy: float):
    assert off(MOTION(view(), view(dx, dy)), dx, dy) < 0.2


def test_a_part_that_moves_another_way_keeps_its_own_motion():
    previous, current = view(), view(2, 0)
    previous[30:66, 40:88], current[30:66, 40:88] = view(seed=1)[30:66, 40:88], view(-2, 1, seed=1)[30:66, 40:88]
    flow = np.asarray(MOTION(previous, current))
    assert np.median(np.linalg.norm(flow[36:60, 46:82] - (-2, 1), axis=-1)) < 0.2
    assert np.median(np.linalg.norm(flow[:, :30] - (2, 0), axis=-1)) < 0.2


def test_noise_of_the_camera_does_not_shake_the_motion():
    rng = np.random.default_rng(3)
    frames = [frame + rng.normal(0, 0.015, frame.shape).astype(np.float32) for frame in (view(), view(3, 1))]
    assert off(MOTION(*frames), 3, 1) < 0.2


def test_specks_that_are_in_one_frame_only_do_not_pull_the_motion_along():
    frames = view(), view(3, 1)
    rng = np.random.default_rng(4)
    for frame in frames:
        frame[rng.random((HEIGHT, WIDTH)) < 0.005] = 1
    assert np.linalg.norm(inside(MOTION(*frames)) - (3, 1), axis=-1).mean() < 0.18


def test_what_came_in_over_the_border_moves_with_what_is_beside_it():
    flow = np.asarray(MOTION(view(), view(8, -6)))
    assert np.median(np.linalg.norm(flow[:, -7:] - (8, -6), axis=-1)) < 0.5
    assert np.median(np.linalg.norm(flow[:5] - (8, -6), axis=-1)) < 0.5


def test_a_flat_area_moves_with_what_is_around_it():
    previous, current = view(), view(3, -2)
    previous[40:52, 50:62] = 0.5
    current[42:54, 47:59] = 0.5
    flow = np.asarray(MOTION(previous, current))
    assert np.linalg.norm(flow[45:51, 50:56] - (3, -2), axis=-1).max() < 1


def test_equal_frames_do_not_move_and_are_trusted_everywhere():
    flow = MOTION(view(), view())
    assert np.abs(flow).max() < 1e-3
    np.testing.assert_allclose(TRUST(view(), view(), flow), 1, atol=1e-3)


def test_pictures_of_one_colour_give_no_motion_but_numbers():
    black, white = np.zeros((40, 50, 3), np.float32), np.ones((40, 50, 3), np.float32)
    np.testing.assert_array_equal(MOTION(black, white), 0)


def test_warping_by_the_motion_brings_the_frames_together():
    previous, current = view(), view(5.3, -4.6)
    warped = WARP(previous, MOTION(previous, current))
    before, after = (inside((one - current) ** 2).mean() for one in (previous, warped))
    assert after < before / 100


def test_warping_takes_what_the_flow_points_to_and_repeats_the_border():
    rng = np.random.default_rng(0)
    image, flow = rng.random((13, 17, 2), np.float32), rng.uniform(-20, 20, (13, 17, 2)).astype(np.float32)
    y, x = np.mgrid[:13, :17]
    places = [y + flow[..., 1], x + flow[..., 0]]
    wanted = np.stack([map_coordinates(image[..., channel], places, 1, mode="nearest") for channel in (0, 1)], -1)
    np.testing.assert_allclose(WARP(image, flow), wanted, atol=1e-5)


def test_a_cut_is_not_trusted():
    previous, current = (noise(HEIGHT, WIDTH, seed).astype(np.float32) / 255 for seed in (0, 1))
    assert np.mean(TRUST(previous, current, MOTION(previous, current))) < 0.15


def test_what_moved_is_trusted_and_what_came_into_view_is_not():
    previous, current = view(), view(4, 0)
    current[40:60, 50:80] = noise(20, 30) / np.float32(255)
    trust = np.asarray(TRUST(previous, current, MOTION(previous, current)))
    assert trust.min() >= 0
    assert trust.max() <= 1
    assert trust[43:57, 53:77].mean() < 0.2
    assert np.median(inside(trust)[:, :30]) > 0.95


def test_what_the_flow_takes_from_outside_the_picture_is_not_trusted():
    flat = np.full((20, 30, 3), 0.5, np.float32)
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 3
    trust = np.asarray(TRUST(flat, flat, flow))
    np.testing.assert_array_equal(trust[:, -2:], 0)
    np.testing.assert_array_equal(trust[:, :-2], 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (33, 51), (16, 127), (31, 63)])
def test_any_size_down_to_16_pixels_gives_a_flow_of_its_size(height: int, width: int):
    frames = view(height=height, width=width), view(1, 0.5, height, width)
    flow = np.asarray(MOTION(*frames))
    assert flow.shape == (height, width, 2)
    assert np.median(np.linalg.norm(flow - (1, 0.5), axis=-1)) < 0.2
    assert TRUST(*frames, flow).shape == (height, width)


def test_levels_of_odd_sizes_do_not_shift_the_motion():
    assert off(MOTION(view(height=85, width=117), view(7, 5, 85, 117)), 7, 5) < 0.2


def test_the_scan_over_a_clip_gives_what_frame_by_frame_gives():
    frames = jnp.stack([view(1.5 * number, 0, 32, 48) for number in range(4)])

    def follow(previous: jax.Array, current: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        flow = optical_flow.estimate_flow(previous, current)
        return current, (flow, optical_flow.flow_confidence(previous, current, flow))

    _, (flows, trusts) = jax.jit(lambda clip: jax.lax.scan(follow, clip[0], clip[1:]))(frames)
    for number, (previous, current) in enumerate(pairwise(frames)):
        flow = MOTION(previous, current)
        np.testing.assert_allclose(flows[number], flow, atol=1e-3)
        np.testing.assert_allclose(trusts[number], TRUST(previous, current, flow), atol=1e-3)
