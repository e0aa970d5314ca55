"""Masks of video frames: equal to those of a photo, stable while nothing moves, and following motion."""

import functools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import MaskSpec, compose_masks, feather, to_one_hot
from msst_jax.regions.segmenter import Segmenter
from msst_jax.regions.selection import region_masks
from msst_jax.transfer.build import build_options
from msst_jax.video.temporal_masks import FrameMaskSpec, build_mask_spec, frame_masks, initial_mask_state
from tests.helpers.pictures import noise, quick_config, stripe
from tests.helpers.segmenters import CAT, PERSON, ColourSegmenter, animals, colour_segmenter, painted

NAMES = ("person", "cat", "background")
HEIGHT, WIDTH = 48, 64


class NoisySegmenter(ColourSegmenter):
    """Adds different noise to every frame of a batch; `amount` is relative to the difference between two classes."""

    def __init__(self, amount: float = 0.8):
        super().__init__()
        self.amount = amount

    def __call__(self, images: jax.Array) -> jax.Array:
        scores = super().__call__(images)
        return scores + self.amount * self.sharpness * jax.random.normal(jax.random.key(0), scores.shape)


def unscaled_segmenter(model: ColourSegmenter | None = None) -> Segmenter:
    """Segments frames at their own size, so that nothing is lost by resizing."""
    return Segmenter(model or ColourSegmenter(), "deeplabv3_resnet101", "weights", (lambda size: size,))


SHARP = unscaled_segmenter(ColourSegmenter(20.0))


def make_spec(
    segmenter: Segmenter | None, names=NAMES, given=(), size=(WIDTH, HEIGHT), **changes: Any
) -> FrameMaskSpec:
    settings = {"refine_edges": False, "feather": 0.0, "mask_smoothing": 0.0, **changes}
    options = build_options(quick_config(**settings))
    masks = MaskSpec(tuple(names), tuple(given), options.inputs.masks)
    return build_mask_spec(masks, segmenter, size, options.temporal.mask_smoothing)


@functools.cache
def compiled_frame_masks(spec: FrameMaskSpec, segmenter: Segmenter | None, keys: tuple[int, ...]) -> Callable[..., Any]:
    network = segmenter.model if segmenter else None
    return jax.jit(lambda photos, given, state: frame_masks(spec, network, photos, given, state, keys))


def compute_masks(
    spec: FrameMaskSpec,
    segmenter: Segmenter | None,
    photos: np.ndarray,
    given: np.ndarray | None = None,
    keys: tuple[int, ...] | None = None,
    state: Any = None,
) -> tuple[np.ndarray, Any]:
    """Masks (N, H, W, K) and the state after them, from uint8 photos and masks."""
    given = np.zeros((*photos.shape[:3], 0), np.uint8) if given is None else given
    keys = tuple(range(len(photos))) if keys is None else keys

    state = initial_mask_state(spec) if state is None else state
    found, _, state = compiled_frame_masks(spec, segmenter, keys)(
        photos.astype(np.float32) / 255, given.astype(np.float32) / 255, state
    )
    return np.asarray(found), state


def assert_sums_to_one(masks: np.ndarray) -> None:
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-5)
    assert masks.min() >= -1e-6


def textured(labels: np.ndarray, shift: int = 0, seed: int = 0) -> np.ndarray:
    """A frame that shows classes and motion: every labeled pixel moves with its own texture."""
    photo = painted(labels).astype(float) * 0.6
    grain = noise(*labels.shape, seed).mean(-1, keepdims=True)
    moving = np.roll(noise(*labels.shape, seed + 1).mean(-1, keepdims=True), shift, 1)
    return (photo + 0.35 * np.where(labels[..., None] > 0, moving, grain)).astype(np.uint8)


def square(left: int) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[14:34, left : left + 20] = PERSON
    return labels


@pytest.mark.parametrize(
    ("hard", "feather", "given"),
    [(False, 3.0, ()), (True, 3.0, ("cat",)), (True, 0.0, ()), (False, 0.0, ("cat", "person"))],
)
def test_masks_sum_to_one_at_every_pixel(hard: bool, feather: float, given: tuple[str, ...]):
    segmenter = unscaled_segmenter()
    spec = make_spec(segmenter, given=given, hard_masks=hard, feather=feather, refine_edges=True)
    photos = np.stack([noise(HEIGHT, WIDTH, seed) for seed in range(3)])
    files = np.stack([noise(HEIGHT, WIDTH, seed + 9)[..., : len(given)] for seed in range(3)])
    masks, _ = compute_masks(spec, segmenter, photos, files)
    assert masks.shape == (3, HEIGHT, WIDTH, 3)
    assert_sums_to_one(masks)


