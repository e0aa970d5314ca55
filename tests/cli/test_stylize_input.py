"""stylize.py with input that is wrong: one line that says what, exit code 2, and nothing is written."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.commands import run_command
from tests.helpers.pictures import TWO, make_scene, save

PERSONS = "--segmenter=person_vgg16"  # the network that knows no other class


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return make_scene(tmp_path / "in")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.png", *TWO], "photo nope.png does not exist; check the name"),
        ([".", *TWO, "--compare"], "--compare makes a sheet of one photo; give one photo, or leave it out"),
        ([".", *TWO, "--init=c.png"], "--init c.png is a start for one photo, and . is a folder; give one photo, or"),
        ([".", "--regions-only"], "photo . is a folder; give a picture of it"),
        (["empty.png", *TWO], "photo empty.png is empty; give a PNG"),
        (["photo.png", "b.png", *TWO], "one photo at a time, found 2: photo.png b.png"),
        (["strip.png", "--style=background=a.png"], "becomes 512x1 pixels; every side must have at least 16"),
        (["photo.png"], "no style was given; add --style"),
        (["photo.png", "--style=a.png"], "'a.png' is not NAME=FILE; write"),
        (["photo.png", *TWO, "--style=dog=c.png"], "--style names the region 'dog' twice (a.png and c.png); leave"),
        (["photo.png", *TWO, "--mask=dog=b.png"], "--mask names the region 'dog' twice"),
        (["photo.png", *TWO, "--style=dgo=c.png"], "no region 'dgo'; regions are background, aeroplane"),
        (["photo.png", *TWO[:2], "--segmenter=deeplabv3_resnet101"], "weights of deeplabv3_resnet101 are not in"),
        (
            ["photo.png", *TWO[:2], "--segmenter=deeplabv3_resnet50"],
            "run `python -m msst_jax.convert_weights deeplabv3_resnet50`",
        ),
        (["photo.png", *TWO[:2], "--segmenter=deeplabv3_resnet50"], "; or do without it: give --mask dog=FILE"),
        (["photo.png", *TWO, "--segmenter=yolo"], "config.segmenter is 'yolo'; use one of deeplabv3_resnet101, "),
        (
            ["photo.png", "--regions-only", "--segmenter=deeplabv3_resnet101"],
            "run `python -m msst_jax.convert_weights deeplabv3_resnet101`",
        ),
        (
            ["photo.png", "--regions-only", "--mask=x=nope.png"],
            "--regions-only takes no --mask, found x=nope.png; leave",
        ),
        (["photo.png", "--regions-only", *TWO], "--regions-only takes no --mask, found dog=left.png; leave"),
        (["photo.png", *TWO[:2], "--point=dog=3"], "--point dog=3 is not NAME=X,Y; write whole pixels of the photo"),
        (["photo.png", *TWO[:2], "--point=dog"], "--point 'dog' is not NAME=X,Y; write for example --point person=X,Y"),
        (["photo.png", *TWO[:2], "--point=cat=3,4"], "region 'cat' has a point but no style; add --style cat=FILE"),
        (["photo.png", *TWO, "--point=dog=3,4"], "region 'dog' has a mask and a point; drop its --mask or its"),
        (
            [".", "--style=person=a.png", "--point=person=3,4", "-o", "out"],
            "is a place in one photo, and . is a folder",
        ),
        (
            ["photo.png", "--style=person=a.png", "--point=person=32,4"],
            "lies outside the photo of 32x24 pixels; give X",
        ),
        (
            ["photo.png", "--style=dog#1=a.png", PERSONS],
            "person_vgg16 segments only person, not dog#1; use deeplabv3_efficientnet_lite0 or deeplabv3_resnet101",
        ),
        (
            ["photo.png", "--style=tree=a.png"],
            "or give --mask tree=FILE, or a --segmenter of your own that knows it (doc",
        ),
        (
            ["photo.png", "--model=any", "--style=dgo=a.png", TWO[1]],
            "that a segmenter knows (did you mean dog?); give --ma",
        ),
        (["photo.png", *TWO, "--config.min_speck=-1"], "config.min_speck is -1.0; it must be zero or more"),
        (["photo.png", "--style=background=nope.jpg"], "style nope.jpg does not exist; check the name"),
        (
            ["photo.png", *TWO[:2], PERSONS],
            "person_vgg16 segments only person, not dog; use deeplabv3_efficientnet_lite0 or deeplabv3_resnet101",
        ),
        (["photo.png", *TWO[:2], PERSONS], "or deeplabv3_resnet101, or give --mask dog=FILE"),
        (["photo.png", *TWO[:2], "--mask=dog=nope.png"], "mask nope.png does not exist"),
        (["photo.png", *TWO[:2], "--mask=dog=black.png"], "mask black.png is black: nothing is inside; paint"),
        (
            ["photo.png", *TWO[:2], "--mask=dog=photo.png"],
            "mask photo.png is a picture in color; give it in gray, white",
        ),
        (
            ["photo.png", "--style=dog=keep", "--style=background=keep", TWO[2]],
            "--style keeps every region as it is (dog, background); give one of them a painting, such as --style dog=",
        ),
        (["photo.png", TWO[0], "--style=background=./keep", TWO[2]], "/keep does not exist; check the name"),
        (
            ["photo.png", TWO[0], "--style=background=keep", TWO[2], "--config=seed", "--config.size=32"],
            "--style background=keep needs config.guided=True; choose a preset that has it, such as --config photo",
        ),
        (
            ["photo.png", TWO[0] + ":0,c.png", *TWO[1:]],
            "the weight of --style dog a.png is 0.0; it must be above zero",
        ),
        (["photo.png", TWO[0] + ",,c.png", *TWO[1:]], "--style dog 'a.png,,c.png' has a part without a file; write"),
        (["photo.png", TWO[0] + ",./a.png:2", *TWO[1:]], "has the painting a.png twice; leave one out, or give it"),
        (["photo.png", TWO[0] + ",keep", *TWO[1:]], "keep leaves the region the photo and stands alone; leave it out"),
        (["photo.png", TWO[0] + ",nope.png:2", *TWO[1:]], "style nope.png does not exist; check the name"),
        (
            ["photo.png", TWO[0] + ",c.png:2", *TWO[1:], "-o", "c.png"],
            "the output c.png would overwrite the input c.png; choose another name",
        ),
        (
            ["photo.png", TWO[0] + ",c.png", *TWO[1:], "--model=builtin"],
            "--style has no effect on a photo with --model; leave it out",
        ),
        (["photo.png", "--config.styles=('background=a.png:-1,b.png',)"], "--style background a.png is -1.0; it must"),
        (["photo.png", *TWO, "--stroke-size=large"], "flag --stroke-size=large: could not convert string to float"),
        (["photo.png", *TWO, "--stroke-size=9"], "config.stroke_size is 9.0; use 0.1 to 4, 1 = as painted"),
        (["photo.png", *TWO, "--stroke-size=0.5", "--config.size=32"], "style a.png: a picture of 36x28 becomes 16x12"),
        (["photo.png", *TWO, "--keep-colours=dgo"], "--keep-colours names 'dgo', and the regions are dog, background"),
        (["photo.png", *TWO, "--keep-colours=dog,"], "--keep-colours=dog, has an empty name; write for example"),
        (["photo.png", *TWO, "--init=nope.png"], "config.init is 'nope.png', and there is no such file; use one of"),
        (["photo.png", *TWO, "--init=folder.png"], "start folder.png is a folder; give a picture"),
        (["photo.png", *TWO, "--init=broken.py"], "start broken.py is not a picture that Pillow can"),
        (
            ["photo.png", *TWO, "--init=c.png", "-o", "c.png"],
            "the output c.png would overwrite the input c.png; choose",
        ),
        (["photo.png", TWO[0], TWO[2]], "% of the photo lies in no region (dog); add --style background=FILE"),
        (["photo.png", TWO[1], TWO[2]], "region 'dog' has a mask but no style; add --style dog=FILE"),
        (["photo.png", *TWO, "-o", "in.txt"], "unknown picture ending '.txt'; use one of .png"),
        (["photo.png", *TWO, "-o", "photo.png/out.png"], "cannot write photo.png/out.png: Not a directory; choose"),
        (["photo.png", *TWO, "-o", "folder.png"], "cannot write folder.png: it is a folder; give a file name"),
        (["photo.png", *TWO, "-o", "./a.png"], "the output a.png would overwrite the input a.png; choose another name"),
        (["photo.png", *TWO, "-o", ""], "--output has no value; give one, or leave it out"),
        (["photo.png", *TWO, "--blend=nan"], "--blend is nan; it must be zero or more"),
        (["photo.png", *TWO, "--blend=-0.1"], "--blend is -0.1; it must be zero or more"),
        (["photo.png", *TWO, "--blend=a,b"], "--blend 'a,b' is not a list of numbers; write for example"),
        (["photo.png", *TWO, "--blend=0.2,0.2000001"], "names a ratio twice; leave one out"),
        (["photo.png", *TWO, "--blend=1e37"], "blend ratio times config.style_weight is 2e+39; it must be at most"),
        (["photo.png", TWO[0], "--style=background=c_inputs.png", "-o", "c.png"], "overwrite the input c_inputs.png"),
        (["photo.png", *TWO, "--preview-every=0"], "--preview-every=0: 0 is not a positive integer"),
        (["photo.png", *TWO, "-o", "-", "--preview-every=1"], "rewrites a file, and -o - is none; give a file name"),
        (["photo.png", *TWO, "--seed=-1"], "--seed=-1: -1 is not an integer in the range"),
        (["photo.png", *TWO, "--seed=99999999999999999999"], "is not an integer in the range"),
        (["photo.png", *TWO, "--blnd=0"], "Unknown command line flag 'blnd'"),
        (["photo.png", *TWO, "--config.stpes=3"], "no field 'stpes' Did you mean \"steps\""),
        (["photo.png", *TWO, "--config.steps=many"], "flag --config.steps=many: invalid literal for int()"),
        (["photo.png", *TWO, "--config.size=-4"], "config.size is -4; it must be zero or more"),
        (["photo.png", *TWO, "--config.steps=0"], "config.steps is 0; it must be above zero"),
        (["photo.png", *TWO, "--config.style_weight=-1"], "config.style_weight is -1.0; it must be zero or more"),
        (["photo.png", *TWO, "--config.size=1000000"], "more than 178 megapixels: lower the size"),
        (["photo.png", *TWO, "--config.network=vgg19"], "run `python -m msst_jax.convert_weights vgg19`"),
        (
            ["photo.png", *TWO, "--config=nope.py"],
            "--config 'nope.py' is neither a preset nor a file; give one of any, fast, ",
        ),
        (["photo.png", *TWO, "--config=sead", "--config.size=32"], "neither a preset nor a file; did you mean seed?"),
        (["photo.png", *TWO, "--config"], "--config has no value; give the name of a preset or the path of a file"),
        (
            ["photo.png", *TWO, "--config=fast"],
            "the config is for training; give it to train.py, or choose one of photo,",
        ),
        (["photo.png", *TWO, "--config=broken.py"], "invalid syntax (broken.py, line 1)"),
        (["photo.png", *TWO, "--config=number.py"], "the config has no field"),
        (["photo.png", *TWO, "--config=wrong.py"], "TypeError: Could not override field 'size'"),
        (["photo.png", *TWO, "--config=raises.py"], "division by zero"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value).replace("/", "\\"),
)
def test_bad_input_ends_with_one_line_and_exit_code_2_and_writes_nothing(scene: Path, arguments, message):
    (scene / "empty.png").touch()
    (scene / "folder.png").mkdir()
    save(scene / "strip.png", np.zeros((20, 20000, 3), np.uint8))
    save(scene / "black.png", np.zeros((24, 32), np.uint8))
    (scene / "broken.py").write_text("def get_config(:\n")
    (scene / "number.py").write_text("def get_config():\n    return 3\n")
    (scene / "raises.py").write_text("1 / 0\n")
    lines = [
        "from msst_jax.configs import photo",
        "def get_config():",
        " config = photo.get_config()",
        " config.size = 'x'",
    ]
    (scene / "wrong.py").write_text("\n".join(lines))
    before = {file: file.stat().st_mtime_ns for file in scene.iterdir()}
    code, stderr = run_command(arguments, scene)
    assert re.fullmatch(r"stylize\.py: [^\n]*\n", stderr)
    assert message in stderr
    assert code == 2
    assert {file: file.stat().st_mtime_ns for file in scene.iterdir()} == before


def test_a_white_mask_is_said_before_the_region_that_it_leaves_empty(scene: Path):
    save(scene / "white.png", np.full((24, 32), 255, np.uint8))
    code, stderr = run_command(["photo.png", *TWO[:2], "--mask=dog=white.png"], scene)
    said, failed = stderr.splitlines()
    assert said == "mask white.png is white everywhere: its region is the whole photo"
    assert failed.startswith("stylize.py: region 'background' is empty: the other regions leave nothing for it")
    assert code == 2
