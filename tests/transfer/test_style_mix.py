"""Several paintings in one region: how they are written, and the style that they make together."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.losses.functional import MIN_MEAN_SQUARE, mixed_gram
from msst_jax.losses.objective import style_targets
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.objective import build_objective, build_separate_objective, scale_scene
from msst_jax.transfer.style_mix import format_style_mix, painting_files, parse_style_mix, shares
from tests.helpers.pictures import noise, quick_config


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files that count by their names only."""
    for name in ("a.jpg", "b.jpg", "c,d.jpg", "a.jpg:3", "e:2,f.jpg"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keep", []),
        ("a.jpg", [("a.jpg", 1)]),
        ("a.jpg:2", [("a.jpg", 1)]),
        ("a.jpg:3", [("a.jpg:3", 1)]),
        ("a.jpg:2,b.jpg:1", [("a.jpg", 2), ("b.jpg", 1)]),
        ("a.jpg,b.jpg:.5", [("a.jpg", 1), ("b.jpg", 0.5)]),
        ("a.jpg:3,b.jpg:1e-3", [("a.jpg:3", 1), ("b.jpg", 0.001)]),
        ("c,d.jpg", [("c,d.jpg", 1)]),
        ("b.jpg,c,d.jpg:2,a.jpg", [("b.jpg", 1), ("c,d.jpg", 2), ("a.jpg", 1)]),
        ("e:2,f.jpg", [("e:2,f.jpg", 1)]),
        ("e:2,f.jpg:4,a.jpg", [("e:2,f.jpg", 4), ("a.jpg", 1)]),
        ("missing.jpg", [("missing.jpg", 1)]),
        ("missing:large.jpg", [("missing:large.jpg", 1)]),
        ("a.jpg,missing.jpg:2", [("a.jpg", 1), ("missing.jpg", 2)]),
    ],
)
def test_a_text_names_paintings_and_weights_and_is_read_again_as_it_is_recorded(folder: Path, text: str, expected):
    mix = parse_style_mix(text, "--style x")
    assert [*map(tuple, mix)] == expected
    assert parse_style_mix(format_style_mix(mix), "--style x") == mix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg:0,b.jpg", r"the weight of --style x a\.jpg is 0\.0; it must be above zero"),
        ("a.jpg,b.jpg:-1", r"the weight of --style x b\.jpg is -1\.0; it must be above zero"),
        ("a.jpg:nan,b.jpg", r"the weight of --style x a\.jpg is nan; it must be above zero"),
        ("a.jpg:1e999,b.jpg", r"the weight of --style x a\.jpg is inf; it must be at most 3\.4"),
        ("b.jpg:0", r"the weight of --style x b\.jpg is 0\.0"),
        ("a.jpg,,b.jpg", r"--style x 'a\.jpg,,b\.jpg' has a part without a file; write for example A\.jpg:2,B\.jpg:1"),
        ("a.jpg,", "has a part without a file"),
        (":2,a.jpg", "has a part without a file"),
        ("", "has a part without a file"),
        ("a.jpg,b.jpg,./a.jpg", r"has the painting \./a\.jpg twice; leave one out, or give it once"),
        ("a.jpg,keep", "keep leaves the region the photo and stands alone; leave it out, or write ./keep"),
        ("keep:2", "keep leaves the region the photo and stands alone"),
    ],
)
def test_a_text_without_a_meaning_is_one_line(folder: Path, text: str, message: str):
    with pytest.raises(UserError, match=message) as caught:
        parse_style_mix(text, "--style x")
    assert "\n" not in str(caught.value)


def test_a_painting_that_a_link_names_again_is_found_to_be_there_twice(folder: Path):
    os.symlink("a.jpg", "link.jpg")
    with pytest.raises(UserError, match=r"has the painting link\.jpg twice"):
        parse_style_mix("a.jpg,link.jpg", "--style x")


def test_files_are_looked_for_where_their_paths_lead(folder: Path):
    mix = parse_style_mix("~/c,d.jpg:2,~/b.jpg", "--style x", lambda file: file.replace("~", str(folder)))
    assert [*map(tuple, mix)] == [(f"{folder}/c,d.jpg", 2), (f"{folder}/b.jpg", 1)]


def test_every_painting_of_every_region_is_an_input(folder: Path):
    assert painting_files({"x": "a.jpg,b.jpg", "y": "keep", "z": "c,d.jpg"}) == ["a.jpg", "b.jpg", "c,d.jpg"]


def positive_gram(seed: int) -> jax.Array:
    features = np.random.default_rng(seed).random((50, 6), np.float32) ** 3
    return jnp.asarray(features.T @ features)


def cosine(one: jax.Array, two: jax.Array) -> float:
    return float(jnp.vdot(one, two) / jnp.linalg.norm(one) / jnp.linalg.norm(two))


