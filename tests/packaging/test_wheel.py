"""The wheel, in an environment of its own and from a folder of its own: everything that users of a clone have."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import msst_jax
from tests.docs.markdown import README, ROOT, block
from tests.helpers.scripts import (
    FAST_MODEL,
    OWN_ARCHITECTURE,
    OWN_MASKS,
    OWN_SEGMENTER,
    OWN_TASK,
    earlier_cell,
)
from tests.helpers.training_runs import make_photos
from tests.helpers.videos import make_video, moving

LEFT_OUT = (".*", "build", "dist", "outputs", "runs", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")
SMALL = ("--config.size=32", "--config.steps=3", "--quiet")
PRESETS = ("photo", "photo_separate", "quickstart", "seed", "seed_fast", "video")

pytestmark = pytest.mark.slow


def start(command: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command that knows of no clone."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*map(str, command)], cwd=folder, env=clean, capture_output=True, text=True, check=False)


def run(command: Sequence[object], folder: Path) -> str:
    """Runs a command that must succeed; returns what it printed."""
    done = start(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a new environment with the wheel, and by a path file what the wheel depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"], folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    run([*pip, f"--python={programs / 'python'}", "install", "--no-deps", "--no-index", wheel], folder)
    (site,) = (folder / "env").rglob("site-packages")
    names = {path.name.partition("-")[0] for path in site.iterdir()}
    assert names == {"msst_jax"}
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run([programs / "python", "-c", "import msst_jax; print(msst_jax.__file__)"], folder)
    assert Path(where.strip()).is_relative_to(site)
    return programs


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_stylizes_the_bundled_example_by_its_name(environment: Path, tmp_path: Path, preset: str) -> None:
    run([environment / "msst-stylize", "--config", preset, *SMALL, "-o", "out.png"], tmp_path)
    with Image.open(tmp_path / "out.png") as image:
        assert max(image.size) == 32
    assert [region["name"] for region in json.loads((tmp_path / "out.json").read_text())["regions"]] == [
        "person",
        "background",
    ]


def test_the_built_in_model_needs_no_clone(environment: Path, tmp_path: Path) -> None:
    run([environment / "msst-stylize", "--model", "builtin", "--config.size=64", "--quiet"], tmp_path)
    assert (tmp_path / "outputs" / "astronaut.png").exists()


def test_presets_of_training_are_found_by_name(environment: Path, tmp_path: Path) -> None:
    command = [environment / "msst-train", "--config", "person_segmenter", "--workdir", "run", "--photos", "nowhere"]
    done = start(command, tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "msst-train: photos nowhere is not a folder; give a folder of images, or tfds:NAME\n",
    )


def test_the_converter_comes_along(environment: Path, tmp_path: Path) -> None:
    assert "vgg19" in run([environment / "msst-convert", "--help"], tmp_path)
    assert "vgg19" in run([environment / "python", "-m", "msst_jax.convert_weights", "--help"], tmp_path)


def test_the_lines_of_python_in_the_readme_run_outside_of_a_clone(environment: Path, tmp_path: Path) -> None:
    run([environment / "python", "-c", block(README, "test: python")], tmp_path)
    assert list(tmp_path.glob("*.png"))


EARLIER_CELL = """
import numpy as np

arrays = np.load("arrays.npz")
photo, scream, wave, left = (arrays[name] for name in ("photo", "scream", "wave", "left"))
"""
THE_OTHERS = """
import jax.numpy as jnp
import msst_jax

