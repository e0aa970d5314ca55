"""A model for any painting with some paintings is the fast model of their styles."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from msst_jax.models.any_model import StyleSource, load_predictor_vgg, painting_side, with_paintings
from msst_jax.models.feedforward_model import FeedforwardModel, is_for_any_painting, load_feedforward
from msst_jax.models.style_predictor import style_moments
from msst_jax.registry import ARCHITECTURE
from reference.stylizer_cases import random_masks
from tests.helpers.pictures import noise

SIZE = (28, 36)


@pytest.fixture(scope="module")
def opened(any_model: Path) -> FeedforwardModel:
    return load_feedforward(str(any_model))


def painting(seed: int) -> np.ndarray:
    return noise(*SIZE, seed) / np.float32(255)


def table_of(model: FeedforwardModel, *sources: tuple[Sequence[int], Sequence[float]]) -> np.ndarray:
    """The style vectors of paintings by seed, with their shares."""
    given = {
        f"region{number}": StyleSource("a", [painting(seed) for seed in seeds], shares)
        for number, (seeds, shares) in enumerate(sources)
    }
    return np.asarray(with_paintings(model, given).network.table[...])


def test_a_model_with_paintings_is_a_fast_model_that_paints_as_the_model_for_any_painting(opened: FeedforwardModel):
    sources = {
        "cat": StyleSource("a.png", [painting(1)], [1.0]),
        "background": StyleSource("b.png", [painting(2)], [1]),
    }
    model = with_paintings(opened, sources)
    assert (model.regions, model.styles) == (("cat", "background"), ("a.png", "b.png"))
    assert (model.architecture, model.for_any_painting, model.path) == (ARCHITECTURE, False, opened.path)
    vgg = load_predictor_vgg()
    moments = np.stack([jax.jit(style_moments)(vgg, painting(seed)) for seed in (1, 2)])
    images, masks = noise(18, 21)[None] / np.float32(128) - 1, random_masks(1, 2, (18, 21))
    expected = jax.jit(lambda network, *inputs: network(*inputs))(opened.network, images, masks, moments[None])
    ours = jax.jit(lambda network, *inputs: network(*inputs))(model.network, images, masks)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_a_painting_given_twice_counts_once_and_shares_move_the_style_from_one_to_the_other(opened: FeedforwardModel):
    one, twice, other, mostly, half = table_of(
        opened, ([1], [1.0]), ([1, 1], [0.3, 0.7]), ([2], [1.0]), ([1, 2], [0.9, 0.1]), ([1, 2], [0.5, 0.5])
    )
    np.testing.assert_allclose(twice, one, rtol=0, atol=1e-5)
    apart = np.linalg.norm(other - one)
    assert apart > 0.1
    assert 0 < np.linalg.norm(mostly - one) < np.linalg.norm(half - one) < apart
    assert np.linalg.norm(half - other) < apart


def test_paintings_are_seen_at_the_scale_of_the_training(opened: FeedforwardModel):
    assert painting_side(opened) == round(1.75 * opened.training["style_size"])


def test_which_models_need_paintings_is_known_without_reading_their_weights(model: Path, any_model: Path):
    assert is_for_any_painting(str(any_model))
    assert not is_for_any_painting(str(model))
