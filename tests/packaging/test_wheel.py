"""The wheel, in an environment of its own and from a folder of its own: everything that users of a clone have."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.docs.markdown import README, ROOT, block

LEFT_OUT = (".*", "build", "dist", "outputs", "runs", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")
SMALL = ("--config.size=32", "--config.steps=3", "--quiet")
PRESETS = ("photo", "photo_separate", "quickstart", "seed", "seed_fast", "video")

pytestmark = pytest.mark.slow


def run(command: Sequence[object], folder: Path) -> str:
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
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
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
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
