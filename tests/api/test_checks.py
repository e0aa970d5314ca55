"""What cannot be used is an error that names the argument, what was found and what to do: nothing fails silently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

import msst_jax
from msst_jax.api.styles import take_style_mix
from msst_jax.api.wording import callers_words
from msst_jax.losses.objective import LossWeights
from msst_jax.models.pretrained import load_vgg
from msst_jax.optim.optimizer import OptimizerOptions, build_optimizer
from msst_jax.regions.inference import class_probabilities
from msst_jax.transfer import optimization
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from tests.helpers.pictures import noise, quick_config, stripe
from tests.helpers.segmenters import colour_segmenter

PHOTO = noise(24, 32)
LEFT = stripe(24, 32, 0, 0.4)
STYLES = {"left": noise(28, 36, 1), "background": noise(28, 36, 2)}
FLOATS = PHOTO / np.float32(255)
NAN = np.where(np.arange(24)[:, None, None] == 3, np.nan, FLOATS)
PARTIAL = ConfigDict({"size": 32, "steps": 3})

PICTURES: list[tuple[Any, str]] = [
    (FLOATS * 255, r"photo has values up to 25\d(\.\d+)?, and floats are in \[0, 1\]: divide by 255"),
    (FLOATS - 0.5, r"photo has values down to -0\.\d+, and floats are in \[0, 1\]: clip or rescale"),
    (NAN, r"photo has \d+ values that are NaN or infinite"),
    (PHOTO.astype(np.int32), r"photo has the dtype int32; give uint8 \(0 to 255\) or floats in \[0, 1\]"),
    ((FLOATS > 0.5).astype(np.uint8), r"photo is uint8 with values up to 1; keep floats"),
    (FLOATS[None], r"photo has the shape \(1, 24, 32, 3\); give one picture at a time"),
    (FLOATS.transpose(2, 0, 1), r"photo has the shape \(3, 24, 32\); move the channels to the end"),
    (FLOATS[..., 0], r"photo has the shape \(24, 32\); repeat the gray values"),
    (np.concatenate([FLOATS, FLOATS[..., :1]], -1), r"leave its opacity out"),
    (FLOATS[:4], r"photo: a picture of 32x4 becomes 32x4 pixels; every side must have at least 16"),
    (FLOATS.tolist(), r"photo is of the type list; give an array, a Pillow picture or a path"),
    ("", r"photo is an empty text"),
    ("nowhere.png", r"photo nowhere\.png does not exist; check the name"),
]
MASKS: list[tuple[Any, str]] = [
    ({"left": LEFT.astype(np.float32)}, r"masks\['left'\] has values up to 255, and floats are in \[0, 1\]: divide"),
    ({"left": LEFT[:12]}, r"masks\['left'\] has the shape \(12, 32\); give that of the photo, \(24, 32\)"),
    ({"left": LEFT[..., None]}, r"masks\['left'\] has the shape \(24, 32, 1\); give \(H, W\)"),
    ({"left": LEFT * 0}, r"masks\['left'\] is empty"),
    ({"left": np.where(LEFT > 0, np.nan, 0)}, r"masks\['left'\] has \d+ values that are NaN"),
    (
        {"left": LEFT, "background": LEFT},
        r"masks\['left'\] and masks\['background'\] both have 41% of the photo inside",
    ),
    (
        {"left": LEFT / np.float32(510), "background": np.ones((24, 32))},
        r"the sum of masks\['left'\], masks\['background'\] is above 1 in 41% of the photo; let it be at most 1",
    ),
    (
        {"left": np.full((24, 32), 0.5), "background": np.full((24, 32), 0.5)},
        r"region 'left' is empty: the other regions leave nothing for it",
    ),
    ({"left": LEFT, "background": stripe(24, 32, 0.7, 1)}, r"28.1% of the photo lies in no region"),
    ({"lefd": LEFT}, r"masks has the region 'lefd', which has no style; did you mean left\?"),
    ({"left": np.where(LEFT > 0, 1, -1)}, r"masks\['left'\] has values from -1 to 1; give 0 to 255"),
    ([LEFT], r"masks is of the type list; give \{region: mask\}"),
    ({"left": np.arange(24 * 32).reshape(24, 32)}, r"masks\['left'\] has values from 0 to 767; give 0 to 255"),
]
OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"styles": {}}, r"styles is empty"),
    ({"styles": [PHOTO]}, r"styles is of the type list; give \{region: painting\}"),
    ({"styles": {"persn": PHOTO}, "masks": None}, r"there is no region 'persn', .*; did you mean person\?"),
    ({"styles": {"persn#1": PHOTO}, "masks": None}, r"or a segmenter of your own knows it .*; did you mean person\?"),
    ({"points": [(1, 2)]}, r"points is of the type list; give \{region: \(x, y\)\}"),
    ({"points": {"background": 3}}, r"points\['background'\] is 3; give \(x, y\), in pixels of the photo"),
    ({"points": {"background": (1.5, 2)}}, r"x of points\['background'\] is 1\.5; give an integer"),
    ({"points": {"left": (1, 2)}}, r"^region 'left' has a mask and a point; drop its mask or its point$"),
    ({"points": {"dog": (1, 2)}}, r"^region 'dog' has a point but no style; add styles\['dog'\] or drop its point$"),
    ({"styles": {**STYLES, "left": []}}, r"styles\['left'\] is empty"),
    ({"styles": {**STYLES, "left": [(PHOTO, -1.0)]}}, r"a weight of styles\['left'\] is -1\.0; it must be above zero"),
    ({"styles": {**STYLES, "left": FLOATS * 255}}, r"styles\['left'\] has values up to"),
    ({"styles": dict.fromkeys(STYLES, "keep")}, r"styles keeps every region as it is"),
    ({"preset": "photos"}, r"^preset 'photos' is neither a preset nor a file; did you mean photo\?"),
    ({"preset": "fast"}, r"preset 'fast' is for training"),
    ({"preset": 3}, r"preset is 3; give a name"),
    ({"preset": PARTIAL}, r"the config has no field .*style_layers.*; derive it from configs/photo\.py"),
    ({"styl_weight": 1.0}, r"stylize has no argument 'styl_weight'; did you mean style_weight\?"),
    ({"optimizer": "adma"}, r"optimizer is 'adma'; use one of lbfgs, adam"),
    ({"style_weight": "big"}, r"style_weight is 'big'; it must be like 200\.0"),
    ({"style_layers": "relu1_1"}, r"style_layers is 'relu1_1'; it must be like"),
    ({"steps": 2.5}, r"steps is 2\.5; it must be an integer"),
    ({"steps": 0}, r"^steps is 0; it must be above zero"),
    ({"size": -1}, r"^size is -1"),
    ({"blend": -0.1}, r"^blend is -0\.1; it must be zero or more"),
    ({"blend": [0.1]}, r"^blend is \[0\.1\]; it must be a number"),
    ({"blend": 0.1, "blend_ratio": 0.1}, r"blend and blend_ratio both say what it is"),
    ({"seed": -1}, r"seed is -1; give an integer of at least 0"),
    ({"every": 0}, r"every is 0; give an integer of at least 1"),
    ({"next_steps": 3}, r"no effect: next_steps on a photo"),
    ({"remat": True}, r"no effect: remat, since guided takes a single image"),
    (
        {"remat": True, "guided": False, "tiles": 4},
        r"no effect: remat, since tiles takes a part of a single image through VGG; leave it out",
    ),
    ({"tiles": 0}, r"^tiles is '0'; use auto, off, or a number"),
    ({"transform": 0.02}, r"transform is of the type float; give an optax transformation"),
    ({"transform": lambda count: 0.1}, r"give an optax transformation, such as optax\.adam\(schedule\)"),
    (
        {"extra_loss": lambda pixels, result: pixels.mean()},
        r"extra_loss is called with \(pixels, result, features\): too",
    ),
    ({"extra_loss": 3}, r"extra_loss is of the type int; give a function"),
    ({"on_picture": lambda picture: None}, r"on_picture is called with \(evaluation, picture\)"),
    ({"stop": 3}, r"stop is of the type int; give a threading\.Event or a function"),
    ({"keep_colours": ("dgo",)}, r"keep_colours names 'dgo', and the regions are left, background"),
    (
        {"styles": {**STYLES, "left": "keep"}, "keep_colours": ("left",)},
        r"no effect: keep_colours of left, since the style leaves it the photo; leave it out",
    ),
    ({"weights": "nowhere.safetensors"}, r"nowhere\.safetensors"),
]


def refused(match: str, **changes: Any) -> None:
    """A call that ends before anything is compiled, in a message without a flag or a field of a config."""
    call = {"photo": PHOTO, "styles": STYLES, "masks": {"left": LEFT}, "preset": quick_config(), **changes}
    with pytest.raises(msst_jax.UserError, match=match) as raised:
        msst_jax.stylize(**call)
    message = str(raised.value)
    assert "--" not in message
    assert "config." not in message
    assert "\n" not in message


@pytest.mark.parametrize(("photo", "match"), PICTURES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_photo_that_cannot_be_one_is_refused(photo: Any, match: str):
    refused(match, photo=photo)


@pytest.mark.parametrize(("masks", "match"), MASKS, ids=lambda value: value if isinstance(value, str) else "")
def test_masks_that_cannot_be_masks_are_refused(masks: Any, match: str):
    refused(match, masks=masks)


@pytest.mark.parametrize(("changes", "match"), OTHERS, ids=lambda value: value if isinstance(value, str) else "")
def test_other_arguments_that_cannot_be_used_are_refused(changes: dict[str, Any], match: str):
    refused(match, **changes)


def video(*files: Any, **options: Any) -> Any:
    return msst_jax.stylize_video(*files, **options)


def total(pixels: Any) -> Any:
    return pixels.sum(), {}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: msst_jax.segment(FLOATS * 255), "photo has values up to"),
        (lambda: msst_jax.segment(PHOTO, "persn_vgg16"), r"segmenter 'persn_vgg16' is neither .*mean person_vgg16\?"),
        (lambda: msst_jax.load_stylizer("nowhere"), r"^model nowhere: nowhere does not exist"),
        (lambda: msst_jax.load_stylizer(dtype="float23"), r"dtype is 'float23'; did you mean float32\?"),
        (lambda: msst_jax.load_stylizer()(PHOTO, {"dog": LEFT}), r"masks has the region 'dog', which has no style"),
        (lambda: msst_jax.load_stylizer()(PHOTO, {"person": LEFT}, -1.0), r"blend is -1\.0"),
        (lambda: msst_jax.load_vgg("vgg_16"), r"name has 'vgg_16'; did you mean vgg16\?"),
        (lambda: msst_jax.load_vgg("vgg16", ["relu31"]), r"layers has 'relu31'; did you mean relu3_1\?"),
        (lambda: msst_jax.load_vgg("vgg16", "relu3_1"), r"layers is the text 'relu3_1'; give a list"),
        (lambda: msst_jax.load_vgg("vgg16", ["relu1_1"], pooling="mean"), r"pooling has 'mean'"),
        (lambda: msst_jax.read_image("nowhere.png"), r"image nowhere\.png does not exist"),
        (lambda: msst_jax.write_image(FLOATS * 255, "a.png"), r"image has values up to"),
        (lambda: msst_jax.write_image(FLOATS, "a.xyz"), r"a\.xyz"),
        (
            lambda: video("a.mp4", "b.mp4", {"background": 3}),
            r"styles\['background'\] is of the typ",
        ),
        (lambda: video("a.mp4", "b.mp4"), r"styles is of the type NoneType"),
        (
            lambda: video("a.mp4", "b.mp4", model="builtin", rate=0),
            r"rate is 0; give frames per second",
        ),
        (
            lambda: video("a.mp4", "b.mp4", model="builtin", start=3, end=2),
            r"end 2 is not after start 3",
        ),
        (
            lambda: video("a.mp4", "b.mp4", model="builtin", stepz=3),
            r"stylize_video has no argument 'ste",
        ),
        (
            lambda: msst_jax.minimize(total, FLOATS, "adam", 3),
            r"transform must be an optax transform",
        ),
        (
            lambda: msst_jax.minimize(total, FLOATS, msst_jax.torch_lbfgs(), 2.5),
            r"evaluations must be",
        ),
        (lambda: msst_jax.torch_lbfgs(history_size=0), r"history_size must be at least 1"),
    ],
)
def test_the_other_functions_refuse_in_one_line_what_they_cannot_use(call: Any, match: str):
    with pytest.raises(ValueError, match=match) as raised:
        call()
    assert "--" not in str(raised.value)
    assert "\n" not in str(raised.value)


def inner(photo: np.ndarray, masks: np.ndarray) -> None:
    """The call below the door, as a researcher makes it who needs more."""
    regions = tuple(Region(name, (Painting(FLOATS),)) for name in "ab")
    options = build_options(quick_config())
    vgg = load_vgg("vgg16", ["relu2_1"])[0]
    optimization.stylize(options, vgg, PhotoInputs(photo, masks, regions), [LossWeights(1.0, 1.0, 1.0, 1.0)])


@pytest.mark.parametrize(
    ("scale", "masks", "match"),
    [
        (255, 1.0, "photo has values up to 255"),
        (1, 255.0, r"masks has values up to 255|masks have|masks .*255"),
        (1, 0.5, "masks sum to 0.5 at a pixel"),
    ],
)
def test_a_photo_or_masks_of_another_range_are_refused_below_the_door_too(scale: int, masks: float, match: str):
    left = LEFT[..., None] / np.float32(255)
    with pytest.raises(msst_jax.UserError, match=match):
        inner(FLOATS * scale, np.concatenate([left, 1 - left], -1) * masks)


def test_a_photo_of_bytes_is_refused_below_the_door_where_it_would_be_nearly_white():
    left = LEFT[..., None] / np.float32(255)
    with pytest.raises(msst_jax.UserError, match=r"photo has the dtype uint8; give floats"):
        inner(PHOTO, np.concatenate([left, 1 - left], -1))


def test_a_photo_of_bytes_is_not_segmented_as_white():
    with pytest.raises(msst_jax.UserError, match="an image has the dtype uint8; give floats"):
        class_probabilities(colour_segmenter(), PHOTO)


def test_an_unknown_optimizer_is_not_taken_for_another():
    with pytest.raises(msst_jax.UserError, match=r"unknown optimizer 'adma'; did you mean adam\?"):
        build_optimizer(OptimizerOptions(name="adma"), 3)
    with pytest.raises(msst_jax.UserError, match=r"unknown history_dtype 'bfloat'; did you mean bfloat16\?"):
        build_optimizer(OptimizerOptions(history_dtype="bfloat"), 3)


def test_a_partial_config_names_all_that_it_lacks():
    with pytest.raises(msst_jax.UserError, match=r"no field .*guided.*, .*optimizer"):
        build_options(PARTIAL)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("raise config.size or config.scales", "raise size or scales"),
        ("give --config.size=64 or --config.remat=True", "give size=64 or remat=True"),
        ("correct the name or give --mask dog=FILE", "correct the name or give masks['dog']"),
        ("add --style dog=FILE or drop its --mask", "add styles['dog'] or drop its mask"),
        ("--style dog=keep needs config.guided=True", "styles['dog']='keep' needs guided=True"),
        ("choose a preset that has it, such as --config photo", "choose a preset that has it, such as preset photo"),
        ("--keep-colours names 'a'", "keep_colours names 'a'"),
        ("leave its --style out", "leave its style out"),
        ("continue it with --resume, or", "continue it with resume=True, or"),
        ("choose another name with -o", "choose another name as output"),
        ("--mask background: the background is what is left", "masks['background']: the background is what is left"),
    ],
)
def test_flags_become_arguments_in_messages(flags: str, words: str):
    assert callers_words(flags) == words


def test_no_message_of_the_package_keeps_a_flag():
    """Every text in the rooms below the door, in the words of the door."""
    root = Path(msst_jax.__file__).parent
    rooms = ("io", "losses", "models", "ops", "optim", "presets", "regions", "transfer", "video")
    for file in sorted(file for room in rooms for file in (root / room).rglob("*.py")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if "--" in line and ("Error(" in line or 'f"' in line):
                assert "--" not in callers_words(line).replace("--{", ""), f"{file.name}: {line}"


def test_a_misspelt_field_of_a_preset_is_not_ignored():
    config = quick_config()
    with config.unlocked():
        config.stepz = 3
    with pytest.raises(
        msst_jax.UserError, match="the preset has a field 'stepz', which has no effect; did you mean st"
    ):
        msst_jax.stylize(PHOTO, STYLES, {"left": LEFT}, preset=config)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"min_speck": 1000}, r"min_speck is 1000 percent of the photo; use at most 100"),
        ({"hard": "no"}, r"hard is 'no'; give True or False"),
    ],
)
def test_options_of_segment_are_checked(option: dict[str, Any], message: str):
    with pytest.raises(msst_jax.UserError, match=message):
        msst_jax.segment(PHOTO, **option)


def test_empty_styles_of_a_fast_model_are_not_taken_for_none():
    with pytest.raises(msst_jax.UserError, match="styles is empty"):
        msst_jax.load_stylizer("builtin", {})


def test_the_masks_that_segment_gives_can_be_passed_on_to_a_fast_model():
    left = LEFT / np.float32(255)
    stylizer = msst_jax.load_stylizer("any", STYLES)
    masks = {"left": left, "background": 1 - left}
    np.testing.assert_array_equal(stylizer(PHOTO, masks), stylizer(PHOTO, {"left": left}))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"extra_loss returns 'extra' of the type NoneType; return a scalar, or \{name: scalar\}"),
        ((1.0, {}), r"extra_loss returns 'extra' of the type tuple"),
        ({1: 1.0}, r"extra_loss returns a term called 1; call it by a text"),
        ({"a": {"b": 1.0}}, r"extra_loss returns 'a' of the type dict"),
        ({"style": 1.0}, r"extra_loss returns style; those terms are the method's"),
        ({"total": 1.0}, r"a term of the loss is named 'total', the name of the terms' sum; rename it"),
    ],
)
def test_an_extra_loss_that_returns_no_scalar_is_named(returned: Any, message: str):
    with pytest.raises(msst_jax.UserError, match=message):
        msst_jax.stylize(PHOTO, STYLES, {"left": LEFT}, steps=3, extra_loss=lambda pixels, result, features: returned)


def test_what_must_be_a_path_and_is_an_array_is_named(tmp_path: Path):
    with pytest.raises(msst_jax.UserError, match="video is of the type ndarray; give a path"):
        msst_jax.stylize_video(PHOTO, tmp_path / "out.mp4", STYLES)
    with pytest.raises(msst_jax.UserError, match="is of the type ndarray; give a path"):
        msst_jax.read_image(PHOTO)


def test_a_misspelt_model_is_told_the_nearest_and_what_to_do_from_python():
    with pytest.raises(msst_jax.UserError, match=r"did you mean builtin\?; one of your own is registered first$"):
        msst_jax.load_stylizer("bultin")


def test_weights_of_paintings_are_numbers_of_any_kind():
    mixes = [take_style_mix([(PHOTO, weight), FLOATS], "left") for weight in (2, 2.0, np.float32(2), np.int64(2))]
    assert [[weight for _, weight in mix] for mix in mixes] == [[2.0, 1.0]] * 4
