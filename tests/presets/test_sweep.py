"""Fields with several values: what they mean, the order of their pictures, and what is no sweep."""

import pytest

from msst_jax.configs import photo, photo_separate
from msst_jax.errors import UserError
from msst_jax.presets.sweep import MAX_CELLS, parse_sweep, swept_cells


def test_the_first_field_goes_from_left_to_right_and_the_second_down():
    fields = parse_sweep(["content_weight=0.3,1", "size=64,32"], photo.get_config())
    cells = swept_cells(photo.get_config(), fields)
    assert [cell.suffix for cell in cells] == [
        "content_weight0.3_size64",
        "content_weight1_size64",
        "content_weight0.3_size32",
        "content_weight1_size32",
    ]
    assert cells[1].label == "content_weight 1\nsize 64"
    assert [(cell.config.content_weight, cell.config.size) for cell in cells] == [
        (0.3, 64),
        (1, 64),
        (0.3, 32),
        (1, 32),
    ]


def test_a_sweep_changes_no_other_field_and_not_the_config_itself():
    config = photo_separate.get_config()
    before = config.to_dict()
    (cell,) = swept_cells(config, parse_sweep(["config.tv_weight=7"], config))
    assert config.to_dict() == before
    assert cell.config.to_dict() == {**before, "tv_weight": 7.0}


def test_whole_numbers_are_swept_as_such():
    fields = parse_sweep(["devices=1,2", "history=3,4"], photo.get_config())
    cells = swept_cells(photo.get_config(), fields)
    assert [(cell.config.devices, cell.config.history) for cell in cells] == [(1, 3), (2, 3), (1, 4), (2, 4)]


def test_a_field_that_a_config_gives_as_a_whole_number_takes_fractions():
    config = photo.get_config().copy_and_resolve_references()
    with config.ignore_type():
        config.update(style_weight=1)
    cells = swept_cells(config, parse_sweep(["style_weight=0.5,2"], config))
    assert [cell.config.style_weight for cell in cells] == [0.5, 2.0]


def test_a_field_is_recorded_as_it_is_written():
    (field,) = parse_sweep(["size=32,64"], photo.get_config())
    assert parse_sweep([str(field)], photo.get_config()) == (field,)
    assert str(field) == "size=32,64"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["contentweight=1"], "contentweight: the config has no such field; did you mean content_weight?"),
        (["zzz=1"], "zzz: the config has no such field; give one of blend_ratio, content_weight, "),
        (["keep=best"], "keep: config.keep is 'best', no number; sweep one of blend_ratio, "),
        (["guided=0,1"], "guided: config.guided is True, no number"),
        (["scales=1"], "scales: config.scales is (0.5, 1.0), no number"),
        (["content_weight"], "'content_weight' is not FIELD=VALUE,VALUE,...; write for example"),
        (["content_weight="], "content_weight has ''; give numbers with commas between them"),
        (["content_weight=1,a"], "content_weight has 'a'; give numbers"),
        (["size=32.5"], "size has '32.5'; give whole numbers"),
        (["content_weight=1,1.0"], "content_weight=1,1.0 has the value 1 twice; leave one out"),
        (["size=32", "size=64"], "names the field size twice; give all of its values at once"),
        (["size=32", "steps=3", "history=4"], "has 3 fields (size, steps, history), and a sheet two sides"),
        ([f"steps={','.join(map(str, range(1, MAX_CELLS + 2)))}"], "asks for 37 pictures; give values for at most 36"),
        (["steps=1,2,3,4,5,6,7", "history=1,2,3,4,5,6"], "asks for 42 pictures; give values for at most 36"),
    ],
)
def test_what_is_no_sweep_says_what_is(texts: list[str], message: str):
    with pytest.raises(UserError) as error:
        parse_sweep(texts, photo.get_config())
    assert str(error.value).startswith("--sweep ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("content_weight=1,-1", "--sweep content_weight=-1: config.content_weight is -1.0; it must be zero or more"),
        ("content_weight=nan", "config.content_weight is nan; it must be zero or more"),
        ("steps=0", "config.steps is 0; it must be above zero"),
        ("feather=1,200", "--sweep feather=200: config.feather is 200.0 percent of the longest side; use at most 100"),
        ("stroke_size=9", "config.stroke_size is 9.0; use 0.1 to 4"),
        ("history=9999999999", "config.history is 9999999999; it must be at most"),
        ("blend_ratio=1e37", "blend ratio times config.style_weight is 2e+39; it must be at most"),
    ],
)
def test_values_out_of_range_are_those_of_the_config(text: str, message: str):
    config = photo.get_config()
    with pytest.raises(UserError) as error:
        swept_cells(config, parse_sweep([text], config))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["keep=best", "zzz=1"])
def test_no_field_is_offered_that_acts_in_videos_only(text: str):
    with pytest.raises(UserError) as error:
        parse_sweep([text], photo.get_config())
    offered = str(error.value).rpartition(" of ")[2].split(", ")
    assert {"content_weight", "size"} <= {*offered}
    assert not {"next_steps", "segment_every", "mask_smoothing", "picture_smoothing"} & {*offered}
