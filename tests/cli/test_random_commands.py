"""Random command lines: whatever is typed, the commands end in one line, an exit code, and nothing half-written."""

import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import STYLIZE, TRAIN, run_command
from tests.helpers.pictures import QUICK, make_scene, noise, save, stripe
from tests.helpers.training_runs import TINY
from tests.helpers.videos import make_video, moving

COUNT = 200
CHUNK = 20  # command lines of a test, which share a folder
CODES = {0, 1, 2, 130}
NUMBERS = [
    *("0", "1", "-1", "3", "0.5", "1e-9", "1e39", "999999999999999999999", "nan", "inf", "-inf"),
    *("", "x", "½", "3,3"),
]
PICTURES = [
    *("photo.png", "a.png", "b.png", "left.png", "middle.png", "tiny.png", "gray.png", "alpha.png"),
    "ünï cödé.png",
]
ODD = [
    *("empty.png", "cut.png", "text.png", "loop.png", "dangling.png", "folder.png", ".hidden.png", "nowhere.png"),
    *("animated.webp", "in.mp4", "cut.mp4", "frames", "nothing", "", ".", "x" * 300 + ".png", "a\nb.png", "-"),
    *("~/x.png", "https://host/x.png", "/dev/null", "\udcff.png"),
]
OUTPUTS = [
    *("out.png", "out.jpg", "out.webp", "deep/er/out.png", "out.mp4", "out.gif", "out", "out.txt", "a.png"),
    "folder.png",
]
CONFIGS = [
    *("photo", "seed", "quickstart", "video", "fast", "sead", "own.py", "broken.py", "x.yaml", "x.json", ""),
    "text.png",
]
MOVING = ["in.mp4", "animated.webp", "frames", "cut.mp4"]
REGIONS = ["person", "background", "dog", "cat+dog", "x", "", "ünï", "person=background"]
TINY_FLAGS = [f"--config.{name}={value!r}".replace("'", '"') for name, value in QUICK.items()]
# Not `steps`: a large number of them is sound, and takes long.
FIELDS = [*(name for name in QUICK if name != "steps"), "photo", "feather", "init", "nope", "styles"]
SWEPT = ["content_weight", "feather", "max_step", "stroke_size", "size", "next_steps", "keep", "nope", ""]
TRAIN_FIELDS = [*(name for name in TINY if name != "steps"), "nope"]
TRAIN_NUMBERS = {**TINY, "steps": 1, "checkpoint_every": 1}


def make_files(folder: Path) -> None:
    """Good and odd files of every kind."""
    make_scene(folder)
    save(folder / "tiny.png", noise(3, 2))
    save(folder / "gray.png", stripe(20, 30, 0, 1))
    save(folder / "alpha.png", np.dstack([noise(24, 32), stripe(24, 32, 0.2, 0.6)]))
    save(folder / "ünï cödé.png", noise(24, 32))
    save(folder / ".hidden.png", noise(24, 32))
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:200])
    (folder / "text.png").write_text("def get_config():\n")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("is-not-there.png")
    frames = [Image.fromarray(noise(24, 32, seed)) for seed in range(2)]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:], duration=40)
    make_video(folder / "in.mp4", moving(2))
    (folder / "cut.mp4").write_bytes((folder / "in.mp4").read_bytes()[:300])
    for name in ("folder.png", "nothing", "frames", "masks"):
        (folder / name).mkdir()
    for index in range(4):
        save(folder / "frames" / f"{index}.png", noise(40, 44, index))
        save(folder / "masks" / f"{index}.png", stripe(40, 44, 0.2, 0.6))
    (folder / "own.py").write_text("from msst_jax.configs import photo\nget_config = photo.get_config\n")
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "x.yaml").write_text("size: 3\n")
    (folder / "x.json").write_text('{"config": {"size": 32}, "seed": "x"}')


