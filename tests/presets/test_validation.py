"""Every config that ships can be run, and numbers that cannot work are refused by name."""

from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.cli.flag_values import parse_blend_ratios
from msst_jax.cli.flags import parse_region_files
from msst_jax.configs import any as any_preset
from msst_jax.configs import photo, photo_separate, quickstart, seed, seed_fast
from msst_jax.errors import UserError
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.presets.validation import (
    STYLIZER_MAXIMUMS,
    STYLIZER_MINIMUMS,
    TRAINING_MINIMUMS,
    check_any_stylizer_config,
    check_config,
    check_fields,
    check_number,
    check_stylizer_config,
    check_training_config,
)
from msst_jax.transfer.build import build_options, build_schedule
from msst_jax.transfer.inputs import load_photo_inputs
from tests.helpers.pictures import quick_config
from tests.helpers.segmenters import convert
from tests.helpers.training_runs import tiny_config

CONFIGS = pytest.mark.parametrize(
    "module", [photo, photo_separate, quickstart, seed, seed_fast], ids=lambda module: module.__name__
)


@CONFIGS
def test_a_config_that_ships_is_valid_and_needs_no_download(module: Any):
    config = module.get_config()
    check_config(config)
    check_fields(config, photo.get_config())
    _, weights = load_vgg(config.network, [*config.style_layers, *config.content_layers], pooling=config.pooling)
    assert weights == EMBEDDED_VGG16


@CONFIGS
def test_the_numbers_of_a_config_are_made_anew_each_time(module: Any):
    config = module.get_config()
    config.size = 1
    assert module.get_config().size != 1


@pytest.mark.slow
def test_the_bundled_example_has_all_its_files():
    config = quickstart.get_config()
    pairs = parse_region_files(config.styles, "style"), parse_region_files(config.masks, "mask")
    inputs = load_photo_inputs(build_options(config), config.photo, *pairs)
    assert [region.name for region in inputs.regions] == ["person", "background"]
    assert max(inputs.photo.shape) == config.size
    np.testing.assert_allclose(inputs.masks.sum(-1), 1, atol=1e-6)
    with Image.open(quickstart.EXAMPLES / "astronaut_mask.png") as drawn:
        truth = np.asarray(drawn.convert("L").resize((config.size, config.size))) > 127
    found = inputs.masks[..., 0] > 0.5
    # Whether the helmet in her lap is part of the person, the network and who drew the mask do not agree.
    height, width = truth.shape
    beside_helmet = np.ones_like(truth)
    beside_helmet[round(0.64 * height) :, round(0.53 * width) :] = False
    assert (found & truth)[beside_helmet].sum() > 0.8 * (found | truth)[beside_helmet].sum()


@CONFIGS
def test_the_bundled_example_is_the_same_whatever_was_converted_on_this_machine(module: Any):
    convert("deeplabv3_resnet101")
    config = module.get_config()
    quickstart.use_example(config)
    config.size = 64
    pairs = parse_region_files(config.styles, "style"), parse_region_files(config.masks, "mask")
    assert load_photo_inputs(build_options(config), config.photo, *pairs).segmenter == {
        "name": "person_vgg16",
        "weights": "person_vgg16.safetensors",
    }
    config.segmenter = "deeplabv3_resnet50"
    quickstart.use_example(config)
    assert config.segmenter == "deeplabv3_resnet50"


@pytest.mark.parametrize(("steps", "made"), [(60, 80), (59, 60), (300, 320), (1, 20)])
def test_the_original_stops_after_the_first_full_step_above_its_limit(steps: int, made: int):
    config = seed.get_config()
    config.steps = steps
    assert build_schedule(config).evaluations == (made,)


def evaluations(**changes: Any) -> tuple[int, ...]:
    return build_schedule(quick_config(**changes)).evaluations


