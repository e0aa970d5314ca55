"""A hundred signals at random moments: whatever a run leaves is whole, and the run that goes on has an equal result."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from msst_jax.models.serialization import read_tensors
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.video import feedforward
from msst_jax.video.io.reader import open_video
from tests.helpers.commands import STYLIZE, TRAIN, Script
from tests.helpers.compilation import READ_ONLY_CACHE
from tests.helpers.pictures import QUICK, make_scene, noise, save, stripe
from tests.helpers.training_runs import curve, make_photos, tiny_flags
from tests.helpers.videos import Tone, make_video

pytestmark = pytest.mark.slow

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# How a run may end after each; a run that was over already ends with 0.
ENDS = {
    signal.SIGINT: {EXIT_INTERRUPTED},
    signal.SIGTERM: {128 + signal.SIGTERM},
    signal.SIGKILL: {-signal.SIGKILL},
}
STARTED = "started"  # a file that a run creates first
SEED = 15
FRAMES = 12


class Case(NamedTuple):
    """A command whose runs are killed.

    Attributes:
      script: which one.
      arguments: of the command line.
      kills: how many signals it gets.
      check: fails if a folder has something that is not whole.
      result: of a finished run, to be compared.
    """

    script: Path
    arguments: list[str]
    kills: int
    check: Callable[[Path], None]
    result: Callable[[Path], Any]


def begin() -> None:
    """Called first in the process of a run."""
    feedforward.MAX_BATCH = 2
    Path(STARTED).touch()


def run_until(case: Case, folder: Path, seconds: float | None, number: signal.Signals) -> tuple[int | None, str]:
    """Runs the command, and sends it a signal so many seconds after its start: (exit code, stderr)."""
    folder.mkdir(exist_ok=True)
    settings = {} if seconds is None else READ_ONLY_CACHE
    script = Script(case.arguments, folder, case.script, settings=settings, before=begin)
    if seconds is not None:
        while script.process.is_alive() and not (folder / STARTED).exists():
            script.process.join(0.005)
        script.process.join(seconds)
        if script.process.is_alive():
            assert script.process.pid is not None
            os.kill(script.process.pid, number)
    ended = script.wait()
    (folder / STARTED).unlink(missing_ok=True)
    return ended


def named_files(folder: Path) -> list[Path]:
    """All but temporary files, which a kill may leave, and what is in a resume folder."""
    parts = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in parts if not any(part.startswith(".") or part.endswith(".part") for part in path.parts)]


def check_files(folder: Path) -> None:
    """Every picture, JSON file and model that has its name is whole."""
    for path in named_files(folder):
        if path.suffix in (".png", ".jpg", ".gif"):
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            read_tensors(path)


def check_video(output: str, frames: int, folder: Path) -> None:
    """There is no output until it is complete."""
    check_files(folder)
    assert {path.name for path in folder.iterdir()} <= {f"{output}.part", output, "out.json"}
    if (folder / output).exists():
        assert len(list(open_video(folder / output).frames())) == frames


def check_training(folder: Path) -> None:
    """All lines of the metrics but the last are whole."""
    check_files(folder)
    path = folder / "run" / "metrics.jsonl"
    for line in path.read_text().splitlines()[:-1] if path.exists() else ():
        json.loads(line)


def pixels(folder: Path) -> bytes:
    with Image.open(folder / "out.png") as picture:
        return picture.tobytes()


def trained(folder: Path) -> Any:
    run = folder / "run"
    tensors = {name: tensor.tobytes() for name, tensor in read_tensors(run / "model.safetensors").items()}
    return tensors, curve(run)


def photo_case(inputs: Path) -> Case:
    inputs.mkdir()
    make_scene(inputs)
    values = {**QUICK, "steps": 60}
    numbers = [f"--config.{name}={value!r}".replace("'", '"') for name, value in values.items()]
    files = [f"--mask=person={inputs / 'left.png'}", f"--style=person={inputs / 'a.png'}"]
    arguments = [str(inputs / "photo.png"), *files, f"--style=background={inputs / 'b.png'}", "-o", "out.png"]
    return Case(STYLIZE, [*arguments, *numbers], 30, check_files, pixels)


def make_frames(folder: Path, *, alpha: bool = False) -> Path:
    folder.mkdir(parents=True)
    for number in range(FRAMES):
        layers = [noise(32, 48, number), *([noise(32, 48, number + FRAMES)[..., 0]] if alpha else [])]
        save(folder / f"{number}.png", np.dstack(layers))
    return folder


def video_case(inputs: Path, video: Path, output: str, *flags: str, frames: int = FRAMES, kills: int = 12) -> Case:
    """The rate of the videos is so low that they have several segments."""
    save(inputs / "left.png", stripe(32, 48, 0, 0.5))
    arguments = [
        str(video),
        f"--mask=person={inputs / 'left.png'}",
        *flags,
        "--model=builtin",
        "--resume",
        "-o",
        output,
    ]
    check = partial(check_video, output, frames)
    return Case(STYLIZE, arguments, kills, check, lambda folder: (folder / output).read_bytes())


def gif_case(inputs: Path) -> Case:
    return video_case(inputs, make_frames(inputs / "frames"), "out.gif", "--rate=25", kills=11)


def part_case(inputs: Path) -> Case:
    """A part of a video with sound."""
    inputs.mkdir()
    images = [noise(32, 48, number) for number in range(FRAMES)]
    video = make_video(inputs / "in.mp4", images, rate=Fraction(2), sounds=[Tone("aac", seconds=FRAMES / 2)])
    return video_case(inputs, video, "out.mp4", "--start=0.5", "--end=5.5", frames=FRAMES - 2)


def alpha_case(inputs: Path) -> Case:
    return video_case(inputs, make_frames(inputs / "frames", alpha=True), "out.webm", "--rate=2")


def training_case(inputs: Path) -> Case:
    arguments = tiny_flags(make_photos(inputs), steps=24, checkpoint_every=4, sample_every=9)
    return Case(TRAIN, arguments, 35, check_training, trained)


CASES = {
    "photo": photo_case,
    "gif": gif_case,
    "part of a video": part_case,
    "video with alpha": alpha_case,
    "training": training_case,
}


@pytest.mark.parametrize("name", CASES)
def test_after_random_signals_nothing_is_half_written_and_the_result_is_the_same(tmp_path: Path, name: str):
    case = CASES[name](tmp_path / "inputs")
    for folder in ("first", "whole"):  # the first compiles
        began = time.monotonic()
        code, printed = run_until(case, tmp_path / folder, None, signal.SIGKILL)
        duration = time.monotonic() - began
        assert code == 0, printed
    expected = case.result(tmp_path / "whole")
    assert case.result(tmp_path / "first") == expected
    rng = np.random.default_rng(SEED)
    killed = tmp_path / "killed"
    for kill in range(case.kills):
        number = SIGNALS[kill % len(SIGNALS)]
        code, printed = run_until(case, killed, rng.uniform(0, duration), number)
        assert code in {0, *ENDS[number]}, (kill, number, printed)
        assert "Traceback" not in printed, printed
        case.check(killed)
        if code == 0:
            assert case.result(killed) == expected
            shutil.rmtree(killed)
    code, printed = run_until(case, killed, None, signal.SIGKILL)
    assert code == 0, printed
    assert case.result(killed) == expected
