"""Batches of feed-forward video: key frames are independent of the batch size."""

import pytest

from msst_jax.video import feedforward
from msst_jax.video.feedforward import frames_per_batch
from msst_jax.video.temporal_masks import key_frames


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7, 16, 17])
def test_every_nth_frame_is_segmented_whatever_the_batch_size(every: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feedforward, "MAX_BATCH", 16)
    batch = frames_per_batch([(64, 48)], every)
    assert 1 <= batch <= 16
    keys = [number * batch + key for number in range(40) for key in key_frames(number, batch, every)]
    assert keys == list(range(0, 40 * batch, every))
    assert len({key_frames(number, batch, every) for number in range(40)}) <= 2  # the number of compiled programs


@pytest.mark.parametrize("every", [1, 4, 5, 40])
@pytest.mark.parametrize("size", [(64, 48), (1280, 720), (3840, 2160)])
def test_batches_grow_with_the_free_memory_of_an_accelerator_to_a_bound(size: tuple[int, int], every: int):
    without = frames_per_batch([size], every)
    lengths = [frames_per_batch([size], every, free) for free in (0, 10**9, 2 * 10**10, 10**11, 10**13)]
    assert lengths == sorted(lengths)
    assert lengths[0] == without
    for length, free in zip(lengths, (0, 10**9, 2 * 10**10, 10**11, 10**13), strict=True):
        fits = length * size[0] * size[1] * feedforward.BYTES_OF_A_PIXEL <= feedforward.FREE_SHARE * free
        assert length == without or (fits and length <= feedforward.MAX_ACCELERATOR_BATCH)
        assert length % every == 0 or every % length == 0
    assert lengths[-1] == {1: 32, 4: 32, 5: 30, 40: 20}[every]
