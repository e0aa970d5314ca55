"""Known motions are recovered, warping follows them, and confidence is low where frames do not match."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from msst_jax.ops import optical_flow
from tests.helpers.pictures import noise

FLOW, WARP, CONFIDENCE = (
    jax.jit(function) for function in (optical_flow.estimate_flow, optical_flow.warp, optical_flow.flow_confidence)
)
HEIGHT, WIDTH = 96, 128


def view(dx: float = 0, dy: float = 0, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A window onto an infinite image of waves, moved right by dx pixels and down by dy, exactly."""
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


def flow_error(flow: jax.Array, dx: float, dy: float) -> float:
    """Median distance from the true flow, in pixels."""
    return float(np.median(np.linalg.norm(inside(flow) - (dx, dy), axis=-1)))


@pytest.mark.parametrize(("dx", "dy"), [(0.4, -0.3), (-0.75, 0.5), (1.3, 0.0)])
def test_subpixel_motion_points_to_the_previous_position(dx: float, dy: float):
    assert flow_error(FLOW(view(), view(dx, dy)), dx, dy) < 0.05


@pytest.mark.parametrize(("dx", "dy"), [(6.0, 0.0), (0.0, -8.0), (-7.5, 6.5), (10.0, 3.0)])
def test_large_motion_is_recovered_coarse_to_fine(dx: float, dy: float):
    assert flow_error(FLOW(view(), view(dx, dy)), dx, dy) < 0.2


def test_an_object_moving_differently_keeps_its_own_flow():
    previous, current = view(), view(2, 0)
    previous[30:66, 40:88], current[30:66, 40:88] = view(seed=1)[30:66, 40:88], view(-2, 1, seed=1)[30:66, 40:88]
    flow = np.asarray(FLOW(previous, current))
    assert np.median(np.linalg.norm(flow[36:60, 46:82] - (-2, 1), axis=-1)) < 0.2
    assert np.median(np.linalg.norm(flow[:, :30] - (2, 0), axis=-1)) < 0.2


def test_camera_noise_hardly_changes_the_flow():
    rng = np.random.default_rng(3)
    frames = [frame + rng.normal(0, 0.015, frame.shape).astype(np.float32) for frame in (view(), view(3, 1))]
    assert flow_error(FLOW(*frames), 3, 1) < 0.2


def test_specks_in_single_frames_hardly_change_the_flow():
    frames = view(), view(3, 1)
    rng = np.random.default_rng(4)
    for frame in frames:
        frame[rng.random((HEIGHT, WIDTH)) < 0.005] = 1
    assert np.linalg.norm(inside(FLOW(*frames)) - (3, 1), axis=-1).mean() < 0.18


def test_pixels_entering_at_the_border_take_the_flow_beside_them():
    flow = np.asarray(FLOW(view(), view(8, -6)))
    assert np.median(np.linalg.norm(flow[:, -7:] - (8, -6), axis=-1)) < 0.5
    assert np.median(np.linalg.norm(flow[:5] - (8, -6), axis=-1)) < 0.5


def test_a_flat_area_takes_the_flow_around_it():
    previous, current = view(), view(3, -2)
    previous[40:52, 50:62] = 0.5
    current[42:54, 47:59] = 0.5
    flow = np.asarray(FLOW(previous, current))
    assert np.linalg.norm(flow[45:51, 50:56] - (3, -2), axis=-1).max() < 1


def test_equal_frames_have_zero_flow_and_full_confidence():
    flow = FLOW(view(), view())
    assert np.abs(flow).max() < 1e-3
    np.testing.assert_allclose(CONFIDENCE(view(), view(), flow), 1, atol=1e-3)


def test_frames_of_one_color_have_zero_flow_and_no_nan():
    black, white = np.zeros((40, 50, 3), np.float32), np.ones((40, 50, 3), np.float32)
    np.testing.assert_array_equal(FLOW(black, white), 0)


