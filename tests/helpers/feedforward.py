"""A fast model that needs no training, and what a person asks of it for a clip."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from configs import fast
from msst_jax.models.feedforward_model import build_stylizer, save_feedforward
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.pipelines.job import ClipOptions, Job
from msst_jax.video.blend_schedule import parse_blend_schedule
from tests.helpers.pictures import quick_config

NAMES = ("person", "background")


def small_model(folder: Path) -> Path:
    """Makes a folder a workdir with a small model whose two styles differ."""
    config = fast.get_config()
    config.width, config.blocks = 4, 1

    @jax.jit  # operation by operation it takes twice as long
    def params() -> nnx.State:
        made = nnx.state(build_stylizer(config, len(NAMES), nnx.Rngs(0)))
        return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape), made)

    save_feedforward(folder / MODEL_FILE, config, NAMES, ("a.png", "b.png"), params())
    return folder


def clip_config(**changes: Any) -> ConfigDict:
    """As `quick_config`, at the clip's own size, and each frame painted for itself."""
    return quick_config(**{"size": 0, "picture_smoothing": 0.0, **changes})


def clip_job(clip: Path, output: Path, *, blend: str = "0", rate: Fraction = Fraction(25), **more: Any) -> Job:
    """A job for a clip; `crf` and `resume` are those of `ClipOptions`, the others those of `TrainJob`."""
    options = {name: more.pop(name) for name in ("crf", "resume") if name in more}
    settings = {"styles": {}, "masks": {}, "blend_ratios": (), "quiet": True, **more}
    options = ClipOptions(parse_blend_schedule(blend), rate=rate, **options)
    return Job(photo=str(clip), output=output, clip=options, **settings)
