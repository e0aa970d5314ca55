"""Regions found by a network: what it sees, what its scores become, and how they mix with masks of a person's."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.models.segmentation import DeepLabV3_ResNet101_Weights

from convert_weights import cli
from msst_jax.errors import UserError
from msst_jax.io import images
from msst_jax.models import pretrained, voc
from msst_jax.models.deeplab import TORCHVISION_NETWORKS
from msst_jax.pipelines.export_masks import export_masks
from msst_jax.regions.inference import class_probabilities, preprocess
from msst_jax.regions.masks import BACKGROUND, area_fractions, combine, format_fractions
from msst_jax.regions.segmenter import SHORT_SIDE, Segmenter, load_segmenter
from msst_jax.regions.selection import class_fractions, region_masks
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe
from tests.helpers.segmenters import (
    CAT,
    DOG,
    PERSON,
    ColourSegmenter,
    ShiftedSegmenter,
    animals,
    colour_segmenter,
    converted,
    painted,
    probabilities_of,
    refinements,
)

PUBLISHED = DeepLabV3_ResNet101_Weights.DEFAULT
SIZES = [(427, 640), (333, 500), (701, 300), (520, 600), (1200, 900), (65, 97)]


def torch_preset(picture: Image.Image) -> np.ndarray:
    return PUBLISHED.transforms()(picture).permute(1, 2, 0).numpy()


def test_names_and_order_of_the_classes_are_those_of_the_published_weights():
    assert ["__background__", *voc.CLASSES[1:]] == PUBLISHED.meta["categories"]
    assert voc.CLASSES[0] == BACKGROUND


def test_colours_are_those_of_the_voc_masks():
    """VOC spreads the bits of the class over the highest bits of red, green and blue."""
    for index, colour in enumerate(voc.COLORS):
        bits = [[index >> (3 * place + channel) & 1 for place in range(3)] for channel in range(3)]
        assert colour == tuple(sum(bit << (7 - place) for place, bit in enumerate(row)) for row in bits)
    assert len(voc.COLORS) == len(voc.CLASSES)


def test_colours_are_those_of_a_mask_of_voc(shared: Path):
    mask = next(iter(sorted((shared / "data" / "voc21" / "masks").glob("voc_*.png"))))
    palette = np.reshape(Image.open(mask).getpalette(), (-1, 3))[: len(voc.COLORS)]
    np.testing.assert_array_equal(palette, voc.COLORS)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_network_sees_what_the_preset_of_torchvision_gives(height: int, width: int):
    photo = noise(height, width)
    wanted = torch_preset(Image.fromarray(photo))
    assert min(wanted.shape[:2]) == SHORT_SIDE
    np.testing.assert_allclose(preprocess(Image.fromarray(photo)), wanted, atol=1e-5)
    np.testing.assert_allclose(preprocess(photo.astype(np.float32) / 255), wanted, atol=1e-5)


def test_a_strip_that_would_fill_the_memory_is_refused():
    with pytest.raises(UserError, match=r"^the photo is 901x100, too long a strip .*at most 8 to 1\); crop it, or"):
        preprocess(Image.new("RGB", (901, 100)))
    assert preprocess(Image.new("RGB", (100, 800))).shape == (4160, 520, 3)


@pytest.mark.parametrize("size", [None, (320, 240), (1000, 300), (64, 48)])
def test_scores_are_resized_as_torch_does_and_become_probabilities(size: tuple[int, int] | None):
    photo = Image.fromarray(noise(480, 640))
    model = ColourSegmenter(sharpness=5.0)
    found = class_probabilities(colour_segmenter(model), photo, size)
    width, height = size or photo.size
    assert found.shape == (height, width, 21)
    scores = torch.from_numpy(np.array(model(torch_preset(photo)[None]))).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(scores, (height, width), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, resized.softmax(1)[0].permute(1, 2, 0), atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_the_network_is_compiled_once_for_all_photos_of_one_shape():
    traced: list[tuple[int, ...]] = []

    class Counted(ColourSegmenter):
        def __call__(self, images: jax.Array) -> jax.Array:
            traced.append(images.shape)
            return super().__call__(images)

    counted = colour_segmenter(Counted())
    for photo, size in (((100, 75), None), ((200, 150), None), ((200, 150), (64, 48))):
        class_probabilities(counted, Image.new("RGB", photo), size)
    assert traced == [(1, 520, 693, 3)]


def test_a_region_joins_classes_and_the_rest_is_background():
    labels = animals()
    found = region_masks(probabilities_of(labels), ["background", "person+dog"])
    assert list(found) == ["person+dog"]
    np.testing.assert_array_equal(found["person+dog"] > 0.5, np.isin(labels, (PERSON, DOG)))
    assert found["person+dog"].max() == pytest.approx(0.905)
    masks = combine(found, ["background", "person+dog"])
    np.testing.assert_array_equal(masks[..., 0] > 0.5, np.isin(labels, (0, CAT)))


@pytest.mark.parametrize("min_speck", [0.0, 0.3])
@pytest.mark.parametrize("hard", [True, False])
def test_masks_and_background_sum_to_one(hard: bool, min_speck: float):
    rng = np.random.default_rng(0)
    photo = Image.fromarray((noise(60, 80) * rng.random()).astype(np.uint8))
    found = class_probabilities(colour_segmenter(ColourSegmenter(sharpness=4.0)), photo)
    masks = region_masks(found, ["cat", "person", "dog"], hard=hard, min_speck=min_speck)
    assert sum(masks.values()).max() <= 1 + 1e-6
    assert {mask.dtype for mask in masks.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(combine(masks, [*masks, "background"]).sum(-1), 1, atol=1e-6)
    if hard:
        assert {value for mask in masks.values() for value in np.unique(mask)} == {0, 1}
        if not min_speck:
            np.testing.assert_array_equal(masks["cat"], found.argmax(-1) == CAT)
    else:
        assert ((masks["cat"] > 0.1) & (masks["cat"] < 0.9)).any()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dgo"], r"^there is no region 'dgo'; regions are background, aeroplane, .*tvmonitor, or any .* --mask dgo="),
        (["person+dgo"], r"no region 'dgo'; .* give --mask person\+dgo=FILE"),
        (["person+"], r"no region ''; "),
        (["person+background"], r"'person\+background': background is what no other region claims"),
        (["person+dog", "dog"], r"class 'dog' is named twice, in region 'person\+dog' and in 'dog'; leave one out"),
        (["dog+dog"], r"class 'dog' is named twice"),
        (["bird"], r"^region 'bird' was not found in the photo; found: background 56%, cat 22%, person 21%, dog 1%: "),
        (["bird+sheep", "cat"], r"^region 'bird\+sheep' was not found .* give --mask bird\+sheep=FILE$"),
    ],
)
def test_regions_that_are_not_there_are_refused(names: list[str], message: str):
    with pytest.raises(UserError, match=message):
        region_masks(probabilities_of(animals()), [*names, "background"])


def test_a_region_that_is_too_small_or_too_faint_says_so():
    probabilities = probabilities_of(animals())
    specks = r"'dog' was found only in specks smaller than config.min_speck = 2% of the photo"
    with pytest.raises(UserError, match=rf"{specks}; found: background 57%, cat 22%, person 21%: leave its --style"):
        region_masks(probabilities, ["dog"], min_speck=2.0)
    faint = probabilities_of(animals(), 0.4)
    certainty = r"'dog' is nowhere more than half certain \(40% at most, yet likelier there than any other\)"
    with pytest.raises(UserError, match=rf"{certainty}; found: background 56%.* with --config.hard_masks=True, or "):
        region_masks(faint, ["dog"])
    assert region_masks(faint, ["dog"], hard=True)["dog"].max() == 1


def test_what_was_found_has_shares_that_add_up_to_one():
    labels = animals()
    found = class_fractions(probabilities_of(labels))
    assert list(found) == ["background", "cat", "person", "dog"]
    assert found["dog"] == pytest.approx((labels == DOG).mean())
    assert sum(found.values()) == pytest.approx(1)
    assert list(class_fractions(probabilities_of(labels), 2.0)) == ["background", "cat", "person"]
    assert format_fractions({"cat": 0.996, "dog": 0.004}) == "cat 100%, dog <1%"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """a.png, b.png, c.png, left.png and middle.png, and a photo.png with a person, a cat and a small dog."""
    make_scene(tmp_path, 60, 80)
    save(tmp_path / "photo.png", painted(animals()))
    return tmp_path


def load(
    scene: Path, styles: str, masks: dict[str, str] | None = None, segmenter: Segmenter | None = None, **changes: Any
) -> PhotoInputs:
    """The inputs of the regions `styles`, parted by spaces, and mask files by name."""
    return load_photo_inputs(
        quick_config(**{"size": 0, "feather": 0.0, **changes}),
        str(scene / "photo.png"),
        {name: str(scene / "a.png") for name in styles.split()},
        {name: str(scene / file) for name, file in (masks or {}).items()},
        segmenter=segmenter or colour_segmenter(),
    )


def test_regions_without_masks_are_found(scene: Path):
    inputs = load(scene, "cat background person+dog", hard_masks=True)
    labels = animals()
    for index, group in enumerate([(CAT,), (0,), (PERSON, DOG)]):
        assert (inputs.masks[..., index] == np.isin(labels, group)).mean() > 0.99
    assert [region.origin for region in inputs.regions] == ["segmenter", "rest", "segmenter"]
    assert inputs.segmenter == {"name": "deeplabv3_resnet101", "weights": "deeplabv3_resnet101.safetensors"}


@pytest.mark.parametrize(("changes", "shape"), [({"size": 40}, (30, 40)), ({"size": 33, "square": True}, (33, 33))])
def test_regions_have_the_size_of_the_work(scene: Path, changes: dict[str, Any], shape: tuple[int, int]):
    inputs = load(scene, "person background", **changes)
    assert inputs.masks.shape == (*shape, 2)
    np.testing.assert_allclose(inputs.masks.sum(-1), 1, atol=1e-6)
    assert area_fractions(inputs.masks)[0] == pytest.approx((animals() == PERSON).mean(), abs=0.02)


def test_edges_are_moved_onto_those_of_the_photo_if_that_is_asked_for(scene: Path):
    """The network, whose grid is coarser than the photo's, finds all 4 of its pixels too far right: 2 of the photo."""
    shifted = colour_segmenter(ShiftedSegmenter(4))
    labels = animals(240, 320)
    photo = save(scene / "photo.png", painted(labels))
    found = class_probabilities(shifted, Image.open(photo))
    refined = class_probabilities(shifted, Image.open(photo), refine=True)
    wrong, left = ((classes.argmax(-1) != labels).mean() for classes in (found, refined))
    assert left < wrong / 4
    np.testing.assert_allclose(refined.sum(-1), 1, atol=1e-6)
    for refine, wanted in ((True, refined), (False, found)):
        inputs = load(scene, "person background", segmenter=shifted, refine_edges=refine, min_speck=0.0)
        np.testing.assert_allclose(inputs.masks[..., 0], wanted[..., PERSON], atol=1e-5)
    small = class_probabilities(shifted, Image.open(photo), (101, 76), refine=True)
    assert small.shape == (76, 101, 21)


