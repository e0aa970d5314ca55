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
