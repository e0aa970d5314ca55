"""The inputs of a photo: mask files and segmented regions combined, orientation, and rejected input."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io import images
from msst_jax.models.deeplab import LITE_NETWORK
from msst_jax.pipelines.export_masks import export_masks
from msst_jax.regions import inference
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import area_fractions
from msst_jax.regions.points import Point
from msst_jax.regions.segmenter import Segmenter
from msst_jax.transfer.build import build_input_options, build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe
from tests.helpers.segmenters import (
    CAT,
    DOG,
    PERSON,
    ShiftedSegmenter,
    animals,
    colour_segmenter,
    converted,
    fake_networks,
    painted,
    people,
    refinements,
)


def assert_sums_to_one(masks: np.ndarray) -> None:
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    np.testing.assert_allclose(masks.sum(-1), 1, atol=1e-6)


def test_exif_orientation_is_applied_to_photo_and_mask(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = save(tmp_path / "photo.jpg", noise(20, 40), exif=exif, quality=95)  # shown upright: 20 wide, 40 high
    upright = save(tmp_path / "upright.png", stripe(40, 20, 0, 0.5))
    turned = save(tmp_path / "turned.png", np.rot90(stripe(40, 20, 0, 0.5)), exif=exif)
    style = save(tmp_path / "a.png", noise(30, 30))
    styles = {"dog": style, "background": style}
    loaded = [
        load_photo_inputs(build_options(quick_config(size=0, feather=0.0)), photo, styles, {"dog": file})
        for file in (upright, turned)
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
        build_options(quick_config(size=41, hard_masks=hard, feather=2.0)),
        str(scene / "photo.png"),
        {name: str(scene / f"{file}.png") for name, file in (("dog", "a"), ("cat", "b"), ("background", "c"))},
        {"dog": str(scene / "left.png"), "cat": str(scene / "middle.png")},
    )
    assert inputs.photo.shape == (*inputs.masks.shape[:2], 3)
    assert [region.name for region in inputs.regions] == ["dog", "cat", "background"]
    assert all(max(region.paintings[0].image.shape) == 41 for region in inputs.regions)
    assert_sums_to_one(inputs.masks)
    np.testing.assert_allclose(area_fractions(inputs.masks), [0.4, 0.3, 0.3], atol=0.03)


@pytest.mark.parametrize(("stroke_size", "size"), [(0.75, (19, 24)), (1.0, (25, 32)), (2.0, (50, 64))])
def test_strokes_are_as_large_as_the_style_beside_the_photo(tmp_path: Path, stroke_size: float, size: tuple[int, int]):
    scene = make_scene(tmp_path)
    options = build_options(quick_config(stroke_size=stroke_size))
    inputs = load_photo_inputs(options, str(scene / "photo.png"), {"background": str(scene / "a.png")}, {})
    assert inputs.regions[0].paintings[0].image.shape[:2] == size


@pytest.mark.parametrize(
    ("changes", "styles", "masks", "message"),
    [
        ({}, {}, {}, "no style was given; add --style NAME=FILE"),
        ({}, {"background": "a"}, {"dog": "left"}, "'dog' has a mask but no style; add --style dog=FILE"),
        ({}, {"dgo": "a"}, {}, "no region 'dgo'; regions are background, aeroplane.* give --mask dgo=FILE"),
        (
            {"segmenter": "person_vgg16"},
            {"dog": "a", "cat": "a"},
            {"cat": "left"},
            "use deeplabv3_efficientnet_lite0 or .* give --mask dog=FILE$",
        ),
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
def test_inconsistent_inputs_are_rejected(tmp_path: Path, changes, styles, masks, message):
    scene = make_scene(tmp_path)
    files = [{name: str(scene / f"{file}.png") for name, file in pairs.items()} for pairs in (styles, masks)]
    with pytest.raises(UserError, match=message):
        load_photo_inputs(build_options(quick_config(**changes)), str(scene / "photo.png"), *files)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """a.png, b.png, c.png, left.png and middle.png, and a photo.png with a person, a cat and a small dog."""
    make_scene(tmp_path, 60, 80)
    save(tmp_path / "photo.png", painted(animals()))
    return tmp_path


def load(
    scene: Path, styles: str, masks: dict[str, str] | None = None, segmenter: Segmenter | None = None, **changes: Any
) -> PhotoInputs:
    """The inputs of the regions `styles`, separated by spaces, and mask files by name."""
    return load_photo_inputs(
        build_options(quick_config(**{"size": 0, "feather": 0.0, **changes})),
        str(scene / "photo.png"),
        {name: str(scene / "a.png") for name in styles.split()},
        {name: str(scene / file) for name, file in (masks or {}).items()},
        segmenter=segmenter or colour_segmenter(),
    )


def test_regions_without_masks_are_segmented(scene: Path):
    inputs = load(scene, "cat background person+dog", hard_masks=True)
    labels = animals()
    for index, group in enumerate([(CAT,), (0,), (PERSON, DOG)]):
        assert (inputs.masks[..., index] == np.isin(labels, group)).mean() > 0.99
    assert [region.origin for region in inputs.regions] == ["segmenter", "rest", "segmenter"]
    assert inputs.segmenter == {"name": "deeplabv3_resnet101", "weights": "deeplabv3_resnet101.safetensors"}


@pytest.mark.parametrize(("changes", "shape"), [({"size": 40}, (30, 40)), ({"size": 33, "square": True}, (33, 33))])
def test_segmented_masks_have_the_working_size(scene: Path, changes: dict[str, Any], shape: tuple[int, int]):
    inputs = load(scene, "person background", **changes)
    assert inputs.masks.shape == (*shape, 2)
    np.testing.assert_allclose(inputs.masks.sum(-1), 1, atol=1e-6)
    assert area_fractions(inputs.masks)[0] == pytest.approx((animals() == PERSON).mean(), abs=0.02)


def test_edges_are_aligned_with_the_photo_if_refinement_is_enabled(scene: Path):
    """The network shifts everything right by 4 pixels of its finer input, which are 2 pixels of the photo."""
    shifted = colour_segmenter(ShiftedSegmenter(4))
    labels = animals(240, 320)
    photo = save(scene / "photo.png", painted(labels))
    found = class_probabilities(shifted, Image.open(photo))
    refined = class_probabilities(shifted, Image.open(photo), refine=True)
    wrong, remaining = ((classes.argmax(-1) != labels).mean() for classes in (found, refined))
    assert remaining < wrong / 4
    np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-6)
    for refine, wanted in ((True, refined), (False, found)):
        inputs = load(scene, "person background", segmenter=shifted, refine_edges=refine, min_speck=0.0)
        np.testing.assert_allclose(inputs.masks[..., 0], wanted[..., PERSON], atol=1e-5)
    small = class_probabilities(shifted, Image.open(photo), (101, 76), refine=True)
    assert small.shape == (76, 101, 21)


def test_edges_are_refined_at_the_working_size(scene: Path, monkeypatch: pytest.MonkeyPatch):
    refined = refinements(monkeypatch)
    load(scene, "person background", size=40)
    load(scene, "person background", size=33, square=True)
    assert refined == [(30, 40), (33, 33)]
    load(scene, "person background", refine_edges=False)
    assert len(refined) == 2


def test_a_given_mask_takes_precedence_over_the_segmenter(scene: Path):
    """The mask declares the left 40% a dog: it hides the person, and the dog in the middle is ignored."""
    cat_only = load(scene, "cat dog background", {"dog": "left.png"}, hard_masks=True)
    np.testing.assert_array_equal(cat_only.masks[..., 1], stripe(60, 80, 0, 0.4) / 255)
    assert [region.origin for region in cat_only.regions] == ["segmenter", "mask", "rest"]
    message = (
        r"'person' is entirely covered by the given masks; found: given masks 40%, background 36%, cat 22%, dog 1%:"
    )
    with pytest.raises(UserError, match=f"^region {message}"):
        load(scene, "person dog background", {"dog": "left.png"})
    soft = load(scene, "cat dog background", {"dog": "middle.png"})
    np.testing.assert_allclose(soft.masks[:, 33:55, 1], 1)


@pytest.mark.parametrize("hard", [True, False])
def test_the_speck_that_a_mask_leaves_of_a_region_is_no_region(scene: Path, hard: bool):
    """The mask covers the person except for a sliver of two columns, 2% of the photo."""
    save(scene / "most.png", stripe(60, 80, 0, 18 / 80))
    sliver = load(scene, "person dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=1.0)
    assert (sliver.masks[..., 0] > 0.5).sum() == pytest.approx(2 * 50, rel=0.1)
    with pytest.raises(UserError, match=r"'person' was found only in specks smaller than .* 5% of the photo; found: "):
        load(scene, "person dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=5.0)
    cat = load(scene, "cat dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=5.0)
    np.testing.assert_allclose(cat.masks.sum(-1), 1, atol=1e-6)
    assert cat.masks[:, 18:22, 2].min() > 0.5  # the sliver leaves no hole in the background either


def test_hard_regions_are_segmented_where_a_soft_mask_is_below_one_half(scene: Path):
    white = stripe(60, 80, 0.9, 1)
    person = animals() == PERSON
    save(scene / "faint.png", np.where(person, 100, white).astype(np.uint8))
    faint = load(scene, "person dog background", {"dog": "faint.png"}, hard_masks=True)
    assert (faint.masks[..., 0] == person).mean() > 0.99
    save(scene / "strong.png", np.where(person, 155, white).astype(np.uint8))
    strong = load(scene, "cat dog background", {"dog": "strong.png"}, hard_masks=True)
    assert (strong.masks[..., 1] == (person | (white > 0))).mean() > 0.99


def test_a_missing_style_is_reported_before_the_network_runs(scene: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = converted(monkeypatch)
    styles = {"person": str(scene / "a.png"), "background": str(scene / "nope.png")}
    with pytest.raises(UserError, match=r"style .*nope\.png does not exist"):
        load_photo_inputs(build_options(quick_config()), str(scene / "photo.png"), styles, {})
    assert not loaded


def test_the_photo_is_decoded_once(scene: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    decode = images.decode_picture

    def spy(path: str, *more: Any) -> Image.Image:
        read.append(Path(path).name)
        return decode(path, *more)

    monkeypatch.setattr(images, "decode_picture", spy)
    load(scene, "person background")
    options, output = build_input_options(quick_config()), scene / "out" / "m.png"
    export_masks(options, str(scene / "photo.png"), output, config={}, segmenter=colour_segmenter())
    assert read.count("photo.png") == 2


def test_names_other_than_classes_need_a_mask(scene: Path):
    inputs = load(scene, "statue cat background", {"statue": "left.png"})
    assert [region.origin for region in inputs.regions] == ["mask", "segmenter", "rest"]
    with pytest.raises(UserError, match=r"no region 'statue'; regions are background, .* give --mask statue=FILE"):
        load(scene, "statue cat background", {"cat": "left.png"})


def test_the_network_is_loaded_only_for_a_region_without_a_mask(scene: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = converted(monkeypatch)
    files = {name: str(scene / f"{name}.png") for name in ("photo", "a", "left")}
    config = quick_config(segmenter="deeplabv3_mobilenet_v3_large")
    both = {"dog": files["a"], "background": files["a"]}
    inputs = load_photo_inputs(build_options(config), files["photo"], both, {"dog": files["left"]})
    assert inputs.segmenter is None
    assert [region.origin for region in inputs.regions] == ["mask", "rest"]
    assert load_photo_inputs(build_options(config), files["photo"], {"background": files["a"]}, {}).segmenter is None
    with pytest.raises(UserError, match="no region 'dgo'"):
        load_photo_inputs(build_options(config), files["photo"], {"dgo": files["a"], "cat": files["a"]}, {})
    assert not loaded
    found = load_photo_inputs(build_options(config), files["photo"], both, {})
    assert loaded == ["deeplabv3_mobilenet_v3_large"]
    assert found.segmenter == {"name": loaded[0], "weights": f"{loaded[0]}.safetensors"}


def test_missing_weights_are_reported_with_both_alternatives(scene: Path):
    styles = {name: str(scene / "a.png") for name in ("person", "cat", "background")}
    config = quick_config(segmenter="deeplabv3_resnet101")
    with pytest.raises(UserError) as raised:
        load_photo_inputs(build_options(config), str(scene / "photo.png"), styles, {"cat": str(scene / "left.png")})
    assert re.fullmatch(
        r"weights of deeplabv3_resnet101 are not in \S+: run `python -m msst_jax.convert_weights deeplabv3_resnet101`; "
        r"or do without it: give --mask person=FILE",
        str(raised.value),
    )


def test_an_unknown_region_is_rejected_before_the_network_runs(tmp_path: Path, monkeypatch):
    fake_networks(monkeypatch)
    make_scene(tmp_path)
    monkeypatch.setattr(inference, "class_probabilities", None)
    styles = {name: str(tmp_path / "a.png") for name in ("dog", "background")}
    with pytest.raises(UserError, match=r"^person_vgg16 segments only person, not dog; "):
        load_photo_inputs(
            build_options(quick_config(segmenter="person_vgg16")), str(tmp_path / "photo.png"), styles, {}
        )


def test_a_person_is_segmented_by_default_and_the_inputs_record_the_network(tmp_path: Path, monkeypatch):
    fake_networks(monkeypatch)
    make_scene(tmp_path, 60, 80)
    save(tmp_path / "photo.png", painted(np.where(animals() == PERSON, PERSON, 0)))
    styles = {name: str(tmp_path / "a.png") for name in ("person", "background")}
    inputs = load_photo_inputs(
        build_options(quick_config(size=0, feather=0.0)), str(tmp_path / "photo.png"), styles, {}
    )
    assert inputs.segmenter == {"name": LITE_NETWORK, "weights": "deeplabv3_efficientnet_lite0.safetensors"}
    assert ((inputs.masks[..., 0] > 0.5) == (animals() == PERSON)).mean() > 0.99


@pytest.mark.parametrize(
    ("size", "lines"),
    [(64, ["of 32x24 pixels is enlarged to 64x48; --config.size=0 keeps its size"]), (32, []), (24, []), (0, [])],
)
def test_that_a_photo_is_enlarged_is_said_in_one_line_and_that_a_style_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, lines: list[str]
):
    scene = make_scene(tmp_path)
    options = build_options(quick_config(size=size))
    logging.set_verbosity(logging.INFO)
    load_photo_inputs(options, str(scene / "photo.png"), {"background": str(scene / "a.png")}, {})
    assert [record.getMessage() for record in caplog.records] == [
        f"photo {scene / 'photo.png'} {line}" for line in lines
    ]


@pytest.mark.parametrize("size", [0, 40])
def test_a_point_is_one_of_the_photo_as_it_is_shown_at_its_own_size(tmp_path: Path, size: int):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(painted(people())).transpose(Image.Transpose.ROTATE_90)  # shown as it was
    save(tmp_path / "photo.png", stored, exif=exif)
    styles = dict.fromkeys(["person", "background"], save(tmp_path / "a.png", noise(28, 36)))
    inputs = load_photo_inputs(
        build_options(quick_config(size=size, feather=0.0)),
        str(tmp_path / "photo.png"),
        styles,
        {},
        points=[Point("person", 40, 50)],
        segmenter=colour_segmenter(),
    )
    rows, columns = np.nonzero(inputs.masks[..., 0] > 0.5)
    scale = inputs.photo.shape[1] / 80
    assert (36 * scale, 43 * scale) == pytest.approx((columns.min(), columns.max() + 1), abs=1)
    assert rows.min() == pytest.approx(28 * scale, abs=1)
