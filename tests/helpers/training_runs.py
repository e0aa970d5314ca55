"""Small training runs: photos, configs, a task without a network, and train.py as a command."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.configs import any as any_config
from msst_jax.configs import fast
from msst_jax.pipelines.train import TrainJob
from msst_jax.training.build import build_loop_options
from msst_jax.training.metrics import read_records
from msst_jax.training.options import LoopOptions
from msst_jax.training.task import Evaluation, Task, Terms
from tests.helpers.commands import Script
from tests.helpers.pictures import noise, save, stripe

TINY: dict[str, Any] = {
    "width": 4,
    "blocks": 1,
    "size": 32,
    "batch": 4,
    "workers": 2,
    "style_size": 32,
    "style_layers": ("relu1_1",),
    "style_layer_weights": (),
    "content_layers": ("relu1_2",),
    "steps": 6,
    "warmup": 2,
    "log_every": 1,
    "sample_every": 100,
    "samples": 1,
    "checkpoint_every": 2,
}
SPEED = {"photos_per_second", "step_seconds", "wait_share"}  # metrics that differ from run to run


def tiny_config(**changes: Any) -> ConfigDict:
    """configs/fast.py with the smallest possible network and loss."""
    config = fast.get_config()
    config.update({**TINY, **changes})
    return config


def tiny_any_config(*paintings: Path, **changes: Any) -> ConfigDict:
    """configs/any.py with the smallest possible network and loss, and a few views of the paintings of folders."""
    config = any_config.get_config()
    config.update({**TINY, "paintings": (*map(str, paintings),), "views": 5, **changes})
    return config


def tiny_flags(folder: Path, **changes: Any) -> list[str]:
    """`tiny_config` as command-line flags, with the photos of `make_photos`."""
    values = {**TINY, **changes}
    numbers = [f"--config.{name}={value!r}".replace("'", '"') for name, value in values.items()]
    places = ["--workdir=run", f"--photos={folder / 'photos'}", f"--masks={folder / 'masks'}"]
    return [*places, *style_flags(folder), *numbers]


def style_flags(folder: Path) -> list[str]:
    return [f"--style=person={folder / 'a.png'}", f"--style=background={folder / 'b.png'}"]


def make_photos(folder: Path, count: int = 12) -> Path:
    """photos/00.png, ... of different sizes, masks/00.png, ..., and the styles a.png and b.png in `folder`."""
    for name in ("photos", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        height, width = 36 + index, 44
        save(folder / "photos" / f"{index:02d}.png", noise(height, width, index))
        save(folder / "masks" / f"{index:02d}.png", stripe(height, width, 0.2, 0.6))
    for seed, name in enumerate("ab", start=100):
        save(folder / f"{name}.png", noise(36, 40, seed))
    return folder


def job(folder: Path, **more: Any) -> TrainJob:
    """Trains on the photos and styles of `make_photos`, in folder/run."""
    given = {
        "workdir": folder / "run",
        "photos": [str(folder / "photos")],
        "styles": {"person": str(folder / "a.png"), "background": str(folder / "b.png")},
        "masks": [str(folder / "masks")],
        "quiet": True,
    }
    return TrainJob(**{**given, **more})


def curve(workdir: Path, *, without: set[str] = SPEED) -> list[dict[str, Any]]:
    """The metrics of every step, in order, except those that depend on speed."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in without} for record in records]


def wait_for_step(workdir: Path, step: int, script: Script) -> None:
    """Returns once the metrics of a step are written or train.py has ended."""
    while script.process.is_alive():
        path = workdir / "metrics.jsonl"
        if path.exists() and any(record["step"] >= step for record in read_records(path)):
            return
        script.process.join(0.01)


# A task without a network: fit a line to noisy points.
SLOPES = np.array([2.0, -1.0, 0.5], np.float32)


def line_task(saved: list[Any] | None = None, score: str = "") -> Task:
    """Fits a line to `Points`; saved parameters are appended to the list."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"slopes": jax.random.normal(key, (3,)), "offset": jnp.zeros(())}

    def loss(params: Any, frozen: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Terms]:
        off = jnp.square(batch["x"] @ params["slopes"] + params["offset"] - batch["y"] * frozen["unit"])
        return jnp.mean(off), {"worst": jnp.mean(jnp.max(off))}

    def evaluate(params: Any) -> Evaluation:
        error = float(np.abs(params["slopes"] - SLOPES).max())
        return Evaluation({"error": error, "likeness": -error}, Image.new("RGB", (8, 8)))

    def save(path: Path, params: Any) -> None:
        path.touch()
        if saved is not None:
            saved.append(params)

    return Task(init, loss, {"unit": jnp.ones(())}, evaluate, save, score)


class Points:
    """Batches of points; those of the steps in `bad` contain NaN."""

    def __init__(self, batch: int = 8, bad: range = range(0)):
        self.batch = batch
        self.bad = bad
        self.drawn = 0

    def __next__(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.drawn)
        x = rng.normal(size=(self.batch, 3)).astype(np.float32)
        y = x @ SLOPES + 1 + 0.01 * rng.normal(size=self.batch).astype(np.float32)
        y[0] = np.nan if self.drawn in self.bad else y[0]
        self.drawn += 1
        return {"x": x, "y": y}

    def get_state(self) -> dict[str, int]:
        return {"made": self.drawn}

    def set_state(self, state: dict[str, int]) -> None:
        self.drawn = state["made"]


def line_options(**changes: Any) -> LoopOptions:
    """configs/fast.py for `line_task`, as typed options."""
    config = tiny_config(**{"batch": 8, "learning_rate": 0.1, "clip": 0.0, "ema": 0.9, **changes})
    return build_loop_options(config)
