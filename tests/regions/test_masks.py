"""Masks: every pixel belongs to the regions with shares that sum to 1, whatever the files look like."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.cli.flags import parse_region_files
from msst_jax.errors import UserError
from msst_jax.regions.masks import area_fractions, combine, feather, read_mask, to_one_hot
from msst_jax.transfer.inputs import load_photo_inputs
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe


def mask(begin: float, end: float, height: int = 4, width: int = 10) -> np.ndarray:
    return stripe(height, width, begin, end).astype(np.float32) / 255


def assert_sums_to_one(masks: np.ndarray) -> None:
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-6)


def test_background_is_what_no_other_region_claims():
    masks = combine({"dog": mask(0, 0.3), "cat": mask(0.3, 0.5)}, ["background", "cat", "dog"])
    assert_sums_to_one(masks)
    np.testing.assert_allclose(area_fractions(masks), [0.5, 0.2, 0.3])


def test_a_mask_that_is_not_asked_for_belongs_to_the_background():
    masks = combine({"dog": mask(0, 0.3), "cat": mask(0.3, 0.5)}, ["dog", "background"])
    np.testing.assert_allclose(area_fractions(masks), [0.3, 0.7])


def test_overlapping_regions_share_their_pixels():
    masks = combine({"dog": mask(0, 0.6), "cat": mask(0.4, 1)}, ["dog", "cat"])
    assert_sums_to_one(masks)
    np.testing.assert_array_equal(masks[0, 4:6], 0.5)
    np.testing.assert_array_equal(masks[0, 0], [1, 0])


@pytest.mark.parametrize("soft", [0.0, 0.8, 5.0])
def test_soft_and_feathered_masks_sum_to_one(soft: float):
    rng = np.random.default_rng(0)
    found = {name: rng.random((9, 13), np.float32) for name in ("dog", "cat")}
    masks = combine(found, ["dog", "cat", "background"])
    assert_sums_to_one(masks)
    assert_sums_to_one(feather(masks, soft))
    assert_sums_to_one(feather(to_one_hot(masks), soft))
    assert sum(area_fractions(masks)) == pytest.approx(1)


def test_a_stray_pixel_between_masks_belongs_somewhere():
    dog, cat = mask(0, 0.5, 40, 40), mask(0.5, 1, 40, 40)
    dog[0, 0] = 0
    assert_sums_to_one(combine({"dog": dog, "cat": cat}, ["dog", "cat"]))


def test_hard_masks_give_each_pixel_to_its_largest_region():
    masks = combine({"dog": np.full((2, 2), 0.6, np.float32), "cat": mask(0, 0.5, 2, 2)}, ["dog", "cat"])
    hard = to_one_hot(masks)
    assert hard[0].tolist() == [[0, 1], [1, 0]]


def test_one_region_takes_the_whole_photo():
    masks = combine({"background": np.ones((3, 4), np.float32)}, ["background"])
    np.testing.assert_array_equal(masks, np.ones((3, 4, 1)))
    np.testing.assert_array_equal(combine({"dog": mask(0, 1)}, ["dog"]), np.ones((4, 10, 1)))


@pytest.mark.parametrize(
    ("found", "names", "message"),
    [
        ({"dog": (0, 0.5)}, ["dgo", "background"], r"no region 'dgo'; regions are dog, background: .* --mask dgo=FILE"),
        (
            {"dog": (0, 1)},
            ["dog", "background"],
            r"'background' is empty: the other regions leave .* \(dog 100%\)",
        ),
        ({"dog": (0, 0.5)}, ["dog"], r"50.0% of the photo lies in no region \(dog\); add --style background=FILE"),
        ({"background": (0, 0.5)}, ["background"], "50.0% .* paint the masks larger"),
    ],
)
def test_regions_and_styles_that_do_not_match_are_refused(found, names, message):
    with pytest.raises(UserError, match=message):
        combine({name: mask(*ends) for name, ends in found.items()}, names)


def test_a_mask_of_another_size_is_stretched_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "m.png", stripe(10, 20, 0, 0.5))
    found = read_mask(path, (40, 30), (40, 30))
    assert found.shape == (30, 40)
    assert found[:, :18].min() == 1
    assert found[:, 22:].max() == 0
    assert "m.png is 20x10, the photo 40x30: the mask is stretched to fit" in caplog.text


def test_a_mask_of_the_photos_size_is_resized_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "m.png", stripe(10, 20, 0, 0.5))
    assert read_mask(path, (20, 10), (40, 20)).shape == (20, 40)
    assert not caplog.text


@pytest.mark.parametrize("size", [(20, 13), (60, 40), (150, 100), (20, 14)])
def test_a_mask_of_the_photos_proportions_is_resized_in_silence(tmp_path: Path, caplog, size: tuple[int, int]):
    """As those that --regions-only writes: the photo's size, the work's, or what an editor exports."""
    path = save(tmp_path / "m.png", stripe(size[1], size[0], 0, 0.5))
    assert read_mask(path, (300, 200), (40, 27)).shape == (27, 40)
    assert not caplog.text
    square = save(tmp_path / "square.png", stripe(32, 32, 0, 0.5))
    read_mask(square, (300, 200), (32, 32))
    assert not caplog.text
    read_mask(square, (300, 200), (40, 27))
    assert "square.png is 32x32, the photo 300x200" in caplog.text


@pytest.mark.parametrize("level", [0, 100])
def test_a_black_mask_is_refused(tmp_path: Path, level: int):
    path = save(tmp_path / "m.png", np.full((8, 8), level, np.uint8))
    found = {0: "is black: nothing is inside", 100: "is dark: its brightest value is 100 of 255"}[level]
    with pytest.raises(UserError, match=rf"m.png {found}; paint the region white"):
        read_mask(path, (8, 8), (8, 8))


def test_transparent_parts_of_a_mask_are_outside(tmp_path: Path):
    picture = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    picture.putpixel((1, 0), (255, 255, 255, 0))
    assert read_mask(save(tmp_path / "m.png", picture), (2, 1), (2, 1)).tolist() == [[1, 0]]


def test_pairs_keep_their_order_and_equals_signs():
    assert list(parse_region_files(["b=x=1.jpg", "a=y.jpg"], "style").items()) == [("b", "x=1.jpg"), ("a", "y.jpg")]


@pytest.mark.parametrize("flag", ["style", "mask"])
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["dog=a", "dog=b"], r"names the region 'dog' twice \(a and b\); leave one out"),
        (["dog"], "'dog' is not NAME=FILE; write"),
        (["=a"], "'=a' is not NAME=FILE; write"),
        (["dog="], "'dog=' is not NAME=FILE; write"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(flag: str, pairs: list[str], message: str):
    with pytest.raises(UserError, match=f"--{flag} {message}"):
        parse_region_files(pairs, flag)


def test_mask_and_photo_turn_together(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = save(tmp_path / "photo.jpg", noise(20, 40), exif=exif, quality=95)  # shown upright: 20 wide, 40 high
    upright = save(tmp_path / "upright.png", stripe(40, 20, 0, 0.5))
    turned = save(tmp_path / "turned.png", np.rot90(stripe(40, 20, 0, 0.5)), exif=exif)
    style = save(tmp_path / "a.png", noise(30, 30))
    styles = {"dog": style, "background": style}
    loaded = [
        load_photo_inputs(quick_config(size=0, feather=0.0), photo, styles, {"dog": file}) for file in (upright, turned)
    ]
    for inputs in loaded:
        assert inputs.photo.shape == (40, 20, 3)
        np.testing.assert_array_equal(inputs.masks[..., 0], stripe(40, 20, 0, 0.5) / 255)
    assert not caplog.text


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize(("height", "width"), [(47, 90), (51, 33)])
def test_inputs_of_any_shape_have_masks_that_sum_to_one(tmp_path: Path, height: int, width: int, hard: bool):
    scene = make_scene(tmp_path, height, width)
    inputs = load_photo_inputs(
        quick_config(size=41, hard_masks=hard, feather=2.0),
        str(scene / "photo.png"),
        {name: str(scene / f"{file}.png") for name, file in (("dog", "a"), ("cat", "b"), ("background", "c"))},
        {"dog": str(scene / "left.png"), "cat": str(scene / "middle.png")},
    )
    assert inputs.photo.shape == (*inputs.masks.shape[:2], 3)
    assert [region.name for region in inputs.regions] == ["dog", "cat", "background"]
    assert all(max(region.style.shape) == 41 for region in inputs.regions)
    assert_sums_to_one(inputs.masks)
    np.testing.assert_allclose(area_fractions(inputs.masks), [0.4, 0.3, 0.3], atol=0.03)


EMPTY_CAT = r"'cat' is empty: the other regions leave nothing for it \(dog 4\d%, background \d\d%\); leave its --style"


@pytest.mark.parametrize(
    ("changes", "styles", "masks", "message"),
    [
        ({}, {}, {}, "no style was given; add --style NAME=FILE"),
        ({}, {"background": "a"}, {"dog": "left"}, "'dog' has a mask but no style; add --style dog=FILE"),
        ({}, {"dgo": "a"}, {}, "no region 'dgo'; regions are background, aeroplane.* give --mask dgo=FILE"),
        ({}, {"dog": "a", "cat": "a"}, {"cat": "left"}, "`python -m convert_weights .* give --mask dog=FILE$"),
        (
            {"hard_masks": True},
            {"dog": "a", "cat": "b", "background": "c"},
            {"dog": "left", "cat": "left"},
            r"'cat' is empty: the other regions leave nothing for it \(dog 4\d%, background",
        ),
        ({"scales": (0.02, 1.0)}, {"background": "a"}, {}, "becomes 0 at the scale 0.02; relu2_1 of vgg16 needs 2"),
        ({"style_scale": 0.4}, {"background": "a"}, {}, "style .*a.png: .* every side must have at least 16"),
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(tmp_path: Path, changes, styles, masks, message):
    scene = make_scene(tmp_path)
    files = [{name: str(scene / f"{file}.png") for name, file in pairs.items()} for pairs in (styles, masks)]
    with pytest.raises(UserError, match=message):
        load_photo_inputs(quick_config(**changes), str(scene / "photo.png"), *files)
