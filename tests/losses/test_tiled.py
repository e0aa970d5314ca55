"""Losses by windows of rows equal those of the whole picture: value, terms, gradient, targets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.configs import photo, photo_separate, seed
from msst_jax.errors import UserError
from msst_jax.losses.guidance import Guidance
from msst_jax.losses.guided_objective import guidance_of_masks, guided_stylization_loss
from msst_jax.losses.objective import (
    FeatureLayers,
    LossWeights,
    Targets,
    content_targets,
    style_targets,
    stylization_loss,
)
from msst_jax.losses.tiled import (
    feature_windows,
    tiled_content_targets,
    tiled_guided_loss,
    tiled_style_targets,
    tiled_stylization_loss,
)
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.transfer.build import build_options
from msst_jax.transfer.objective import load_loss_network
from reference.loss_formulas import uniform

LAYERS = FeatureLayers(("relu1_1", "conv2_1"), ("conv1_2", "relu2_1"), (0.5, 2.0), (1.5, 0.25))
WEIGHTS = {True: LossWeights(200.0, 60.0, 2.0, 1e-3), False: LossWeights(1e6, 3e5, 2.0, 8.5e-3)}
LOSS_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-5
TARGET_TOLERANCE = 1e-6


class Scene(NamedTuple):
    """What a loss is made of, and the images to evaluate."""

    vgg: VGG
    layers: FeatureLayers
    weights: LossWeights
    targets: Targets
    photo: jax.Array
    masks: jax.Array
    guidance: Guidance
    pixels: jax.Array


def masks_of(height: int, width: int, regions: int) -> np.ndarray:
    """Masks (H, W, K) whose edges run across and slope through the picture, so that they end inside of tiles."""
    y, x = np.mgrid[:height, :width]
    labels = ((y + x // 3) * regions // (height + width // 3)).clip(0, regions - 1)
    return np.eye(regions, dtype=np.float32)[labels]


def scene(vgg: VGG, layers: FeatureLayers, weights: LossWeights, size: tuple[int, int], regions: int) -> Scene:
    height, width = size
    grams = [
        jax.jit(style_targets, static_argnums=2)(vgg, uniform(height + 3, width, 3, seed=k), layers.style)
        for k in range(regions)
    ]
    photograph = jnp.asarray(uniform(height, width, 3, seed=20))
    masks = jnp.asarray(masks_of(height, width, regions))
    return Scene(
        vgg,
        layers,
        weights,
        Targets(
            jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
            jax.jit(content_targets, static_argnums=2)(vgg, photograph, layers.content),
        ),
        photograph,
        masks,
        jax.jit(guidance_of_masks, static_argnums=2)(vgg, masks, layers.style),
        jnp.asarray(uniform(regions, height, width, 3, seed=21)),
    )


def losses(
    made: Scene, guided: bool, tiles: int, stored: bool = True
) -> tuple[tuple[Callable[..., Any], Callable[..., Any]], jax.Array]:
    """The loss of the whole and that by tiles, with stored features of the photo or none, and an argument of both."""
    vgg, layers, weights, targets, photograph, masks, guidance, pixels = made
    given = targets if stored else Targets(targets.grams, {}, photograph)
    if guided:
        return (
            lambda image: guided_stylization_loss(vgg, targets, guidance, layers, image, weights),
            lambda image: tiled_guided_loss(vgg, given, guidance, layers, image, weights, tiles=tiles),
        ), pixels[0]
    return (
        lambda images: stylization_loss(vgg, targets, masks, layers, images, weights),
        lambda images: tiled_stylization_loss(vgg, given, masks, layers, images, weights, tiles=tiles),
    ), pixels


def assert_alike(made: Scene, guided: bool, tiles: int, stored: bool) -> None:
    functions, x = losses(made, guided, tiles, stored)
    used = [*made.layers.style, *made.layers.content]
    assert feature_windows(made.vgg.taps, used, x.shape[-3], tiles).count == tiles
    (whole, terms), gradient = jax.jit(jax.value_and_grad(functions[0], has_aux=True))(x)
    (tiled, tiled_terms), tiled_gradient = jax.jit(jax.value_and_grad(functions[1], has_aux=True))(x)
    error = float(jnp.linalg.norm(tiled_gradient - gradient) / jnp.linalg.norm(gradient))
    print(f"loss {abs(float(tiled) / float(whole) - 1):.1e}, gradient {error:.1e}")
    assert float(tiled) == pytest.approx(float(whole), rel=LOSS_TOLERANCE)
    assert tiled_terms.keys() == terms.keys()
    for name, value in terms.items():
        assert float(value) > 0
        assert float(tiled_terms[name]) == pytest.approx(float(value), rel=LOSS_TOLERANCE), name
    assert error <= GRADIENT_TOLERANCE


def without_smoothness(made: Scene) -> Scene:
    """Its gradient, which is of the whole picture anyway, would hide that of the other terms."""
    return made._replace(weights=made.weights._replace(tv=1e-3 * made.weights.tv))


def network(pooling: str = "max", padding: str = "zeros", layers: FeatureLayers = LAYERS) -> VGG:
    return load_vgg("vgg16", [*layers.style, *layers.content], pooling=pooling, padding=padding)[0]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "computed"])
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
@pytest.mark.parametrize(
    ("size", "regions", "tiles", "pooling", "padding"),
    [((61, 22), 2, 3, "max", "zeros"), ((48, 17), 3, 2, "average", "replicate"), ((14, 10), 2, 1, "max", "zeros")],
    ids=["odd, K=2", "K=3", "whole"],
)
def test_loss_terms_and_gradient_by_tiles_are_those_of_the_whole(
    stored: bool, guided: bool, size: tuple[int, int], regions: int, tiles: int, pooling: str, padding: str
) -> None:
    made = scene(network(pooling, padding), LAYERS, WEIGHTS[guided], size, regions)
    assert_alike(without_smoothness(made), guided, tiles, stored)


def test_targets_by_tiles_are_those_of_the_whole() -> None:
    vgg, image = network(), jnp.asarray(uniform(61, 22, 3))
    content = jax.jit(tiled_content_targets, static_argnums=(2, 3))(vgg, image, LAYERS.content, 3)
    style = jax.jit(tiled_style_targets, static_argnums=(2, 3))(vgg, image, LAYERS.style, 3)
    expected = content_targets(vgg, image, LAYERS.content), style_targets(vgg, image, LAYERS.style)
    for ours, theirs in zip((content, style), expected, strict=True):
        assert ours.keys() == theirs.keys()
        for layer, value in theirs.items():
            scale = float(jnp.abs(value).max())
            np.testing.assert_allclose(ours[layer], value, rtol=0, atol=TARGET_TOLERANCE * scale)


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
def test_second_derivatives_by_tiles_are_refused_instead_of_taken_for_zero(guided: bool) -> None:
    layers = FeatureLayers(("relu1_1",), ("relu1_1",), (1.0,), (1.0,))
    made = scene(network(layers=layers), layers, WEIGHTS[guided], (12, 8), 2)
    (_, tiled), x = losses(made, guided, 2)
    with pytest.raises(UserError, match="tiles=1"):
        jax.jvp(jax.grad(lambda x: tiled(x)[0]), (x,), (jnp.ones_like(x),))


@pytest.mark.slow
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "computed"])
@pytest.mark.parametrize("regions", [2, 3])
@pytest.mark.parametrize(
    ("preset", "size", "tiles"),
    [(photo, (325, 40), 2), (photo_separate, (203, 33), 2), (seed, (133, 41), 3)],
    ids=["photo", "photo_separate", "seed"],
)
def test_every_preset_by_tiles_has_the_loss_and_gradient_of_the_whole(
    preset: Any, size: tuple[int, int], tiles: int, regions: int, stored: bool
) -> None:
    options = build_options(preset.get_config())
    made = scene(load_loss_network(options.network)[0], options.layers, options.weights(0.2), size, regions)
    per_pixel = options.weights(0.2).with_tv_per_pixel(*size) if options.tv_per_pixel else options.weights(0.2)
    assert_alike(made._replace(weights=per_pixel), options.guided, tiles, stored)


def temporary_bytes(made: Scene, guided: bool, tiles: int) -> Sequence[int]:
    """Of the whole and by tiles, as the compiler plans it."""
    functions, x = losses(made, guided, tiles)
    compiled = [jax.jit(jax.value_and_grad(function, has_aux=True)).lower(x).compile() for function in functions]
    return [each.memory_analysis().temp_size_in_bytes for each in compiled]


@pytest.mark.slow
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
def test_eight_tiles_take_a_third_of_the_memory_of_the_whole(guided: bool) -> None:
    layers = LAYERS._replace(style=("relu1_1", "relu2_1"), content=("relu2_1", "relu2_2"))
    made = scene(network(layers=layers), layers, WEIGHTS[guided], (512, 128), 2)
    whole, tiled = temporary_bytes(made, guided, 8)
    print(f"whole {whole / 1e6:.1f} MB, tiles {tiled / 1e6:.1f} MB, ratio {tiled / whole:.2f}")
    assert tiled < whole / 3