def test_the_edges_are_those_of_the_photo_at_the_size_of_the_work(scene: Path, monkeypatch: pytest.MonkeyPatch):
    made = refinements(monkeypatch)
    load(scene, "person background", size=40)
    load(scene, "person background", size=33, square=True)
    assert made == [(30, 40), (33, 33)]
    load(scene, "person background", refine_edges=False)
    assert len(made) == 2


def test_a_mask_wins_over_the_segmenter(scene: Path):
    """The mask says that the left 40% are dog: the person is there no more, nor the dog in the middle."""
    cat_only = load(scene, "cat dog background", {"dog": "left.png"}, hard_masks=True)
    np.testing.assert_array_equal(cat_only.masks[..., 1], stripe(60, 80, 0, 0.4) / 255)
    assert [region.origin for region in cat_only.regions] == ["segmenter", "mask", "rest"]
    told = (
        r"region 'person' lies wholly under the masks given; found: masks given 40%, background 36%, cat 22%, dog 1%:"
    )
    with pytest.raises(UserError, match=told):
        load(scene, "person dog background", {"dog": "left.png"})
    soft = load(scene, "cat dog background", {"dog": "middle.png"})
    np.testing.assert_allclose(soft.masks[:, 33:55, 1], 1)


@pytest.mark.parametrize("hard", [True, False])
def test_what_a_mask_leaves_of_a_region_is_no_region_if_it_is_a_speck(scene: Path, hard: bool):
    """The mask has all of the person but a sliver of two columns, 2% of the photo."""
    save(scene / "most.png", stripe(60, 80, 0, 18 / 80))
    sliver = load(scene, "person dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=1.0)
    assert (sliver.masks[..., 0] > 0.5).sum() == pytest.approx(2 * 50, rel=0.1)
    with pytest.raises(UserError, match=r"'person' was found only in specks smaller than .* 5% of the photo; found: "):
        load(scene, "person dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=5.0)
    cat = load(scene, "cat dog background", {"dog": "most.png"}, hard_masks=hard, min_speck=5.0)
    np.testing.assert_allclose(cat.masks.sum(-1), 1, atol=1e-6)
    assert cat.masks[:, 18:22, 2].min() > 0.5  # the sliver is no hole in the background either


def test_hard_regions_are_found_where_a_soft_mask_is_below_one_half(scene: Path):
    white = stripe(60, 80, 0.9, 1)
    person = animals() == PERSON
    save(scene / "faint.png", np.where(person, 100, white).astype(np.uint8))
    faint = load(scene, "person dog background", {"dog": "faint.png"}, hard_masks=True)
    assert (faint.masks[..., 0] == person).mean() > 0.99
    save(scene / "strong.png", np.where(person, 155, white).astype(np.uint8))
    strong = load(scene, "cat dog background", {"dog": "strong.png"}, hard_masks=True)
    assert (strong.masks[..., 1] == (person | (white > 0))).mean() > 0.99


def test_a_style_that_is_missing_is_told_before_the_network_runs(scene: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = converted(monkeypatch)
    styles = {"person": str(scene / "a.png"), "background": str(scene / "nope.png")}
    with pytest.raises(UserError, match=r"style .*nope\.png does not exist"):
        load_photo_inputs(quick_config(), str(scene / "photo.png"), styles, {})
    assert not loaded


def test_the_photo_is_decoded_once(scene: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    decode = images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda path, *more: read.append(Path(path).name) or decode(path, *more))
    load(scene, "person background")
    export_masks(quick_config(), str(scene / "photo.png"), scene / "out" / "m.png", segmenter=colour_segmenter())
    assert read.count("photo.png") == 2


def test_names_that_are_no_class_need_a_mask(scene: Path):
    inputs = load(scene, "statue cat background", {"statue": "left.png"})
    assert [region.origin for region in inputs.regions] == ["mask", "segmenter", "rest"]
    with pytest.raises(UserError, match=r"no region 'statue'; regions are background, .* give --mask statue=FILE"):
        load(scene, "statue cat background", {"cat": "left.png"})


def test_the_network_is_loaded_only_for_a_region_without_a_mask(scene: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = converted(monkeypatch)
    files = {name: str(scene / f"{name}.png") for name in ("photo", "a", "left")}
    config = quick_config(segmenter="deeplabv3_mobilenet_v3_large")
    both = {"dog": files["a"], "background": files["a"]}
    inputs = load_photo_inputs(config, files["photo"], both, {"dog": files["left"]})
    assert inputs.segmenter is None
    assert [region.origin for region in inputs.regions] == ["mask", "rest"]
    assert load_photo_inputs(config, files["photo"], {"background": files["a"]}, {}).segmenter is None
    with pytest.raises(UserError, match="no region 'dgo'"):
        load_photo_inputs(config, files["photo"], {"dgo": files["a"], "cat": files["a"]}, {})
    assert not loaded
    found = load_photo_inputs(config, files["photo"], both, {})
    assert loaded == ["deeplabv3_mobilenet_v3_large"]
    assert found.segmenter == {"name": loaded[0], "weights": f"{loaded[0]}.safetensors"}


def test_missing_weights_tell_both_ways_out(scene: Path):
    styles = {name: str(scene / "a.png") for name in ("person", "cat", "background")}
    config = quick_config(segmenter="deeplabv3_resnet101")
    with pytest.raises(UserError) as raised:
        load_photo_inputs(config, str(scene / "photo.png"), styles, {"cat": str(scene / "left.png")})
    assert re.fullmatch(
        r"weights of deeplabv3_resnet101 are not in \S+: run `python -m convert_weights deeplabv3_resnet101`; "
        r"or do without it: give --mask person=FILE",
        str(raised.value),
    )


def test_damaged_weights_are_one_line_too(scene: Path):
    path = pretrained.converted_path("deeplabv3_resnet101")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"nothing")
    with pytest.raises(
        UserError, match=r"^weights \S+ are damaged \([^\n]*; or do without it: give --mask person=FILE"
    ):
        load_segmenter("deeplabv3_resnet101", ["person"])


PHOTOS = 5
AGREEMENT = 0.999


def confident(name: str, photos: list[Image.Image]) -> torch.nn.Module:
    """torchvision's network with random weights, and scores as far apart as a trained network's.

    Its statistics are those of a photo, so that no layer saturates; the last layer is shifted and scaled until
    several classes are found in a photo.
    """
    torch.manual_seed(0)
    net = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, aux_loss=True)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net.train().classifier[0].convs[4].eval()  # the pooled picture is one pixel: it has no statistics
    torch_scores(net, photos[0])
    with torch.no_grad():
        last = net.eval().classifier[4]
        scores = torch.cat([torch_scores(net, photo).flatten(2)[0] for photo in photos[:2]], 1)
        scale = 5 / scores.std(1)
        last.weight *= scale[:, None, None, None]
        last.bias.copy_((last.bias - scores.mean(1)) * scale)
    return net


def torch_scores(net: torch.nn.Module, picture: Image.Image) -> torch.Tensor:
    """torchvision's own way: (1, 21, h, w) at the size of the preset."""
    with torch.no_grad():
        return net(PUBLISHED.transforms()(picture)[None])["out"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_the_whole_way_of_a_photo_agrees_with_torchvision(name: str, shared: Path, tmp_path: Path):
    files = sorted((shared / "data" / "voc21" / "images").glob("*.jpg"))[::60][:PHOTOS]
    photos = [Image.open(file).convert("RGB") for file in files]
    net = confident(name, photos)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    output = pretrained.converted_path(name)
    assert cli.main([name, "--from", str(tmp_path / "net.pth"), "--output", str(output), "--check"]) == 0
    ours = load_segmenter(name)
    for file, photo in zip(files, photos, strict=True):
        scores = torch_scores(net, photo)
        resized = torch.nn.functional.interpolate(scores, photo.size[::-1], mode="bilinear", align_corners=False)
        wanted = resized[0].argmax(0).numpy()
        found = class_probabilities(ours, images.read_picture(file)).argmax(-1)
        agreement = (found == wanted).mean()
        print(f"{file.name}: {agreement:.4%} of {wanted.size} pixels, {len(np.unique(wanted))} classes")
        assert agreement >= AGREEMENT
        assert len(np.unique(wanted)) > 2