PLAIN = {"refine_edges": False, "feather": 0.0, "hard_masks": False}


def photo_masks(
    segmenter: Segmenter, photo: np.ndarray, claimed: Any = MappingProxyType({}), **more: Any
) -> np.ndarray:
    """The masks of a photo, computed from the functions of the photo pipeline."""
    config = {**PLAIN, **more}
    probabilities = class_probabilities(segmenter, photo / np.float32(255), refine=config["refine_edges"])
    names = [name for name in NAMES[:-1] if name not in claimed]
    taken = np.clip(sum(claimed.values()), 0, 1) if claimed else None
    found = region_masks(probabilities, names, claimed=taken, hard=config["hard_masks"], must_exist=False)
    masks = compose_masks({**claimed, **found}, NAMES, strict=False, shape=photo.shape[:2])
    masks = to_one_hot(masks) if config["hard_masks"] else masks
    return feather(masks, config["feather"] / 100 * max(photo.shape[:2]))


@pytest.mark.parametrize(
    ("given", "refine", "feather", "smoothing"),
    [(False, False, 4.0, 0.7), (False, True, 0.0, 0.0), (True, False, 0.0, 0.0), (True, True, 4.0, 0.0)],
)
def test_a_frame_gets_the_same_masks_as_a_photo(given: bool, refine: bool, feather: float, smoothing: float):
    segmenter = unscaled_segmenter()
    photo = (0.6 * painted(animals(HEIGHT, WIDTH)) + 0.3 * noise(HEIGHT, WIDTH)).astype(np.uint8)
    config = {"refine_edges": refine, "feather": feather, "hard_masks": False}
    spec = make_spec(segmenter, given=("cat",) if given else (), mask_smoothing=smoothing, **config)
    mask = ndimage.gaussian_filter(stripe(HEIGHT, WIDTH, 0.5, 1), 2)
    masks, _ = compute_masks(spec, segmenter, photo[None], mask[None, ..., None] if given else None)
    expected = photo_masks(segmenter, photo, {"cat": mask / np.float32(255)} if given else {}, **config)
    # A photo's probabilities are refined and normalized over all classes, a frame's over its regions.
    np.testing.assert_allclose(masks[0], expected, atol=0.04 if refine else 1e-4)
    assert np.abs(masks[0] - expected).mean() < 2e-3
    assert masks[0, ..., :2].max() > 0.5


def test_hard_masks_give_each_pixel_to_one_region_as_for_a_photo():
    segmenter = unscaled_segmenter()
    photo = (0.6 * painted(animals(HEIGHT, WIDTH)) + 0.3 * noise(HEIGHT, WIDTH)).astype(np.uint8)
    config = {"refine_edges": False, "feather": 0.0, "hard_masks": True}
    masks, _ = compute_masks(make_spec(segmenter, **config), segmenter, photo[None])
    assert set(np.unique(masks)) == {0, 1}
    assert (masks[0] != photo_masks(segmenter, photo, **config)).mean() < 0.01


def test_the_real_inference_scale_and_a_coarser_grid_find_the_same_regions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("msst_jax.video.temporal.GRID_SIDE", 80)
    segmenter = colour_segmenter()
    photo = painted(animals(120, 160))
    spec = make_spec(segmenter, size=(160, 120), mask_smoothing=0.7)
    assert spec.grid == (80, 60)
    masks, _ = compute_masks(spec, segmenter, photo[None])
    found = np.array([PERSON, CAT, 0])[masks[0].argmax(-1)]
    assert (found != np.where(np.isin(animals(120, 160), (PERSON, CAT)), animals(120, 160), 0)).mean() < 0.03


def flicker(masks: np.ndarray) -> float:
    return float(np.abs(np.diff(masks, axis=0)).mean())


def test_smoothing_reduces_flicker_of_still_frames_and_improves_the_masks():
    segmenter = unscaled_segmenter(NoisySegmenter())
    photos = np.stack([textured(square(20))] * 12)
    smoothed, _ = compute_masks(make_spec(segmenter, mask_smoothing=0.8), segmenter, photos)
    unsmoothed, _ = compute_masks(make_spec(segmenter), segmenter, photos)
    assert flicker(smoothed) < 0.4 * flicker(unsmoothed)
    truth = square(20) == PERSON
    assert np.abs(smoothed[-1, ..., 0] - truth).mean() < np.abs(unsmoothed[-1, ..., 0] - truth).mean()


