"""Flow-warped recursive smoothing: what a frame keeps from the previous one."""

import jax.numpy as jnp
import numpy as np

from msst_jax.ops.optical_flow import estimate_flow, flow_confidence
from msst_jax.video.temporal import blend_recursive, estimate_motion, flow_grid
from tests.helpers.pictures import noise


def still(frames: int, height: int = 16, width: int = 20) -> jnp.ndarray:
    """The zero flow of frames in which nothing moves."""
    return jnp.zeros((frames, height, width, 2))


def test_each_result_blends_the_new_frame_with_the_previous_result():
    new = jnp.stack([jnp.full((16, 20, 1), value) for value in (0.0, 1.0, 1.0)])
    previous = jnp.full((16, 20, 1), 0.8)
    blended = blend_recursive(still(3), jnp.full((3, 16, 20), 0.25), previous, new)
    np.testing.assert_allclose(blended[:, 8, 8, 0], [0.2, 0.8, 0.95], atol=1e-6)


def test_nothing_is_kept_where_the_weight_is_zero():
    weights = jnp.zeros((1, 16, 20)).at[:, :, 10:].set(1.0)
    blended = blend_recursive(still(1), weights, jnp.ones((16, 20, 1)), jnp.zeros((1, 16, 20, 1)))
    np.testing.assert_array_equal(blended[0, :, :10], 0)
    np.testing.assert_array_equal(blended[0, :, 10:], 1)


def test_flow_of_downscaled_frames_is_scaled_to_full_size():
    previous = jnp.zeros((32, 40, 1)).at[10:14, 20:24].set(1.0)
    flows = still(1).at[..., 0].set(-2.0)  # everything was 2 pixels further left and has moved right
    moved = blend_recursive(flows, jnp.ones((1, 16, 20)), previous, jnp.zeros((1, 32, 40, 1)))
    np.testing.assert_allclose(moved[0], jnp.zeros((32, 40, 1)).at[10:14, 24:28].set(1.0), atol=1e-5)


def test_motion_is_estimated_against_the_previous_frame():
    frames = [noise(24, 32, seed).astype(np.float32) / 255 for seed in range(3)]
    found = estimate_motion(jnp.stack(frames[1:]), jnp.asarray(frames[0]))
    for index in (0, 1):
        flow = estimate_flow(jnp.asarray(frames[index]), jnp.asarray(frames[index + 1]))
        np.testing.assert_allclose(found.flows[index], flow, atol=1e-3)
        wanted = flow_confidence(jnp.asarray(frames[index]), jnp.asarray(frames[index + 1]), flow)
        np.testing.assert_allclose(found.confidences[index], wanted, atol=1e-3)


def test_the_flow_grid_keeps_the_aspect_ratio_and_never_enlarges():
    assert flow_grid((1920, 1080)) == (384, 216)
    assert flow_grid((100, 60)) == (100, 60)
    assert flow_grid((4000, 40)) == (384, 16)
