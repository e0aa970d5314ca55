"""Every flag and field that names a file knows ~, an input also a bucket, and refuses other URLs; standard streams."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.convert_weights.cli import main as convert
from tests.helpers.commands import STYLIZE, TRAIN, run_command
from tests.helpers.pictures import QUICK, make_scene, save

PHOTO = ["photo.png", "--style=dog=a.png", "--style=background=b.png", "--mask=dog=left.png"]
TRAINING = ["--workdir=run", "--photos=photos", "--masks=photos", "--style=dog=a.png", "--style=background=b.png"]
SEGMENTER = ["--config=person_segmenter", *TRAINING[:3]]
STYLIZE_PLACES = {
    "photo": ["{}", *PHOTO[1:]],
    "--style dog": [PHOTO[0], "--style=dog={}", *PHOTO[2:]],
    "--mask dog": [*PHOTO[:3], "--mask=dog={}"],
    "--output": [*PHOTO, "--output={}"],
    "--model": [PHOTO[0], "--model={}"],
    "--segmenter": [*PHOTO, "--segmenter={}"],
    "--config": [*PHOTO, "--config={}"],
    "--init": [*PHOTO, "--init={}"],
    "config.init": [*PHOTO, "--config.init={}"],
    "config.segmenter": [*PHOTO, "--config.segmenter={}"],
    "config.weights": [*PHOTO, "--config.weights={}"],
    "config.photo": ["--config.photo={}", *PHOTO[1:]],
    "--style background": [PHOTO[0], "--config.photo=photo.png", '--config.styles=("background={}",)'],
    "--mask dog (config)": [*PHOTO[:3], "--config.photo=photo.png", '--config.masks=("dog={}",)'],
}
TRAIN_PLACES = {
    "--workdir": ["--workdir={}", *TRAINING[1:]],
    "--photos": [TRAINING[0], "--photos={}", *TRAINING[2:]],
    "--masks": [*TRAINING[:2], "--masks={}", *TRAINING[3:]],
    "--style dog": [*TRAINING[:3], "--style=dog={}", TRAINING[4]],
    "--config": [*TRAINING, "--config={}"],
    "config.segmenter": [*TRAINING[:2], *TRAINING[3:], "--config.segmenter={}"],
    "config.start": [*SEGMENTER, "--config.start={}"],
}
PLACES = [
    *(pytest.param(STYLIZE, what, arguments, id=f"stylize-{what}") for what, arguments in STYLIZE_PLACES.items()),
    *(pytest.param(TRAIN, what, arguments, id=f"train-{what}") for what, arguments in TRAIN_PLACES.items()),
]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a run in the current folder; the home folder is another one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here" / "photos").mkdir(parents=True)
    (tmp_path / "home" / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_scene(tmp_path / "here")
    save(tmp_path / "here" / "photos" / "1.png", np.zeros((32, 32), np.uint8))
    return tmp_path / "here"


def everything(scene: Path) -> list[Path]:
    return sorted(scene.parent.rglob("*"))


@pytest.mark.parametrize(("script", "what", "arguments"), PLACES)
@pytest.mark.parametrize("url", ["ftp://example.org/x.mp4", "https://example.org/a.png"])
def test_a_url_is_one_line_and_nothing_is_written(scene: Path, script: Path, what: str, arguments: list[str], url: str):
    before = everything(scene)
    code, stderr = run_command([argument.replace("{}", url) for argument in arguments], scene, script)
    named = what.removesuffix(" (config)")
    assert stderr == f"{script.name}: {named} {url} is a URL, and only files of this machine can be used; give a path\n"
    assert code == 2
    assert everything(scene) == before


@pytest.mark.parametrize(("script", "what", "arguments"), PLACES)
def test_a_bucket_is_an_input_anywhere_and_no_output_or_config(
    scene: Path, script: Path, what: str, arguments: list[str]
):
    """Shown by the package that is not there."""
    before, url = everything(scene), "az://container/x.png"
    code, stderr = run_command([argument.replace("{}", url) for argument in arguments], scene, script)
    if what in ("--output", "--config"):
        reason = f"{url} is a URL, and only files of this machine can be used; give a path"
    else:
        reason = f"{url}: az:// needs the package adlfs; install it with pip"
    assert stderr == f"{script.name}: {what.removesuffix(' (config)')} {reason}\n"
    assert code == 2
    assert everything(scene) == before


@pytest.mark.parametrize(("script", "what", "arguments"), PLACES)
def test_home_is_the_folder_of_the_user(scene: Path, script: Path, what: str, arguments: list[str]):
    """Where there is nothing, which the error shows."""
    before = everything(scene)
    text = "~/file/gone.png" if what in ("--output", "--workdir") else "~/gone"
    code, stderr = run_command([argument.replace("{}", text) for argument in arguments], scene, script)
    expected = text if what == "--config" else str(scene.parent / "home" / text.removeprefix("~/"))
    assert expected in stderr
    assert len(stderr.splitlines()) == 1
    assert code == 2
    assert everything(scene) == before


def test_a_config_in_the_home_folder_is_found(scene: Path):
    own = scene.parent / "home" / "own.py"
    own.write_text(
        "from msst_jax.configs import photo\ndef get_config():\n c = photo.get_config()\n c.size = -1\n return c"
    )
    code, stderr = run_command([*PHOTO, "--config=~/own.py"], scene)
    assert (code, stderr) == (2, "stylize.py: config.size is -1; it must be zero or more\n")


@pytest.mark.parametrize("flag", ["--from", "--output"])
def test_the_converter_knows_home_and_refuses_urls(scene: Path, capsys: pytest.CaptureFixture[str], flag: str):
    source = [] if flag == "--from" else ["--from", str(scene / "photo.png")]
    assert convert(["vgg16", flag, "s3://b/x", *source]) == 2
    assert f"{flag} s3://b/x is a URL" in capsys.readouterr().err
    assert convert(["vgg16", flag, "~/file/gone", *source]) == 2
    assert str(scene.parent / "home" / "file" / "gone") in capsys.readouterr().err


class Stream(io.TextIOWrapper):
    """A standard stream in memory; what is written to it survives `close`."""

    def __init__(self, content: bytes = b""):
        self.memory = io.BytesIO(content)
        super().__init__(self.memory)


def run_piped(monkeypatch: pytest.MonkeyPatch, arguments: list[str], scene: Path, piped: bytes = b""):
    """(Exit code, what is on standard output, stderr)."""
    stdin, stdout = Stream(piped), Stream()
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stdout", stdout)
    code, stderr = run_command(arguments, scene)
    return code, stdout.memory.getvalue(), stderr


QUICK_FLAGS = [f"--config.{name}={value!r}".replace("'", '"') for name, value in QUICK.items()]
COMPILING = "compiling for 32x24 pixels\n"
SAID = "wrote the picture to standard output, without the JSON and the sheets that lie beside a file\n"


@pytest.mark.parametrize("model", [False, True], ids=["optimized", "model"])
def test_a_photo_comes_from_a_pipe_and_its_picture_goes_into_one(scene: Path, monkeypatch, model: bool):
    rest = ["--model=builtin", "--mask=person=left.png", "--config.size=32"] if model else [*PHOTO[1:], *QUICK_FLAGS]
    before = everything(scene)
    photo = (scene / "photo.png").read_bytes()
    code, written, stderr = run_piped(monkeypatch, ["-", "-o", "-", *rest], scene, photo)
    assert (code, stderr) == (0, f"{'' if model else COMPILING}{SAID}")
    assert written.startswith(b"\x89PNG")
    assert everything(scene) == before
    code, nothing, _ = run_piped(monkeypatch, ["photo.png", "-o", "out.png", *rest], scene)
    assert (code, nothing) == (0, b"")
    piped = np.asarray(Image.open(io.BytesIO(written)))
    np.testing.assert_array_equal(piped, np.asarray(Image.open(scene / "out.png")))


def test_the_output_of_a_piped_photo_has_a_name_by_default(scene: Path, monkeypatch):
    photo = (scene / "photo.png").read_bytes()
    code, written, stderr = run_piped(monkeypatch, ["-", *PHOTO[1:], *QUICK_FLAGS], scene, photo)
    assert (code, written) == (0, b"")
    assert stderr == f"{COMPILING}wrote outputs/stdin.png\nwrote outputs/stdin_inputs.png\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", *PHOTO[1:]], "photo - is empty; give a PNG"),
        ([*PHOTO, "-o", "-", "--blend=0,1"], "-o - takes one picture, and this run makes several; give a file name"),
        ([*PHOTO, "-o", "-", "--compare"], "-o - takes one picture, and this run makes several"),
        (["photos", "--model=builtin", "-o", "-"], "-o - takes one picture, and this run makes several"),
        (["photo.png", "--regions-only", "-o", "-"], "--regions-only writes several files; give a file name with -o"),
        ([*PHOTO[:3], "--mask=dog=-"], "--mask dog -: only a photo can be read from standard input"),
        (["-", "--model=builtin", "-o", "out.mp4"], "- is for photos; a video is read from a file"),
        (["a.mp4", "--model=builtin", "-o", "-"], "- is for photos; a video is read from a file"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value).replace("/", "\\"),
)
def test_what_streams_cannot_carry_is_refused_in_one_line(scene: Path, monkeypatch, arguments, message: str):
    before = everything(scene)
    code, written, stderr = run_piped(monkeypatch, arguments, scene)
    assert stderr.startswith(f"stylize.py: {message}")
    assert len(stderr.splitlines()) == 1
    assert (code, written) == (2, b"")
    assert everything(scene) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stdin", "photo -: nothing is piped into standard input; give a file, or < FILE"),
        ("stdout", "cannot write a picture to standard output: it is closed; give a file with -o, or -o - > FILE"),
    ],
)
@pytest.mark.parametrize("kind", ["missing", "null"])
def test_a_closed_stream_is_no_file(scene: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str, kind: str):
    """Closed when the program was started: Python has none, or `open_missing_streams` has put the null device there."""
    with open(os.devnull, "r+") as null:
        monkeypatch.setattr(sys, name, null if kind == "null" else None)
        paths = ["-", "-o", "out.png"] if name == "stdin" else ["photo.png", "-o", "-"]
        code, stderr = run_command([*paths, *PHOTO[1:], *QUICK_FLAGS], scene)
    assert (code, stderr) == (2, f"stylize.py: {message}\n")


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_terminal_is_no_file(scene: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    stream = Stream()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, name, stream)
    arguments = ["-", *PHOTO[1:]] if name == "stdin" else [*PHOTO, "-o", "-"]
    code, stderr = run_command(arguments, scene)
    assert code == 2
    assert "nothing is piped into standard input" in stderr or "cannot write a picture to a terminal" in stderr
