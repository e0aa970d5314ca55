"""The JSON sidecar of an output records everything needed to reproduce it."""

import hashlib
from importlib import metadata
from pathlib import Path

import pytest

from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.inputs import PhotoInputs
from tests.helpers.pictures import quick_config


def test_the_sidecar_records_everything_needed_to_reproduce_the_image(inputs: PhotoInputs, tmp_path: Path):
    config = quick_config()
    weights = tmp_path / "vgg16.safetensors"
    weights.write_bytes(b"numbers")
    content = build_sidecar(
        config=config,
        inputs=inputs,
        weights=weights,
        seed=3,
        seconds={"compile": 1.0},
        more="than that",
    )
    assert content["config"] == config.to_dict()
    assert [region["style"] for region in content["regions"]] == ["dog.jpg", "cat.jpg", "background.jpg"]
    assert [region["share"] for region in content["regions"]] == pytest.approx([0.25, 0.25, 0.5])
    assert content["seed"] == 3
    assert content["weights"] == "vgg16.safetensors"
    assert content["weights_sha256"] == hashlib.sha256(b"numbers").hexdigest()
    assert content["versions"]["jax"] == metadata.version("jax")
    assert content["device"].startswith(("cpu", "gpu", "tpu"))
    assert content["more"] == "than that"
