"""EfficientNet-Lite0 equals PyTorch's own forward, dilated or not, and so does the segmenter on it, which is small."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor

from convert_weights import cli
from convert_weights.check import TOLERANCE
from convert_weights.efficientnet import torch_blocks
from msst_jax.errors import UserError
from msst_jax.models.deeplab import HEAD_CONFIGS, LITE_NETWORK, DeepLabV3
from msst_jax.models.efficientnet import LOW_LEVEL, LOW_LEVEL_CHANNELS, EfficientNetLite
from msst_jax.models.serialization import WEIGHT_TYPES, assign_tensors, read_tensors, state_to_tensors
from reference.random_networks import State, efficientnet_state
from tests.helpers.checkpoints import saved


@pytest.fixture(scope="module")
def state() -> State:
    return efficientnet_state()


@pytest.fixture(scope="module")
def converted(state: State, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The tensors of the file that the converter writes of the state dict."""
    folder = tmp_path_factory.mktemp("lite0")
    checkpoint, output = saved(folder / "lite0.pth", state), folder / "lite0.safetensors"
    assert cli.main(["efficientnet_lite0", "--from", str(checkpoint), "--output", str(output), "--quiet"]) == 0
    return read_tensors(output)


def random_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(1, height, width, 3)).astype(np.float32)


def our_blocks(converted: dict[str, np.ndarray], images: np.ndarray, output_stride: int = 16) -> dict[str, np.ndarray]:
    network = nnx.eval_shape(lambda: EfficientNetLite(output_stride=output_stride, rngs=nnx.Rngs(0)))
    model = assign_tensors(network, converted, "of the test")
    return jax.device_get(jax.jit(lambda model, images: dict(model.blocks(images)))(model, images))


def test_every_block_equals_pytorch_for_an_image_of_odd_size(state: State, converted: dict[str, np.ndarray]):
    images = random_images(75, 50)
    ours, theirs = our_blocks(converted, images), torch_blocks(numpy_state(state), images)
    assert ours.keys() == theirs.keys()
    for block, their in theirs.items():
        assert 0.5 < np.abs(their).max() < 1000, block  # neither vanishing nor exploding
        np.testing.assert_allclose(ours[block], their, rtol=0, atol=TOLERANCE * np.abs(their).max(), err_msg=block)
    assert ours[LOW_LEVEL].shape == (1, 19, 13, LOW_LEVEL_CHANNELS)  # stride 4
    assert ours["layers.15"].shape == (1, 5, 4, EfficientNetLite.channels)  # stride 16


def numpy_state(state: State) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in state.items()}


def test_every_second_feature_of_the_dilated_network_is_one_of_the_classifier(
    state: State, converted: dict[str, np.ndarray]
):
    images = random_images(64, 96)
    ours, theirs = our_blocks(converted, images), torch_blocks(numpy_state(state), images, 32)
    for block, their in theirs.items():
        step = ours[block].shape[1] // their.shape[1]
        assert step == (2 if int(block.partition(".")[2] or 0) >= 11 else 1)
        seen = ours[block][:, step - 1 :: step, step - 1 :: step]  # with a stride the padding lies below and right
        np.testing.assert_allclose(seen, their, rtol=0, atol=TOLERANCE * np.abs(their).max(), err_msg=block)


def test_another_output_stride_is_rejected():
    with pytest.raises(UserError, match="efficientnet_lite0 has no output stride 8; use 16"):
        DeepLabV3(LITE_NETWORK, output_stride=8, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def segmenter() -> DeepLabV3:
    """With random parameters and statistics."""
    model, rng = DeepLabV3(LITE_NETWORK, rngs=nnx.Rngs(0)), np.random.default_rng(1)
    weights = nnx.state(model, nnx.Any(*WEIGHT_TYPES))
    moved = jax.tree.map(lambda leaf: leaf + 0.05 * rng.uniform(size=leaf.shape).astype(np.float32), weights)
    nnx.update(model, moved)
    return model


def twin_of_head(
    tensors: dict[str, np.ndarray], features: np.ndarray, low: np.ndarray, size: tuple[int, int]
) -> Tensor:
    """The scores (N, 21, H, W) in float64 by PyTorch from features (N, h, w, 320) and low-level ones."""
    of = {name: torch.tensor(value).double() for name, value in tensors.items()}

    def layer(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        kernel = of[f"{name}.kernel"].permute(3, 2, 0, 1)
        options = {"padding": kernel.shape[-1] // 2 * dilation, "dilation": dilation}
        x = F.conv2d(x, kernel, groups=x.shape[1] // kernel.shape[1], **options)
        return F.relu(F.batch_norm(x, *(of[f"{name}.{leaf}"] for leaf in ("mean", "var", "scale", "bias"))))

    def separable(x: Tensor, name: str, dilation: int = 1) -> Tensor:
        return layer(layer(x, f"{name}.depthwise", dilation), f"{name}.pointwise")

    x, low_level = (torch.tensor(value).double().permute(0, 3, 1, 2) for value in (features, low))
    rates = enumerate(HEAD_CONFIGS[LITE_NETWORK].rates, start=1)
    branches = [layer(x, "aspp.branches.0"), *(separable(x, f"aspp.branches.{index}", rate) for index, rate in rates)]
    branches.append(layer(x.mean((2, 3), keepdim=True), "aspp.pooling").expand_as(branches[0]))
    x = layer(torch.cat(branches, 1), "aspp.project")
    x = F.interpolate(x, size=low_level.shape[2:], mode="bilinear", align_corners=False)
    x = separable(separable(torch.cat([x, layer(low_level, "low")], 1), "head"), "refine")
    x = F.conv2d(x, of["scores.kernel"].permute(3, 2, 0, 1), of["scores.bias"])
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def test_the_head_of_the_segmenter_equals_its_pytorch_twin(segmenter: DeepLabV3):
    blocks = jax.device_get(jax.jit(lambda model, images: dict(model.blocks(images)))(segmenter, random_images(64, 80)))
    tensors = state_to_tensors(nnx.state(segmenter, nnx.Any(*WEIGHT_TYPES)))
    theirs = twin_of_head(tensors, blocks["layers.15"], blocks[LOW_LEVEL], (64, 80)).permute(0, 2, 3, 1).numpy()
    assert blocks["logits"].shape == (1, 64, 80, 21)
    np.testing.assert_allclose(blocks["logits"], theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def test_the_segmenter_has_21_classes_and_fits_in_8_megabytes_of_float16(segmenter: DeepLabV3):
    assert segmenter.classes == tuple(range(21))
    assert sum(value.size for value in state_to_tensors(nnx.state(segmenter)).values()) * 2 < 8e6


def test_the_check_of_the_converter_fails_for_a_wrong_weight(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    checkpoint = saved(tmp_path / "lite0.pth", state)
    arguments = ["efficientnet_lite0", "--check", f"--from={checkpoint}", f"--output={tmp_path / 'x.safetensors'}"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count("  yes") == 17
    monkeypatch.setattr("convert_weights.efficientnet.EPSILON", 2e-3)
    assert cli.main(arguments) == 1
    assert "layers differ from PyTorch" in capsys.readouterr().err
