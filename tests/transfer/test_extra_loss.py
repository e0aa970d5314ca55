"""A loss of the user's own gets the features that the method has computed, and joins the terms of the method."""

from typing import Any

import jax
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.losses.objective import Features
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.objective import ExtraLoss, build_objective, scale_scene
from msst_jax.transfer.optimization import StylizationResult, stylize
from tests.helpers.pictures import noise, quick_config, stripe

NETWORK = load_vgg("vgg16", ["relu2_1"], padding="replicate")[0]
PHOTO = noise(24, 32) / np.float32(255)


def photo_inputs() -> PhotoInputs:
    left = stripe(24, 32, 0, 0.4)[..., None] / np.float32(255)
    regions = tuple(Region(name, (Painting(noise(24, 24, seed) / np.float32(255)),)) for seed, name in enumerate("ab"))
    return PhotoInputs(PHOTO, np.concatenate([left, 1 - left], -1), regions)


def run(extra_loss: ExtraLoss, **changes: Any) -> StylizationResult:
    options = build_options(quick_config(steps=1, **changes))
    return stylize(options, NETWORK, photo_inputs(), [options.weights()], extra_loss=extra_loss)


@pytest.mark.parametrize(("guided", "images"), [(True, 1), (False, 2)])
def test_the_features_are_those_of_the_images_and_of_the_result(guided: bool, images: int):
    shapes: dict[str, tuple[int, ...]] = {}

    def means(pixels: jax.Array, result: jax.Array, features: Features) -> dict[str, jax.Array]:
        shapes.update(pixels=pixels.shape, result=result.shape)
        shapes.update({f"pixels {layer}": value.shape for layer, value in features.pixels.items()})
        return {"styled": features.pixels["relu1_1"].mean(), "composed": features.result["relu2_1"].mean()}

    losses = run(means, guided=guided).losses[0]
    assert shapes["pixels"] == (images, 24, 32, 3)
    assert shapes["result"] == (24, 32, 3)
    assert (shapes["pixels relu1_1"], shapes["pixels relu2_1"]) == ((images, 24, 32, 64), (images, 12, 16, 128))
    own = NETWORK(normalize(PHOTO)[None], ["relu1_1", "relu2_1"])  # the optimization starts from the photo
    np.testing.assert_allclose(losses["styled"], own["relu1_1"].mean(), rtol=1e-4)
    np.testing.assert_allclose(losses["composed"], own["relu2_1"].mean(), rtol=1e-4)


@pytest.mark.parametrize("guided", [True, False])
def test_no_image_goes_through_vgg_again_for_an_own_loss(guided: bool, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, ...]] = []
    forward = VGG.__call__

    def counted(self: VGG, images: jax.Array, taps: Any) -> Any:
        seen.append(images.shape)
        return forward(self, images, taps)

    def images_seen(extra_loss: ExtraLoss | None) -> list[tuple[int, ...]]:
        """The shapes of what one evaluation takes through VGG."""
        options = build_options(quick_config(guided=guided))
        weights = jax.tree.map(lambda value: np.full(1, value, np.float32), options.weights())
        loss, _ = build_objective(options, NETWORK, scale_scene(photo_inputs(), 1.0), weights, extra_loss)
        seen.clear()
        jax.eval_shape(loss, np.stack([PHOTO] * options.image_count(2)), options.weights())
        return sorted(seen)

    monkeypatch.setattr(VGG, "__call__", counted)
    alone = images_seen(None)
    assert alone
    assert images_seen(lambda _pixels, _result, features: features.result["relu2_1"].mean()) == alone


def test_a_scalar_is_recorded_as_a_term_and_an_array_is_refused():
    losses = run(lambda pixels, _result, _features: pixels.mean()).losses[0]
    assert losses["extra"] == pytest.approx([PHOTO.mean()], rel=1e-5)
    terms = [values[0] for name, values in losses.items() if name != "total"]
    assert sum(terms) == pytest.approx(losses["total"][0], rel=1e-5)
    with pytest.raises(UserError, match=r"'map' of shape \(24, 32\); a term is a scalar"):
        run(lambda _pixels, result, _features: {"map": result.mean(-1)})


def test_remat_still_takes_an_own_loss_and_says_that_it_keeps_no_features():
    settings = {"guided": False, "remat": True}
    assert "extra" in run(lambda pixels, _result, _features: pixels.mean(), **settings).losses[0]
    with pytest.raises(UserError, match=r"the features of relu2_1, which config\.remat=True does not keep"):
        run(lambda _pixels, _result, features: features.result["relu2_1"].mean(), **settings)
