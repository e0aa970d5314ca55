"""Masks as bytes: their sum stays exact, and the loss sees them as floats."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msst_jax.training.data.mask_bytes import to_bytes, with_float_masks
from msst_jax.training.step import AXIS, init_train_state, make_train_step
from tests.helpers.training_runs import line_task


@pytest.mark.parametrize("regions", [1, 2, 3, 21])
def test_the_bytes_of_a_pixel_sum_to_255_and_are_within_a_level_of_the_mask(regions: int):
    masks = np.random.default_rng(0).dirichlet([0.3] * regions, (40, 40)).astype(np.float32)
    found = to_bytes(masks)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found.sum(-1, dtype=int), 255)
    np.testing.assert_allclose(found / 255, masks, atol=1.001 / 255)


def test_masks_from_8_bits_are_kept_exactly_with_their_rest_and_padding_stays_empty():
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    masks = np.stack([levels, 1 - levels], -1)
    np.testing.assert_array_equal(to_bytes(masks), np.stack([np.arange(256), 255 - np.arange(256)], -1))
    np.testing.assert_array_equal(to_bytes(masks[:, ::-1]), np.stack([255 - np.arange(256), np.arange(256)], -1))
    assert not to_bytes(np.zeros((4, 4, 3), np.float32)).any()


def test_rounding_below_zero_does_not_wrap_around():
    """The rest of 1 may be a hair below 0."""
    masks = np.array([[101.5 / 255, -1e-7, 1 - 101.5 / 255], [0.0, 1.0, -1e-7], [-1e-7, 1.0, 0.0]], np.float32)
    found = to_bytes(masks)
    assert found[:, 1].tolist() == [0, 255, 255]
    np.testing.assert_array_equal(found.sum(-1, dtype=int), 255)


def test_the_loss_of_a_step_gets_float_masks_of_sum_1_whatever_the_wire_carries():
    seen = []

    def loss(params, frozen, batch, key):
        seen.append(batch)
        return jnp.mean(batch["masks"]), {}

    state = init_train_state(line_task(), optax.sgd(0.1), 0)
    step = make_train_step(loss, optax.sgd(0.1), 0.9)
    photos, masks = np.zeros((1, 2, 4, 4, 3), np.uint8), np.full((1, 2, 4, 4, 1), 255, np.uint8)
    _, metrics = jax.pmap(step, AXIS, in_axes=(None, None, 0), devices=jax.local_devices()[:1])(
        state, {}, {"photo": photos, "masks": masks}
    )
    assert seen[0]["masks"].dtype == jnp.float32
    assert seen[0]["photo"].dtype == jnp.uint8
    assert metrics["loss"].tolist() == [1.0]


def test_float_masks_and_batches_without_masks_pass_unchanged():
    masks = np.full((2, 3), 0.3, np.float32)
    assert with_float_masks({"masks": masks})["masks"] is masks
    assert with_float_masks({"x": 1}) == {"x": 1}
