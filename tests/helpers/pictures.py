"""Small pictures, a config that runs in a moment, and the scripts as commands."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import photo

SCRIPT = Path(__file__).parents[2] / "stylize.py"
_NUMBERS = count()
QUICK = {
    "size": 32,
    "steps": 3,
    "scales": (1.0,),
    "scale_steps": (1.0,),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_layer_weights": (),
    "content_layers": ("relu2_1",),
    "content_layer_weights": (),
    "history": 4,
}


def quick_config(**changes: Any) -> ConfigDict:
    """configs/photo.py with the shallow layers, one scale and few steps."""
    config = photo.get_config()
    config.update({**QUICK, **changes})
    return config


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture (height, width, 3) of blotches, uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (max(2, height // 4), max(2, width // 4), 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, values: np.ndarray | Image.Image, **options: Any) -> str:
    """Writes a picture and returns its name."""
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    picture.save(path, **options)
    return str(path)


def stripe(height: int, width: int, begin: float, end: float) -> np.ndarray:
    """A mask (height, width), white between two fractions of its width."""
    columns = (np.arange(width) + 0.5) / width
    return np.tile(np.where((columns >= begin) & (columns < end), 255, 0).astype(np.uint8), (height, 1))


def make_scene(folder: Path, height: int = 24, width: int = 32) -> Path:
    """photo.png, a.png, b.png, c.png and the masks left.png and middle.png in `folder`."""
    save(folder / "photo.png", noise(height, width))
    for seed, name in enumerate("abc", start=1):
        save(folder / f"{name}.png", noise(28, 36, seed))
    save(folder / "left.png", stripe(height, width, 0, 0.4))
    save(folder / "middle.png", stripe(height, width, 0.4, 0.7))
    return folder


class Script:
    """`python SCRIPT ARGUMENTS`: a process of its own, forked from one that has imported JAX already."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        script: Path = SCRIPT,
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        environ: Mapping[str, str] = MappingProxyType({}),
        before: Callable[[], None] = print,
    ):
        """Starts it.

        Args:
          arguments: of the command line.
          folder: where it runs.
          script: which one.
          settings: of jax.config.
          environ: more of the environment.
          before: called in the new process first.
        """
        context = multiprocessing.get_context("forkserver")
        modules = ["pytest", "ml_collections.config_flags", "msst_jax.pipelines.photo", "msst_jax.pipelines.train"]
        context.set_forkserver_preload(modules)
        self.stderr = folder / f"stderr{next(_NUMBERS)}.txt"
        arguments = (list(arguments), folder, script, self.stderr, dict(settings), dict(environ), before)
        self.process = context.Process(target=_script, args=arguments)
        self.process.start()

    def wait(self) -> tuple[int | None, str]:
        """(Exit code, stderr)."""
        self.process.join()
        text = self.stderr.read_text()
        self.stderr.unlink()
        return self.process.exitcode, text


def run_script(arguments: Sequence[str], folder: Path, script: Path = SCRIPT, **more: Any) -> tuple[int | None, str]:
    """Runs a `Script`: (exit code, stderr)."""
    return Script(arguments, folder, script, **more).wait()


def _script(
    arguments: list[str],
    folder: Path,
    script: Path,
    stderr: Path,
    settings: dict[str, Any],
    environ: dict[str, str],
    before: Callable[[], None],
) -> None:
    os.chdir(folder)
    os.environ.update(environ)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    for name, value in settings.items():
        jax.config.update(name, value)
    before()
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