def stylize_line(rng: random.Random) -> list[str]:
    """A command line of stylize.py: mostly sound, with some of everything that is not."""

    def file() -> str:
        return rng.choice(PICTURES if rng.random() < 0.7 else ODD)

    flags: list[Callable[[], str]] = [
        lambda: f"--style={rng.choice(REGIONS)}={file()}",
        lambda: f"--mask={rng.choice(REGIONS)}={file()}",
        lambda: f"--blend={rng.choice([*NUMBERS, '0,0.2', '0:0,1:1'])}",
        lambda: f"--seed={rng.choice(NUMBERS)}",
        lambda: f"--sweep={rng.choice(SWEPT)}={rng.choice(NUMBERS)},{rng.choice(NUMBERS)}",
        lambda: f"--segmenter={rng.choice(['person_vgg16', 'deeplabv3_resnet50', '', 'a.png', 'nothing'])}",
        lambda: rng.choice(["--regions-only", "--compare", "--resume", "--quiet", "--noquiet", "--nope", "--", "-o"]),
        lambda: f"--quality={rng.choice(NUMBERS)}",
        lambda: f"--rate={rng.choice([*NUMBERS, '30000/1001', '1/0'])}",
        lambda: f"--config={rng.choice(CONFIGS)}",
        lambda: f"--config.{rng.choice(FIELDS)}={rng.choice(NUMBERS)}",
        lambda: rng.choice(["--help", "--version", "--flagfile=nofile", "--flagfile=text.png", file()]),
    ]
    moving_input = rng.random() < 0.3
    line = [rng.choice(MOVING) if moving_input else file()] if rng.random() < 0.95 else []
    if rng.random() < 0.4:
        line += ["--style=person=a.png", "--style=background=b.png", "--mask=person=left.png"]
    elif rng.random() < 0.8:
        line += [
            f"--model={rng.choice(['builtin'] * 6 + ['any'] * 3 + ['nothing', 'a.png', 'x'])}",
            "--mask=person=left.png",
        ]
    line += [rng.choice(flags)() for _ in range(rng.choice([0, 0, 1, 1, 2, 3]))]
    rng.shuffle(line)
    sound = "out.mp4" if moving_input else "out.png"
    return [*TINY_FLAGS, *line, "-o", rng.choice(OUTPUTS) if rng.random() < 0.3 else sound]


def train_line(rng: random.Random) -> list[str]:
    """A command line of train.py, of the same kind."""
    numbers = {**TRAIN_NUMBERS, **({rng.choice(TRAIN_FIELDS): rng.choice(NUMBERS)} if rng.random() < 0.4 else {})}
    flags: list[Callable[[], str]] = [
        lambda: f"--photos={rng.choice(['frames', 'nothing', 'tfds:x', *ODD])}",
        lambda: f"--masks={rng.choice(['masks', *ODD])}",
        lambda: f"--style={rng.choice(REGIONS)}={rng.choice([*PICTURES, *ODD])}",
        lambda: f"--config={rng.choice(['fast', 'any', 'person_segmenter', *CONFIGS])}",
        lambda: rng.choice(["--restart", "--quiet", "more", "--nope", "--help"]),
    ]
    line = ["--workdir=run", "--photos=frames", "--masks=masks", "--style=person=a.png", "--style=background=b.png"]
    line = [argument for argument in line if rng.random() < 0.97]
    line += [rng.choice(flags)() for _ in range(rng.choice([0, 0, 1, 2]))]
    return [*line, *(f"--config.{name}={value}" for name, value in numbers.items())]


def files_in(folder: Path) -> dict[str, int]:
    """Every file, with its time; links are not followed."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in found}


def faults(code: int, stderr: str, before: dict[str, int], after: dict[str, int], script: Path) -> list[str]:
    """What is wrong with how a command ended."""
    changed = {name for name in after if after[name] != before.get(name)}
    last = stderr.rstrip("\n").splitlines()[-1:]
    # An interrupted or failed training run keeps its workdir; everything else leaves nothing beside an error.
    left = {name for name in changed if code == 2 and not name.startswith("run/")}
    return [
        *([f"exit code {code}"] if code not in CODES else []),
        *(["a traceback"] if "Traceback" in stderr or "this is a bug" in stderr else []),
        *(["no line that says why"] if code == 2 and not re.match(rf"{script.name}: .", "".join(last)) else []),
        *([f"temporary files: {hidden}"] if (hidden := [name for name in changed if "/." in f"/{name}"]) else []),
        *([f"written beside an error: {sorted(left)}"] if left else []),
    ]


def run_chunk(folder: Path, script: Path, lines: Sequence[list[str]]) -> list[str]:
    """Runs command lines in one folder; returns the faults of those that have any."""
    make_files(folder)
    found = []
    for line in lines:
        before = files_in(folder)
        code, stderr = run_command(line, folder, script)
        if wrong := faults(code, stderr, before, files_in(folder), script):
            found.append(f"{script.name} {line}: {'; '.join(wrong)}\n{stderr[-2000:]}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(COUNT // CHUNK))
def test_random_command_lines_end_well(tmp_path: Path, chunk: int, capsys: pytest.CaptureFixture[str]):
    """Three of four are of stylize.py."""
    rng = random.Random(chunk)
    found = []
    for script, make, count in ((STYLIZE, stylize_line, CHUNK * 3 // 4), (TRAIN, train_line, CHUNK // 4)):
        folder = tmp_path / script.stem
        folder.mkdir()
        found += run_chunk(folder, script, [make(rng) for _ in range(count)])
    capsys.readouterr()
    assert not found, "\n\n".join(found)
