"""Training without its loop."""

from typing import Any

import jax.numpy as jnp
import pytest

from msst_jax.pipelines import train as train_job
from msst_jax.training.loop import TrainResult
from msst_jax.training.step import TrainState

ENDED = TrainState(jnp.int32(6), {}, {}, (), jnp.zeros(2), jnp.int32(2), jnp.int32(0))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that the loop was called with, and two batches consumed as if trained on."""
    recorded: list[dict[str, Any]] = []

    def train(config, task, batches, folder, **options: Any) -> TrainResult:
        recorded.append({"task": task, "batches": [next(batches) for _ in range(2)], "folder": folder, **options})
        return TrainResult(ENDED, False)

    monkeypatch.setattr(train_job, "train", train)
    return recorded
