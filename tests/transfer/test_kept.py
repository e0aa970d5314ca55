"""Regions that are left the photo: they have no style, and the losses see the final picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.losses.functional import content_loss
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.kept import kept_photo, put_back
from msst_jax.transfer.objective import build_objective, scale_scene
from msst_jax.transfer.optimization import stylize
from tests.helpers.pictures import noise, quick_config


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_vgg("vgg16", ["relu2_1"])[0]


@pytest.fixture(scope="module")
def inputs() -> PhotoInputs:
    """A soft edge at a third of the width: the person on the left has a style, the background none."""
    right = np.tile(np.clip((np.arange(45) - 12) / 5, 0, 1).astype(np.float32), (37, 1))[..., None]
    regions = (Region("person", (Painting(noise(33, 41, 1) / np.float32(255)),)), Region("background", ()))
    return PhotoInputs(noise(37, 45) / np.float32(255), np.concatenate([1 - right, right], -1), regions)


def terms(vgg: VGG, inputs: PhotoInputs, image: np.ndarray) -> dict[str, float]:
    options = build_options(quick_config())
    loss, weights = build_objective(options, vgg, scale_scene(inputs, 1.0), options.weights(0.2))
    return {name: float(value) for name, value in loss(jnp.asarray(image)[None], weights)[1].items()}


def test_no_gradient_reaches_pixels_that_are_kept(vgg: VGG, inputs: PhotoInputs):
    options = build_options(quick_config())
    loss, weights = build_objective(options, vgg, scale_scene(inputs, 1.0), options.weights(0.2))
    gradient = jax.grad(lambda pixels: loss(pixels, weights)[0])(jnp.asarray(noise(37, 45, 5) / np.float32(255))[None])
    assert not np.any(gradient[0, :, 17:])
    assert np.all(np.any(gradient[0, :, :11] != 0, -1))


def test_the_losses_see_the_photo_where_it_is_kept(vgg: VGG, inputs: PhotoInputs):
    image = noise(37, 45, 5) / np.float32(255)
    scene = scale_scene(inputs, 1.0)
    mixed = put_back(jnp.asarray(image), scene.kept)
    layer = "relu2_1"
    features = [vgg(normalize(picture)[None], [layer])[layer] for picture in (mixed, scene.photo)]
    expected = build_options(quick_config()).content_weight * content_loss(*features)
    assert terms(vgg, inputs, image)["content"] == pytest.approx(float(expected), rel=1e-4)


def test_a_kept_region_has_no_style_and_no_blend_term(vgg: VGG, inputs: PhotoInputs):
    """The style term is that of the person among two styled regions, whose weights it keeps."""
    found = terms(vgg, inputs, inputs.photo)
    styled = inputs._replace(regions=(inputs.regions[0], Region("background", inputs.regions[0].paintings)))
    everywhere = inputs._replace(masks=np.ones_like(inputs.masks[..., :1]), regions=inputs.regions[:1])
    assert found["blend"] == 0
    assert 0 < found["style"] < terms(vgg, styled, inputs.photo)["style"]
    assert found["style"] != pytest.approx(terms(vgg, everywhere, inputs.photo)["style"], rel=1e-3)


def test_the_hardly_certain_background_of_a_segmenter_is_kept_wholly():
    masks = np.array([[[0.03, 0.97], [0.5, 0.5], [0.97, 0.03]]], np.float32)
    kept = kept_photo(jnp.zeros((1, 3, 3)), jnp.asarray(masks), [1])
    assert kept is not None
    np.testing.assert_allclose(kept.share[0, :, 0], [1, 0.5, 0], atol=1e-6)


@pytest.mark.slow
def test_several_kept_regions_and_scales_leave_the_photo_in_all_of_them(vgg: VGG, inputs: PhotoInputs):
    left, right = inputs.masks[..., :1], inputs.masks[..., 1:]
    top = (np.arange(37) < 20).astype(np.float32)[:, None, None]
    masks = np.concatenate([right * top, left, right * (1 - top)], -1)
    kept, styled = inputs.regions[1], inputs.regions[0]
    several = PhotoInputs(inputs.photo, masks, (kept, styled, kept._replace(name="sky")))
    options = build_options(quick_config(scales=(0.5, 1.0), scale_steps=(0.5, 0.5), steps=6, init="noise"))
    made = stylize(options, vgg, several, [options.weights(0.2)] * 2).images
    np.testing.assert_array_equal(made[:, :, 18:], np.stack([inputs.photo[:, 18:]] * 2))
    assert np.abs(made[0, :, :10] - inputs.photo[:, :10]).mean() > 0.01
