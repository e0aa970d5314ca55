"""Batches of photos and masks: reproducible, equal on any number of hosts, and exactly resumable."""

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.training.data.augment import CropOptions, random_crop
from msst_jax.training.data.pipeline import held_out_indices
from tests.helpers.training_data import NAMES, SIZE, GrayPhotos, batches, gray_examples, photo_indices, unmasked


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for field in ("photo", "masks"):
        np.testing.assert_array_equal(one[field], other[field])


def test_a_batch_has_five_bytes_a_pixel_for_two_regions_and_masks_that_sum_to_255():
    batch = next(batches(gray_examples(10)))
    assert (batch["photo"].shape, batch["photo"].dtype) == ((4, SIZE, SIZE, 3), np.uint8)
    assert (batch["masks"].shape, batch["masks"].dtype) == ((4, SIZE, SIZE, 2), np.uint8)
    np.testing.assert_array_equal(batch["masks"].sum(-1), 255)
    assert sum(field.nbytes for field in batch.values()) == 5 * 4 * SIZE * SIZE


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_batches_of_all_hosts_joined_equal_those_of_one_host(hosts: int):
    whole = batches(gray_examples(13))
    shares = [batches(gray_examples(13), hosts=hosts, host=host) for host in range(hosts)]
    for _ in range(7):
        parts = [next(share) for share in shares]
        joined = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
        assert_same(joined, next(whole))


def draw_number(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"number": rng.integers(1000, size=2)}


def numbers_of(batch: dict[str, np.ndarray]) -> list[list[int]]:
    return [*zip(photo_indices(batch), batch["number"].tolist(), strict=True)]


def test_what_a_task_draws_for_a_photo_is_the_same_on_any_number_of_hosts_and_after_a_resume():
    whole, first, second = (
        batches(gray_examples(13), hosts=hosts, host=host, draw=draw_number) for hosts, host in ((1, 0), (2, 0), (2, 1))
    )
    drawn = [numbers_of(next(whole)) for _ in range(3)]
    assert [numbers_of(next(first)) + numbers_of(next(second)) for _ in range(3)] == drawn
    assert len({tuple(numbers) for batch in drawn for _, numbers in batch}) == 12
    again = batches(gray_examples(13), draw=draw_number)
    again.set_state(whole.get_state())
    assert numbers_of(next(again)) == numbers_of(next(whole))


def test_the_crops_of_a_task_that_draws_are_those_of_one_that_does_not():
    assert_same(next(batches(gray_examples(13), draw=draw_number)), next(batches(gray_examples(13))))


def test_every_photo_occurs_once_per_epoch_in_an_order_that_changes():
    batch = batches(gray_examples(8))
    epochs = [photo_indices(next(batch)) + photo_indices(next(batch)) for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 3
    assert epochs[0] != epochs[1]


def test_the_seed_determines_the_order_and_the_crops():
    first, second, other = (batches(gray_examples(20), seed=seed) for seed in (1, 1, 2))
    one = next(first)
    assert_same(one, next(second))
    assert photo_indices(one) != photo_indices(next(other))


def test_the_crops_of_a_photo_differ_from_epoch_to_epoch():
    one = batches(gray_examples(1), batch=1)
    assert not np.array_equal(next(one)["masks"], next(one)["masks"])


@pytest.mark.parametrize("workers", [1, 3])
def test_resuming_is_exact_at_any_position_whatever_was_prefetched(workers: int):
    whole = batches(gray_examples(11))
    expected = [next(whole) for _ in range(9)]
    for count in (0, 1, 4):
        first = batches(gray_examples(11))
        for _ in range(count):
            next(first)
        second = batches(gray_examples(11), workers=workers)
        second.set_state(first.get_state())
        for batch in expected[count:]:
            assert_same(next(second), batch)


def test_the_position_of_one_host_is_valid_for_another():
    """Only the first host writes checkpoints; all hosts read them."""
    first, second = (batches(gray_examples(11), hosts=2, host=host) for host in (0, 1))
    for _ in range(3):
        next(first), next(second)
    again = batches(gray_examples(11), hosts=2, host=1)
    again.set_state(first.get_state())
    assert_same(next(again), next(second))


@pytest.mark.parametrize(("count", "wanted", "expected"), [(1, 4, []), (9, 4, []), (10, 4, [0]), (25, 4, [0, 12])])
def test_at_most_a_tenth_of_the_photos_is_held_out(count: int, wanted: int, expected: list[int]):
    assert held_out_indices(count, wanted) == expected


def test_held_out_photos_are_spread_evenly_and_never_twice():
    assert held_out_indices(2000, 4) == [0, 500, 1000, 1500]


def test_held_out_photos_are_never_trained_on():
    out = held_out_indices(40, 4)
    inside = [index for index in range(40) if index not in out]
    batch = batches(gray_examples(40, inside))
    seen = {index for _ in range(30) for index in photo_indices(next(batch))}
    assert seen == set(inside)


class DamagedPhotos(GrayPhotos):
    """Gray photos of which some cannot be read."""

    def __init__(self, count: int, bad: set[int]):
        super().__init__(count)
        self.bad = bad

    def read(self, index: int) -> Image.Image:
        if index in self.bad:
            raise UserError(f"photo {index}.png is damaged")
        return super().read(index)


def test_damaged_photos_are_replaced_by_the_next_and_reported_once(caplog: pytest.LogCaptureFixture):
    source = unmasked(DamagedPhotos(8, {2, 3}), range(8))
    batch = batches(source)
    seen = [index for _ in range(6) for index in photo_indices(next(batch))]
    assert set(seen) == {0, 1, 4, 5, 6, 7}
    assert source.damaged.keys() == {2, 3}
    for index in (2, 3):
        assert f"left out: photo {index}.png is damaged" in caplog.text


def test_the_replacement_of_a_damaged_photo_does_not_depend_on_the_reading_order():
    source = unmasked(DamagedPhotos(8, {2, 3}), range(8))
    first = [photo_indices({"photo": np.asarray(source[position]["photo"])[None]}) for position in range(8)]
    again = [photo_indices({"photo": np.asarray(source[position]["photo"])[None]}) for position in reversed(range(8))]
    assert first == again[::-1]
    assert first == [[0], [1], [4], [4], [4], [5], [6], [7]]


def test_without_a_readable_photo_the_error_says_so():
    source = unmasked(DamagedPhotos(3, {0, 1, 2}), range(3))
    with pytest.raises(UserError, match=r"^none of the 3 photos can be read; give a folder of images that can$"):
        source[1]


def test_photos_smaller_than_the_crop_are_enlarged_and_counted():
    source = gray_examples(3, size=16)
    crop = random_crop(source[0], np.random.default_rng(0), CropOptions(16, 0.6), NAMES)
    assert crop["photo"].shape == (16, 16, 3)
    assert source.small == {0}
    assert not gray_examples(3, size=12).small
