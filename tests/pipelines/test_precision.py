"""config.precision acts on all that a run traces, whichever thread does, and on nothing after it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from msst_jax.ops.ambient_precision import ambient_precision
from msst_jax.pipelines import photo, photo_feedforward, train, video
from msst_jax.pipelines.job import PhotoJob, VideoJob
from msst_jax.pipelines.run import run_job
from msst_jax.runtime.prefetch import prefetch
from msst_jax.training.loop import TrainResult
from msst_jax.video.blend_schedule import parse_blend_schedule
from tests.helpers.lowered_products import lowered_products
from tests.helpers.pictures import quick_config
from tests.helpers.training_runs import job, make_photos, tiny_config
from tests.pipelines.conftest import ENDED

SETTINGS = [("highest", "highest"), ("default", None), ("bfloat16", None)]
OUTPUT = Path("out.png")
JOBS = {
    photo: PhotoJob("photo.png", {}, {}, OUTPUT, (0.0,)),
    photo_feedforward: PhotoJob("photo.png", {}, {}, OUTPUT, (0.0,), model="builtin"),
    video: VideoJob("in.mp4", {}, {}, OUTPUT, parse_blend_schedule("0")),
}


def in_a_thread(*_: Any) -> str | None:
    """The precision of a stage such as that in which videos are stylized."""

    def stage() -> Iterator[str | None]:
        yield ambient_precision()

    (found,) = prefetch(prefetch(stage(), 1), 1)
    return found


@pytest.mark.parametrize("pipeline", JOBS, ids=lambda pipeline: pipeline.__name__.rpartition(".")[-1])
@pytest.mark.parametrize(("precision", "ambient"), SETTINGS)
def test_every_pipeline_runs_at_the_precision_of_its_config(
    pipeline: Any, precision: str, ambient: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "run", in_a_thread)
    with jax.default_matmul_precision(None):
        assert run_job(quick_config(precision=precision), JOBS[pipeline]) == ambient
        assert ambient_precision() is None


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("highest", {"f32 HIGHEST"}),
        ("default", {"f32 HIGHEST", "f32 DEFAULT"}),  # HIGHEST: statistics of regions, which are few
        ("bfloat16", {"f32 HIGHEST", "f32 DEFAULT", "bf16 DEFAULT"}),
    ],
)
def test_the_gradient_of_a_training_step_has_the_precision_of_the_config(
    tmp_path: Path, precision: str, expected: set[str], monkeypatch: pytest.MonkeyPatch
):
    found = SimpleNamespace(products={})

    def loop(_options: Any, task: Any, batches: Iterator[Any], *_: Any, **_options_of_loop: Any) -> TrainResult:
        params = task.init(jax.random.key(0))
        gradient = jax.grad(lambda *arguments: task.loss(*arguments)[0])
        found.products = lowered_products(gradient, params, task.frozen, next(batches), jax.random.key(0))
        return TrainResult(ENDED, False)

    monkeypatch.setattr(train, "train", loop)
    with jax.default_matmul_precision(None):
        assert train.run(tiny_config(precision=precision), job(make_photos(tmp_path, 4))) == 0
    assert {*found.products} == expected
