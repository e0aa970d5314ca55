"""A small untrained feed-forward model, video jobs for it, and how they are interrupted."""

import signal
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx
from ml_collections import ConfigDict

from msst_jax.configs import fast
from msst_jax.models.feedforward_model import save_feedforward
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.models.stylizer import Stylizer
from msst_jax.pipelines.job import VideoJob
from msst_jax.video.blend_schedule import parse_blend_schedule
from msst_jax.video.resume import ResumeFolder
from tests.helpers.pictures import quick_config

NAMES = ("person", "background")


def small_model(folder: Path) -> Path:
    """Turns a folder into a workdir with a small model of two different styles."""
    config = fast.get_config()
    config.width, config.blocks = 4, 1

    @jax.jit  # twice as fast as operation by operation
    def params() -> nnx.State:
        state = nnx.state(Stylizer(len(NAMES), width=config.width, blocks=config.blocks, rngs=nnx.Rngs(0)))
        return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), state)

    save_feedforward(folder / MODEL_FILE, config.to_dict(), NAMES, ("a.png", "b.png"), params())
    return folder


def video_config(**changes: Any) -> ConfigDict:
    """As `quick_config`, at the video's own size, and each frame stylized by itself."""
    return quick_config(**{"size": 0, "picture_smoothing": 0.0, **changes})


def video_job(video: Path, output: Path, *, blend: str = "0", **more: Any) -> VideoJob:
    """A job for a video; `more` are fields of `VideoJob`."""
    settings = {"styles": {}, "masks": {}, "quiet": True, **more}
    return VideoJob(video=str(video), output=output, blend=parse_blend_schedule(blend), **settings)


def at_batch(monkeypatch: pytest.MonkeyPatch, count: int, action: Any) -> None:
    """Calls `action` once this run has kept `count` batches."""
    add, added = ResumeFolder.add_batch, []

    def limited(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        added.append(None)
        if len(added) == count:
            action()

    monkeypatch.setattr(ResumeFolder, "add_batch", limited)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)