def test_warping_by_the_flow_aligns_the_frames():
    previous, current = view(), view(5.3, -4.6)
    warped = WARP(previous, FLOW(previous, current))
    before, after = (inside((one - current) ** 2).mean() for one in (previous, warped))
    assert after < before / 100


def test_warp_samples_bilinearly_and_clamps_to_the_border():
    rng = np.random.default_rng(0)
    image, flow = rng.random((13, 17, 2), np.float32), rng.uniform(-20, 20, (13, 17, 2)).astype(np.float32)
    y, x = np.mgrid[:13, :17]
    positions = [y + flow[..., 1], x + flow[..., 0]]
    expected = np.stack([map_coordinates(image[..., channel], positions, 1, mode="nearest") for channel in (0, 1)], -1)
    np.testing.assert_allclose(WARP(image, flow), expected, atol=1e-5)


def test_confidence_is_low_across_a_scene_cut():
    previous, current = (noise(HEIGHT, WIDTH, seed).astype(np.float32) / 255 for seed in (0, 1))
    assert np.mean(CONFIDENCE(previous, current, FLOW(previous, current))) < 0.15


def test_confidence_is_high_for_moved_and_low_for_newly_visible_pixels():
    previous, current = view(), view(4, 0)
    current[40:60, 50:80] = noise(20, 30) / np.float32(255)
    confidence = np.asarray(CONFIDENCE(previous, current, FLOW(previous, current)))
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert confidence[43:57, 53:77].mean() < 0.2
    assert np.median(inside(confidence)[:, :30]) > 0.95


def test_confidence_is_zero_where_the_flow_leaves_the_frame():
    flat = np.full((20, 30, 3), 0.5, np.float32)
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 3
    confidence = np.asarray(CONFIDENCE(flat, flat, flow))
    np.testing.assert_array_equal(confidence[:, -2:], 0)
    np.testing.assert_array_equal(confidence[:, :-2], 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (33, 51), (16, 127), (31, 63)])
def test_any_frame_size_down_to_16_pixels_works(height: int, width: int):
    frames = view(height=height, width=width), view(1, 0.5, height, width)
    flow = np.asarray(FLOW(*frames))
    assert flow.shape == (height, width, 2)
    assert np.median(np.linalg.norm(flow - (1, 0.5), axis=-1)) < 0.2
    assert CONFIDENCE(*frames, flow).shape == (height, width)


def test_pyramid_levels_of_odd_size_do_not_shift_the_flow():
    assert flow_error(FLOW(view(height=85, width=117), view(7, 5, 85, 117)), 7, 5) < 0.2


def test_a_scan_over_a_video_equals_frame_by_frame_calls():
    frames = jnp.stack([view(1.5 * number, 0, 32, 48) for number in range(4)])

    def step(previous: jax.Array, current: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        flow = optical_flow.estimate_flow(previous, current)
        return current, (flow, optical_flow.flow_confidence(previous, current, flow))

    _, (flows, confidences) = jax.jit(lambda video: jax.lax.scan(step, video[0], video[1:]))(frames)
    for number, (previous, current) in enumerate(pairwise(frames)):
        flow = FLOW(previous, current)
        np.testing.assert_allclose(flows[number], flow, atol=1e-3)
        np.testing.assert_allclose(confidences[number], CONFIDENCE(previous, current, flow), atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(4320, 7680), (1, 40000), (40000, 40000)])
def test_places_of_pixels_are_exact_at_any_size(height: int, width: int):
    y, x = (np.array([0, side // 2, side - 1], np.float32) for side in (height, width))
    expected = [int(row) * width + int(column) for row, column in zip(y, x, strict=True)]
    assert np.asarray(optical_flow._pixel_index(x, y, width)).tolist() == expected


def test_no_flow_is_the_identity_on_a_long_row():
    image = np.arange(40000, dtype=np.float32).reshape(1, -1, 1)
    np.testing.assert_array_equal(WARP(image, np.zeros((1, 40000, 2), np.float32)), image)