@pytest.mark.parametrize("steps", [3, 10, 61, 300])
@pytest.mark.parametrize(("scales", "shares"), [((1.0,), (1.0,)), ((0.5, 1.0), (0.6, 0.4)), ((0.5, 1.0), (3.0, 1.0))])
def test_the_steps_are_shared_between_the_scales(steps: int, scales: tuple, shares: tuple):
    made = evaluations(steps=steps, scales=scales, scale_steps=shares)
    assert len(made) == len(scales)
    assert min(made) >= 1
    assert sum(made) == steps


def test_too_few_steps_for_all_scales_leave_out_the_coarse_ones():
    assert evaluations(steps=1, scales=(0.5, 1.0), scale_steps=(0.6, 0.4)) == (0, 1)
    assert evaluations(steps=2, scales=(0.25, 0.5, 1.0), scale_steps=(1.0, 1.0, 1.0)) == (1, 0, 1)
    assert evaluations(steps=3, scales=(0.5, 1.0), scale_steps=(1000.0, 1.0)) == (2, 1)


def test_without_shares_two_scales_have_the_evaluations_of_earlier_versions():
    for steps in range(1, 400):
        given = evaluations(steps=steps, scales=(0.5, 1.0), scale_steps=(0.7, 0.3))
        assert evaluations(steps=steps, scales=(0.5, 1.0), scale_steps=()) == given
    assert build_schedule(photo.get_config()).evaluations == (140, 60)


