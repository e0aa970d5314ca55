"""Small untrained feed-forward models, video jobs for them, and how they are interrupted."""

import json
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from msst_jax.configs import any as any_config
from msst_jax.configs import fast
from msst_jax.models.feedforward_model import ANY_NETWORK, load_feedforward, save_feedforward
from msst_jax.models.serialization import MODEL_FILE, WEIGHT_TYPES, save_tensors
from msst_jax.models.style_predictor import AnyStylizer
from msst_jax.models.stylizer import Stylizer, blend_mixtures
from msst_jax.ops.image import normalize
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


def small_any_model(folder: Path) -> Path:
    """Turns a folder into a workdir with a small model for any painting."""
    config = any_config.get_config()
    config.width, config.blocks, config.style_size = 4, 1, 24
    network = AnyStylizer(width=config.width, blocks=config.blocks, rngs=nnx.Rngs(0))
    network.predictor.output.kernel[...] *= 3  # so that paintings differ plainly
    state = nnx.state(network, nnx.Any(*WEIGHT_TYPES))
    save_feedforward(folder / MODEL_FILE, config.to_dict(), (), (), state, architecture=ANY_NETWORK)
    return folder


def earlier_model(folder: Path) -> Path:
    """Turns a folder into a workdir with the file of a model as earlier versions made it."""
    metadata = {"network": "stylizer", "regions": NAMES, "styles": ("a.png", "b.png"), "config": {"width": 4}}
    save_tensors(folder / MODEL_FILE, {"bias": np.zeros(3, np.float32)}, {"msst_jax": json.dumps(metadata)})
    return folder


def pictures_of_model(model: Path, photos: np.ndarray, masks: np.ndarray, ratio: float = 0.0) -> np.ndarray:
    """What the network of a workdir makes of photos uint8 (N, H, W, 3) with masks (N, H, W) of the first region."""
    return np.asarray(_pictures(load_feedforward(str(model)).network, photos, masks, blend_mixtures(2, ratio)))


@jax.jit
def _pictures(network: Stylizer, photos: jax.Array, masks: jax.Array, mixtures: jax.Array) -> jax.Array:
    both = jnp.stack([masks, 1 - masks], -1)
    return network(normalize(photos.astype(jnp.float32) / 255), both, mixtures)


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
