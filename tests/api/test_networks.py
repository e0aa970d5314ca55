"""Segments, stylizes at once, and reads and writes images, on arrays."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msst_jax
from msst_jax.losses.functional import gram
from msst_jax.ops.image import normalize
from tests.helpers.pictures import make_scene, noise, quick_config, stripe
from tests.helpers.segmenters import PERSON, animals, colour_segmenter, painted, people
from tests.helpers.videos import make_video, moving

PHOTO = noise(32, 40)


def test_a_photo_of_bytes_and_one_of_floats_have_the_same_regions():
    photo = painted(animals())
    found = msst_jax.segment(photo, colour_segmenter(), min_speck=0.0)
    again = msst_jax.segment(photo / np.float32(255), colour_segmenter(), min_speck=0.0)
    assert set(found) == {"person", "cat", "dog", "background"}
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, again[name])
        assert (mask.shape, mask.dtype) == (photo.shape[:2], np.float32)
    np.testing.assert_allclose(sum(found.values()), 1, atol=1e-5)
    assert found["person"][animals() == PERSON].mean() > 0.8


def test_found_masks_are_masks_of_stylize():
    photo = painted(animals())
    person = msst_jax.segment(photo, colour_segmenter())["person"]
    styles = {"person": noise(28, 36, 1), "background": noise(28, 36, 2)}
    result = msst_jax.stylize(photo, styles, {"person": person}, preset=quick_config(size=40), steps=1)
    assert result.picture.shape == (30, 40, 3)


def test_one_of_several_is_meant_by_its_number_or_by_a_point(any_model: Path):
    photo, paintings = painted(people()), [noise(28, 36, 1), noise(28, 36, 2)]
    second = people()[:, 30:50] == PERSON
    preset, segmenter = quick_config(size=80), colour_segmenter()
    for name, points in (("person#2", None), ("person", {"person": (40, 50)})):
        styles = {name: paintings[0], "background": paintings[1]}
        result = msst_jax.stylize(photo, styles, points=points, preset=preset, segmenter=segmenter, steps=1)
        np.testing.assert_array_equal(result.masks[name][:, 30:50] > 0.5, second)
        assert result.masks[name][:, :30].max() < 0.5
    stylizer = msst_jax.load_stylizer(any_model, styles, segmenter=segmenter)
    assert np.abs(stylizer(photo, points={"person": (40, 50)}) - stylizer(photo)).max() > 1e-3
    nobody = r"^points\['person'\]=\(20, 5\): there is no person at this point, only background .* masks\['person'\]"
    with pytest.raises(msst_jax.UserError, match=nobody):
        stylizer(photo, points={"person": (20, 5)})


def test_a_fast_model_takes_an_array_and_compiles_a_size_once(model: Path):
    stylizer = msst_jax.load_stylizer(model)
    assert stylizer.regions == ("person", "background")
    mask = {"person": stripe(32, 40, 0, 0.5)}
    picture = stylizer(PHOTO, mask)
    assert (picture.shape, picture.dtype) == (PHOTO.shape, np.float32)
    np.testing.assert_allclose(stylizer(PHOTO / np.float32(255), {"person": mask["person"] > 0}), picture, atol=1e-5)
    assert np.abs(stylizer(PHOTO, mask, 1.0) - picture).max() > 1e-3
    assert stylizer(PHOTO, mask, size=20).shape == (16, 20, 3)


def test_a_model_for_any_painting_takes_arrays_as_its_styles(any_model: Path):
    paintings, mask = [noise(28, 36, seed) for seed in (1, 2, 3)], {"person": stripe(32, 40, 0, 0.5)}
    background = {"background": paintings[2]}
    mixed = msst_jax.load_stylizer(any_model, {"person": [(paintings[0], 2), (paintings[1], 1)], **background})
    single = msst_jax.load_stylizer(any_model, {"person": paintings[0] / np.float32(255), **background})
    assert mixed.regions == ("person", "background")
    pictures = [stylizer(PHOTO, mask) for stylizer in (mixed, single)]
    assert pictures[0].shape == PHOTO.shape
    assert np.abs(pictures[0] - pictures[1])[:, :20].max() > 1e-3
    for styles, message in (
        (None, r"needs styles\['background'\], and one for each other region; found none"),
        ({"person": "keep", **background}, r"styles\['person'\]='keep' needs the optimization; give a painting"),
    ):
        with pytest.raises(msst_jax.UserError, match=message) as caught:
            msst_jax.load_stylizer(any_model, styles)
        assert "--" not in str(caught.value)


def test_a_vgg_gives_features_inside_of_jit():
    vgg = msst_jax.load_vgg("vgg16", ["relu1_2"])
    features = jax.jit(lambda network, image: network(normalize(image)[None], ["relu1_2"]))(vgg, PHOTO / 255.0)
    assert features["relu1_2"].shape == (1, 32, 40, 64)


def test_a_style_loss_is_differentiable_forward_and_twice():
    """float32 here; tests/losses/test_forward_mode.py has all losses in float64, to 1e-9."""
    vgg = msst_jax.load_vgg("vgg16", ["relu1_2"])
    image, direction = jax.random.uniform(jax.random.key(0), (2, 1, 16, 16, 3))

    def loss(image: jax.Array) -> jax.Array:
        return jnp.square(gram(vgg(image, ["relu1_2"])["relu1_2"])).sum()

    def along(image: jax.Array) -> jax.Array:
        return (jax.grad(loss)(image) * direction).sum()

    @jax.jit  # much faster than operation by operation
    def derivatives(image: jax.Array) -> tuple[jax.Array, ...]:
        forward = jax.jvp(loss, (image,), (direction,))[1]
        return forward, along(image), jax.jvp(jax.grad(loss), (image,), (direction,))[1], jax.grad(along)(image)

    forward, reverse, over_reverse, twice = map(np.asarray, derivatives(image))
    np.testing.assert_allclose(forward, reverse, rtol=1e-4)
    np.testing.assert_allclose(over_reverse, twice, rtol=1e-3, atol=1e-4 * np.abs(twice).max())


def test_an_image_is_written_and_read(tmp_path: Path):
    msst_jax.write_image(PHOTO, tmp_path / "a.png")
    read = msst_jax.read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read, PHOTO / np.float32(255))
    assert msst_jax.read_image(tmp_path / "a.png", size=20).shape == (16, 20, 3)
    with pytest.raises(msst_jax.UserError, match=r"a\.jpg: .*quality|quality"):
        msst_jax.write_image(PHOTO, tmp_path / "a.jpg", quality=300)


def test_a_video_goes_through_a_fast_model(tmp_path: Path, model: Path, left: dict[str, str]):
    video = make_video(tmp_path / "in.mp4", moving(3))
    output = msst_jax.stylize_video(video, tmp_path / "out.mp4", masks=left, model=model, size=0)
    assert output.exists()
    assert output.with_suffix(".json").exists()


@pytest.mark.slow
def test_frames_of_a_video_are_optimized_with_paths_as_styles(tmp_path: Path, left: dict[str, str]):
    make_scene(tmp_path)
    styles = {"person": [tmp_path / "a.png", tmp_path / "b.png"], "background": tmp_path / "c.png"}
    video = make_video(tmp_path / "in.mp4", moving(2))
    options = {"preset": quick_config(), "next_steps": 1, "blend": {0: 0.0, 1: 0.5}, "steps": 1}
    assert msst_jax.stylize_video(video, tmp_path / "out.mp4", styles, left, **options).exists()