def test_without_shares_any_number_of_scales_will_do():
    config = quick_config(scales=(0.25, 0.5, 1.0), scale_steps=(), steps=200)
    check_config(config)
    assert build_schedule(config).evaluations == (93, 47, 60)
    assert evaluations(steps=7, scales=(1.0,), scale_steps=()) == (7,)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", -1, "is -1; it must be zero or more"),
        ("steps", 0, "is 0; it must be above zero"),
        ("steps", -5, "is -5; it must be above zero"),
        ("style_weight", -1.0, "is -1.0; it must be zero or more"),
        ("style_weight", 1e39, "at most 3.4e"),
        ("content_weight", float("nan"), "is nan; it must be zero or more"),
        ("tv_weight", float("inf"), "is inf; it must be at most 3.4e"),
        ("blend_ratio", float("nan"), "is nan"),
        ("style_scale", 0.0, "is 0.0; it must be above zero"),
        ("stroke_size", 0.0, "is 0.0; it must be above zero"),
        ("stroke_size", 5.0, "is 5.0; use 0.1 to 4, 1 = as painted"),
        ("stroke_size", 0.05, "is 0.05; use 0.1 to 4"),
        ("keep_colours", ("person", 3), "has 3; use names of regions"),
        ("learning_rate", -1.0, "must be zero or more"),
        ("max_step", -1.0, "must be zero or more"),
        ("history", 0, "must be above zero"),
        ("history_dtype", "float16", "use one of float32, bfloat16"),
        ("feather", 101.0, "use at most 100"),
        ("min_speck", 101.0, "percent of the photo; use at most 100"),
        ("min_speck", -0.1, "must be zero or more"),
        ("segmenter", "vgg16", "use one of deeplabv3_resnet101, "),
        ("network", "vgg11", "is 'vgg11'; use one of vgg16, vgg19"),
        ("pooling", "mean", "use one of max, average"),
        ("padding", "reflect", "use one of zeros, replicate"),
        ("precision", "tf32", "use one of highest, default, bfloat16"),
        ("init", "nope.png", "no such file; use one of content, noise, or the path of a picture"),
        ("keep", "first", "use one of best, last"),
        ("optimizer", "sgd", "use one of lbfgs, adam"),
        ("style_layers", (), "name at least one layer"),
        ("content_layers", ("relu1_1", "relu1_1"), "each once"),
        ("style_layer_weights", (1.0,), "has 1 values for 2 layers"),
        ("style_layer_weights", (1.0, "x"), "is 'x'; it must be a number"),
        ("style_layer_weights", (1.0, -1.0), "must be zero or more"),
        ("scales", (0.5, 1.0), r"has 2 values, config.scale_steps 1; give as many, or --config.scale_steps=\(\) for"),
        ("scales", (), r"is empty; give \(1.0,\) for the full size alone"),
        ("scales", (0.5,), "must be 1.0, the full size"),
        ("scales", (2.0,), "has 2.0; a scale is a share of the full size, at most 1.0"),
        ("scales", ("a",), "is 'a'; it must be a number"),
        ("scale_steps", (0.0,), "must be above zero"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(field: str, value: Any, message: str):
    config = quick_config()
    config[field] = value
    with pytest.raises(UserError, match=f"^config.{field} .*{message}"):
        check_config(config)


def test_no_scale_is_above_the_full_size_although_the_last_one_is_it():
    with pytest.raises(UserError, match=r"^config\.scales has 1\.5; a scale is a share of the full size"):
        check_config(quick_config(scales=(1.5, 1.0), scale_steps=()))


def test_a_config_without_a_field_or_of_another_type_is_refused():
    config = ConfigDict({name: value for name, value in photo.get_config().items() if name != "steps"})
    with pytest.raises(UserError, match=r"has no field steps; derive it from configs/photo.py"):
        check_fields(config, photo.get_config())
    earlier = ConfigDict({("dtype" if name == "precision" else name): value for name, value in config.items()})
    with pytest.raises(UserError, match=r"^config\.dtype is now config\.precision; use one of highest, "):
        check_fields(earlier, photo.get_config())
    config.steps = "many"
    with pytest.raises(UserError, match=r"config.steps is 'many'; it must be like \d+"):
        check_fields(config, photo.get_config())


def test_a_blend_list_keeps_its_order():
    assert parse_blend_ratios("0.4, 0,1e-2") == [0.4, 0.0, 0.01]


@pytest.mark.parametrize("text", ["", ",", "x", "0.2,", "0.2 0.4", "nan", "inf", "-0.1", "0.1,0.1", "1e39"])
def test_a_blend_list_that_cannot_be_used_is_refused(text: str):
    with pytest.raises(UserError, match=r"^--blend [^\n]*(write|must|leave)[^\n]*$"):
        parse_blend_ratios(text)


@pytest.mark.parametrize("value", [np.float32(1), 2, 0.5, np.int64(3)])
def test_any_kind_of_number_will_do(value: Any):
    check_number("x", value, positive=True)


HUGE = 10**21


def check_all(config: ConfigDict) -> None:
    check_training_config(config)
    check_stylizer_config(config)


@pytest.mark.parametrize("field", ["size", "steps", "steps_multiple", "history", "segment_every", "next_steps"])
def test_an_integer_that_no_device_counts_to_is_refused(field: str):
    with pytest.raises(UserError, match=rf"^config\.{field} is {HUGE}; it must be at most 2147483647$"):
        check_config(quick_config(**{field: HUGE}))


@pytest.mark.parametrize("field", [*TRAINING_MINIMUMS, *STYLIZER_MINIMUMS])
def test_an_integer_of_training_that_no_device_counts_to_is_refused(field: str):
    config = tiny_config(**{field: HUGE})
    with pytest.raises(UserError, match=rf"^config\.{field} is {HUGE}; it must be at most "):
        check_all(config)


@pytest.mark.parametrize("field", STYLIZER_MAXIMUMS)
def test_a_network_that_no_device_holds_is_refused(field: str):
    with pytest.raises(UserError, match=rf"^config\.{field} is 1025; it must be at most 1024$"):
        check_stylizer_config(tiny_config(**{field: 1025}))


@pytest.mark.parametrize("regions", [("background",), ("person", "person"), ("",), (1,)])
def test_regions_that_are_no_names_of_masks_are_refused(regions: tuple[Any, ...]):
    config = any_preset.get_config()
    config.regions = regions
    with pytest.raises(
        UserError, match=r"^config.regions is .*; give the names of masks, each once, without background"
    ):
        check_any_stylizer_config(config)


def test_paintings_that_are_no_folders_are_refused():
    config = any_preset.get_config()
    config.paintings = (1,)
    with pytest.raises(UserError, match=r"^config.paintings is \(1,\); give the paths of folders$"):
        check_any_stylizer_config(config)