masks = msst_jax.segment(photo, "blue")
assert masks["sky"].shape == photo.shape[:2]
vgg = msst_jax.load_vgg("vgg16", ["relu1_1"])
assert vgg(jnp.asarray(photo[None] / 255.0), ["relu1_1"])["relu1_1"].shape == (1, 48, 64, 64)
found = msst_jax.minimize(lambda x: ((x - 0.5) ** 2, {}), jnp.zeros(()), msst_jax.torch_lbfgs(), 5)
assert found.best_loss < 1e-6
msst_jax.write_image(wave, "wave.png")
assert msst_jax.read_image("wave.png", size=20).shape == (20, 20, 3)
video = msst_jax.stylize_video("in.mp4", "out.mp4", masks={"person": "left.png"}, model="builtin", size=32)
assert video.stat().st_size
assert msst_jax.load_stylizer("runs/tinted").regions == ("person", "background")
try:
    msst_jax.stylize(photo, {"background": wave}, style_wieght=1.0)
except msst_jax.UserError as error:
    assert "did you mean style_weight?" in str(error)
print(msst_jax.__version__, "all of it works")
"""
SCRIPTS = (EARLIER_CELL, OWN_MASKS, FAST_MODEL, OWN_SEGMENTER, OWN_TASK, OWN_ARCHITECTURE, THE_OTHERS)


def test_every_public_function_works_from_a_folder_of_its_own(environment: Path, tmp_path: Path) -> None:
    text = "\n".join(SCRIPTS)
    used = set(re.findall(r"msst_jax\.(\w+)\(", text))
    assert {name for name in msst_jax.__all__ if name[0].islower()} <= used
    make_photos(tmp_path / "work")
    np.savez(tmp_path / "work" / "arrays.npz", **earlier_cell())
    make_video(tmp_path / "work" / "in.mp4", moving(2))
    Image.new("L", (64, 48), 255).save(tmp_path / "work" / "left.png")
    (tmp_path / "work" / "script.py").write_text(text)
    printed = run([environment / "python", "script.py"], tmp_path / "work")
    assert f"{msst_jax.__version__} all of it works\n" in printed


TYPED_SCRIPT = """
from pathlib import Path

import numpy as np

import msst_jax

photo = np.zeros((48, 64, 3), np.uint8)
result: msst_jax.Result = msst_jax.stylize(photo, {"background": "a.png"}, {"dog": photo[..., 0]}, steps=3)
losses: dict[str, list[float]] = result.losses
picture: np.ndarray = result.picture
masks: dict[str, np.ndarray] = msst_jax.segment(photo)
stylizer: msst_jax.LoadedStylizer = msst_jax.load_stylizer("builtin")
fast: np.ndarray = stylizer(photo, blend=0.2)
video: Path = msst_jax.stylize_video("in.mp4", "out.mp4", {"background": [(photo, 2.0), (photo, 1.0)]})
msst_jax.write_image(msst_jax.read_image("a.png", size=32), Path("b.png"))
msst_jax.register_segmenter("blue", lambda: lambda photo: photo[..., 2:], classes=["sky"])
reveal_type(msst_jax.stylize)
reveal_type(stylizer.regions)
"""
WRONG_USES = {
    'msst_jax.stylize(photo, {"background": "a.png"}, steps="3")': "steps",
    'count: int = msst_jax.load_stylizer("builtin")(photo)': "Incompatible types in assignment",
    "msst_jax.stylise(photo)": '"stylise"',
    'msst_jax.register_segmenter("blue", 3, classes=["sky"])': '"build"|Argument 2',
}


def test_mypy_sees_the_types_of_the_wheel_and_reports_each_wrong_use(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TYPED_SCRIPT + "\n".join(WRONG_USES) + "\n")
    mypy = [environment / "python", "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "script.py"]
    done = start(mypy, tmp_path)
    first = TYPED_SCRIPT.count("\n") + 1
    errors = dict(re.findall(r"^script\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE))
    assert [*map(int, errors)] == [*range(first, first + len(WRONG_USES))], done.stdout + done.stderr
    for message, reported in zip(errors.values(), WRONG_USES.values(), strict=True):
        assert re.search(reported, message), message
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == 2
    assert "-> msst_jax.api.result.Result" in revealed[0]
    assert "Any" not in revealed[1]
