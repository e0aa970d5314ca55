"""A video over several devices: each runs the networks on its own frames, and the pictures are those of one device."""

import math

import jax
import pytest

from msst_jax.ops.batch_split import split_batch
from msst_jax.video.feedforward import frames_of_device
from msst_jax.video.key_segmentation import key_segmenter
from tests.helpers.commands import run_comparison
from tests.helpers.frame_shares import CASES, DEVICES, HEIGHT, WIDTH
from tests.video.test_temporal_masks import make_spec


def assert_as_one(*names: str) -> None:
    """The pictures, and what the programs compute and exchange."""
    for name, found in zip(names, run_comparison("frame_shares", *names), strict=True):
        assert found["difference"] <= 1, found
        assert found["differing"] < 1e-3, found
        assert found["shares"] < 1e-4, found
        assert found["spread"] > 10, found  # there is a picture
        assert found["convolutions"] == [CASES[name].batch // DEVICES], found
        assert {*found["exchanged"]} <= {"collective-permute", "all-reduce"}, found  # nothing is gathered
        assert max(found["exchanged"].values()) <= HEIGHT * WIDTH * 3, found


def test_devices_share_the_frames_and_exchange_no_more_than_a_picture_at_a_time():
    assert_as_one("some_frames")


@pytest.mark.slow
def test_devices_share_frames_whatever_segments_them_and_whatever_is_smoothed():
    assert_as_one(*(name for name in CASES if name != "some_frames"))


@pytest.mark.parametrize(
    ("most", "every", "devices", "frames", "expected"),
    [
        (16, 1, 1, 10, 16),  # as without other devices
        (16, 1, 4, None, 16),
        (16, 1, 4, 10_000, 16),
        (16, 1, 4, 10, 3),  # all of them have some
        (16, 1, 4, 89, 12),  # of two batches, instead of 16 and a second one that is mostly padding
        (16, 4, 4, 10, 4),  # key frames lie at the same places
        (15, 5, 4, 89, 15),
        (10, 20, 4, 30, 8),
    ],
)
def test_a_short_video_keeps_all_devices_at_work(most, every, devices, frames: int | None, expected: int):
    assert frames_of_device(most, every, devices, frames) == expected


@pytest.mark.parametrize("every", [1, 3, 4])
@pytest.mark.parametrize("frames", [*range(1, 70), 1000])
def test_shares_are_no_larger_than_memory_allows_and_batches_no_more(every: int, frames: int):
    most = 12
    share = frames_of_device(most, every, DEVICES, frames)
    assert 1 <= share <= most
    assert share % every == 0
    assert math.ceil(frames / (share * DEVICES)) == math.ceil(frames / (most * DEVICES))


def test_one_program_segments_the_places_of_the_key_frames_of_any_device():
    split = split_batch(jax.devices())
    of_network = key_segmenter(None, make_spec(None, given=("person", "cat")), split)._replace(definition=object())
    assert of_network.places((0, 5, 10), 12) == (0, 1, 2)
    assert of_network.places((0, 6), 12) == (0,)
    assert of_network.places((), 12) == ()
    on_host = of_network._replace(definition=None)
    assert on_host.places((4,), 12) == (0, 1, 2)  # what was found has a place for every frame
    assert on_host._replace(split=None).places((4, 8), 12) == (4, 8)