def test_between_key_frames_masks_follow_the_motion():
    segmenter = SHARP
    photos = np.stack([textured(square(10 + 2 * step), 2 * step) for step in range(5)])
    masks, _ = compute_masks(make_spec(segmenter, mask_smoothing=0.7), segmenter, photos, keys=(0,))
    for step in range(5):
        truth = square(10 + 2 * step) == PERSON
        found = masks[step, ..., 0] > 0.5
        assert (found & truth).sum() / (found | truth).sum() > 0.8
    unmoved = masks[0, ..., 0] > 0.5
    assert (unmoved & (square(18) == PERSON)).sum() / (unmoved | (square(18) == PERSON)).sum() < 0.5


def test_between_key_frames_masks_follow_the_motion_even_without_smoothing():
    segmenter = SHARP
    photos = np.stack([textured(square(10 + 2 * step), 2 * step) for step in range(3)])
    masks, _ = compute_masks(make_spec(segmenter), segmenter, photos, keys=(0, 2))
    assert ((masks[1, ..., 0] > 0.5) == (square(12) == PERSON)).mean() > 0.95
    np.testing.assert_allclose(masks[2], photo_masks(segmenter, photos[2]), atol=1e-4)


def test_masks_of_a_scene_do_not_leak_into_the_next():
    segmenter = SHARP
    other = np.flip(painted(animals(HEIGHT, WIDTH)), 1) // 2 + noise(HEIGHT, WIDTH, 5) // 3
    photos = np.stack([textured(square(20))] * 3 + [other] * 2)
    spec = make_spec(segmenter, mask_smoothing=0.9)
    masks, _ = compute_masks(spec, segmenter, photos)
    alone = photo_masks(segmenter, other)
    assert np.abs(masks[3] - alone).mean() < 0.02
    assert np.abs(masks[2] - alone).mean() > 0.1


def test_a_scene_cut_between_key_frames_is_corrected_at_the_next_key_frame():
    segmenter = SHARP
    other = np.flip(painted(animals(HEIGHT, WIDTH)), 1) // 2 + noise(HEIGHT, WIDTH, 5) // 3
    photos = np.stack([textured(square(20))] + [other] * 3)
    spec = make_spec(segmenter, mask_smoothing=0.9)
    before, state = compute_masks(spec, segmenter, photos[:2], keys=(0,))
    after, _ = compute_masks(spec, segmenter, photos[2:], keys=(0,), state=state)
    alone = photo_masks(segmenter, other)
    assert np.abs(before[1] - alone).mean() > 0.1
    assert np.abs(after - alone).mean() < 0.02


def test_consecutive_batches_equal_a_single_batch():
    photos = np.stack([textured(square(10 + step), step) for step in range(4)])
    spec = make_spec(SHARP, mask_smoothing=0.9)
    single, _ = compute_masks(spec, SHARP, photos, keys=(0, 2))
    first, state = compute_masks(spec, SHARP, photos[:2], keys=(0,))
    second, _ = compute_masks(spec, SHARP, photos[2:], keys=(0,), state=state)
    np.testing.assert_allclose(np.concatenate([first, second]), single, atol=1e-4)


def test_given_masks_are_used_frame_by_frame_without_a_network():
    given = np.stack([stripe(HEIGHT, WIDTH, 0, 0.3), stripe(HEIGHT, WIDTH, 0.3, 0.6)])[..., None]
    spec = make_spec(None, names=("background", "dog"), given=("dog",), mask_smoothing=0.7)
    masks, _ = compute_masks(spec, None, np.zeros((2, HEIGHT, WIDTH, 3), np.uint8), given)
    np.testing.assert_allclose(masks[..., 1], given[..., 0] / 255, atol=1e-6)
    np.testing.assert_allclose(masks[..., 0], 1 - given[..., 0] / 255, atol=1e-6)


def test_overlapping_given_masks_share_pixels():
    given = np.stack([stripe(HEIGHT, WIDTH, 0, 0.5), stripe(HEIGHT, WIDTH, 0.25, 1)], -1)[None]
    masks, _ = compute_masks(
        make_spec(None, given=("person", "cat")), None, np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), given
    )
    np.testing.assert_allclose(masks[0, 0, WIDTH * 3 // 8], [0.5, 0.5, 0], atol=1e-6)
    assert_sums_to_one(masks)


def test_a_single_background_region_covers_every_frame():
    masks, _ = compute_masks(make_spec(None, names=("background",)), None, np.zeros((2, HEIGHT, WIDTH, 3), np.uint8))
    np.testing.assert_array_equal(masks, jnp.ones((2, HEIGHT, WIDTH, 1)))