def test_of_two_styles_of_one_strength_the_mix_is_the_weighted_mean():
    one, two = (gram / jnp.sqrt(jnp.mean(gram**2)) for gram in map(positive_gram, (1, 2)))
    mixed = mixed_gram(jnp.stack([one, two]), jnp.array([0.75, 0.25]))
    np.testing.assert_allclose(mixed[0], 0.75 * one + 0.25 * two, rtol=1e-5)


def test_a_style_of_far_more_contrast_does_not_take_the_mix_over():
    one, two = positive_gram(1), positive_gram(2)
    half = jnp.array([0.5, 0.5])
    equal, unequal = (mixed_gram(jnp.stack([factor * one, two]), half)[0] for factor in (1, 100))
    np.testing.assert_allclose(unequal, 10 * equal, rtol=1e-4)
    assert cosine(unequal, one) == pytest.approx(cosine(unequal, two), abs=1e-3)


def test_a_black_style_leaves_the_mix_finite():
    mixed = mixed_gram(jnp.stack([jnp.zeros((6, 6)), jnp.full((6, 6), MIN_MEAN_SQUARE)]), jnp.array([0.5, 0.5]))
    assert np.isfinite(mixed).all()


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_vgg("vgg16", ["relu2_1"])[0]


def scene_inputs(*paintings: Painting) -> PhotoInputs:
    """The person on the left has these paintings, the background one."""
    left = np.zeros((37, 45, 1), np.float32)
    left[:, :18] = 1
    background = Region("background", (painting(3),))
    masks = np.concatenate([left, 1 - left], -1)
    return PhotoInputs(noise(37, 45) / np.float32(255), masks, (Region("person", paintings), background))


def painting(seed: int, weight: float = 1.0) -> Painting:
    return Painting(noise(33, 41, seed) / np.float32(255), weight)


def targets(vgg: VGG, inputs: PhotoInputs, *, guided: bool) -> dict[str, jax.Array]:
    """The Gram matrices {layer: (K, C, C)} in the objective."""
    options = build_options(quick_config(guided=guided))
    loss, _ = build_objective(options, vgg, scale_scene(inputs, 1.0), options.weights(0.2))
    found: dict[str, jax.Array] = loss.args[1].grams
    return found


def separate_targets(vgg: VGG, inputs: PhotoInputs, *, guided: bool) -> dict[str, jax.Array]:
    _, grams = build_separate_objective(build_options(quick_config(guided=guided)), vgg, scale_scene(inputs, 1.0))
    return {layer: values[:, 0] for layer, values in grams.items()}


OBJECTIVES = pytest.mark.parametrize("grams", [targets, separate_targets])
GUIDED = pytest.mark.parametrize("guided", [True, False])


@GUIDED
@OBJECTIVES
def test_a_single_painting_of_any_weight_is_the_target_bit_for_bit(vgg: VGG, grams: Callable, guided: bool):
    found = grams(vgg, scene_inputs(painting(1, 0.3)), guided=guided)
    layers = tuple(quick_config().style_layers)
    expected = jax.jit(style_targets, static_argnums=2)(vgg, jnp.asarray(painting(1).image), layers)
    for layer in layers:
        np.testing.assert_array_equal(found[layer][0], expected[layer][0])


@GUIDED
@OBJECTIVES
def test_the_target_of_several_paintings_is_their_mix_by_the_ratio_of_the_weights(vgg: VGG, grams: Callable, guided):
    one, two = (grams(vgg, scene_inputs(painting(seed)), guided=guided) for seed in (1, 2))
    mixed = grams(vgg, scene_inputs(painting(1, 6), painting(2, 2)), guided=guided)
    scaled = grams(vgg, scene_inputs(painting(1, 3), painting(2, 1)), guided=guided)
    for layer, gram in mixed.items():
        expected = mixed_gram(jnp.stack([one[layer][0], two[layer][0]]), jnp.asarray(shares([3, 1])))[0]
        np.testing.assert_allclose(gram[0], expected, rtol=1e-6)
        np.testing.assert_array_equal(gram, scaled[layer])
        np.testing.assert_array_equal(gram[1], one[layer][1])


@GUIDED
def test_a_coarse_scale_mixes_all_paintings_of_the_region(vgg: VGG, guided: bool):
    scene = scale_scene(scene_inputs(painting(1), painting(2)), 0.5)
    assert [[image.shape for image in style.paintings] for style in scene.styles] == [[(16, 20, 3)] * 2, [(16, 20, 3)]]
    options = build_options(quick_config(guided=guided))
    loss, weights = build_objective(options, vgg, scene, options.weights(0.2))
    pixels = jnp.broadcast_to(scene.photo, (options.image_count(2), *scene.photo.shape))
    value, terms = loss(pixels, weights)
    assert np.isfinite(value)
    assert all(terms[name] > 0 for name in ("style", "blend"))
