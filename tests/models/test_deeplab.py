"""Every block of our DeepLab-V3 equals torchvision's, with random weights and statistics from the real converter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from PIL import Image
from safetensors.numpy import load_file, save_file

from convert_weights import cli
from convert_weights.check import PICTURE, TOLERANCE
from convert_weights.deeplab import block_modules
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from msst_jax.models.deeplab import TORCHVISION_NETWORKS, DeepLabV3
from msst_jax.models.pretrained import load_deeplab
from msst_jax.ops.image import normalize
from reference.random_networks import State, deeplab_net, deeplab_state
from tests.helpers.checkpoints import Capture, Files, converted_files, refused, saved

RESNET101, RESNET50, MOBILENET = TORCHVISION_NETWORKS
PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return converted_files(tmp_path_factory, deeplab_state)


def random_images(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, height, width, 3)).astype(np.float32)


def torch_blocks(
    name: str, checkpoint: Path, images: np.ndarray, output_stride: int | None = None
) -> dict[str, np.ndarray]:
    """{block: torchvision's activation} in the dtype of `images`."""
    net = deeplab_net(name, output_stride)
    net.load_state_dict(torch.load(checkpoint, weights_only=True), assign=True)
    net.to(torch.from_numpy(images).dtype)
    outputs: dict[str, np.ndarray] = {}

    def record(block: str, output: torch.Tensor) -> None:
        outputs[block] = output.permute(0, 2, 3, 1).numpy().copy()

    modules = dict(net.named_modules())
    for block, module in block_modules(name).items():
        modules[module].register_forward_hook(lambda _, __, output, block=block: record(block, output))
    with torch.no_grad():
        record("logits", net(torch.tensor(images).permute(0, 3, 1, 2))["out"])
    return outputs


def check_blocks(files: Files, name: str, images: np.ndarray, output_stride: int | None = None) -> None:
    checkpoint, converted = files(name)
    # In float64, so that the tolerance covers our rounding alone: torch's own in float32 alone exceeds it on some CPUs.
    theirs = torch_blocks(name, checkpoint, images.astype(np.float64), output_stride)
    model, path = load_deeplab(name, output_stride=output_stride, path=converted)
    assert path == converted
    ours = jax.jit(lambda model, images: dict(model.blocks(images)))(model, images)
    assert set(ours) == set(theirs)
    ratios = {}
    for block, their in theirs.items():
        assert ours[block].shape == their.shape, block
        assert 0.5 < np.abs(their).max() < 1000, block  # neither vanishing nor exploding, or the ratio is meaningless
        assert their.std() > 0.01, block
        ratios[block] = float(np.abs(np.asarray(ours[block]) - their).max() / np.abs(their).max())
    worst = max(ratios, key=lambda block: ratios[block])
    height, width = images.shape[1:3]
    print(f"{name}, stride {output_stride}, {height}x{width}: logits {ratios['logits']:.1e} of the maximum,", end=" ")
    print(f"worst {ratios[worst]:.1e} at {worst}")
    assert ratios[worst] <= TOLERANCE, worst


# ResNet-101 repeats ResNet-50 with more blocks.
@pytest.mark.parametrize("name", [pytest.param(RESNET101, marks=pytest.mark.slow), RESNET50, MOBILENET])
def test_every_block_equals_torchvision(files: Files, name: str) -> None:
    check_blocks(files, name, random_images(97, 65))


def test_every_block_equals_torchvision_at_output_stride_16(files: Files) -> None:
    check_blocks(files, RESNET50, random_images(65, 97, count=2), output_stride=16)


@pytest.mark.slow
def test_mobilenet_equals_torchvision_for_a_large_photo_of_odd_size(files: Files) -> None:
    """A photo: on noise of this size the random network amplifies rounding tenfold, torch's own too (1.9e-5)."""
    with Image.open(PHOTO) as photo:
        image = np.asarray(photo.resize((500, 333)), np.float32) / np.float32(255)
    check_blocks(files, MOBILENET, np.array(normalize(jnp.asarray(image)))[None])


@pytest.mark.slow
@pytest.mark.parametrize("name", [RESNET101, RESNET50])
def test_a_large_image_of_odd_size_equals_torchvision(files: Files, name: str) -> None:
    check_blocks(files, name, random_images(333, 500))


@pytest.mark.slow
def test_resnet101_at_output_stride_16_equals_torchvision(files: Files) -> None:
    check_blocks(files, RESNET101, random_images(97, 65), output_stride=16)


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_and_stays_close(files: Files) -> None:
    images = random_images(33, 48)
    exact = load_deeplab(MOBILENET, path=files(MOBILENET)[1])[0]
    model = load_deeplab(MOBILENET, path=files(MOBILENET)[1], dtype=jnp.bfloat16)[0]
    assert model.head.kernel.dtype == model.head.var.dtype == jnp.float32
    run = jax.jit(lambda model, images: dict(model.blocks(images)))
    ours, theirs = run(model, images), run(exact, images)
    assert {block: value.dtype for block, value in ours.items() if value.dtype != jnp.bfloat16} == {
        "scores": jnp.float32,
        "logits": jnp.float32,
    }
    for block, their in theirs.items():
        error = np.linalg.norm(ours[block].astype(jnp.float32) - their) / np.linalg.norm(their)
        assert error < 0.05, block


def test_a_network_with_other_classes_runs_on_any_image_size() -> None:
    model = nnx.eval_shape(lambda: DeepLabV3(MOBILENET, classes=range(3), rngs=nnx.Rngs(0)))
    for height, width in ((1, 1), (5, 31), (64, 40)):
        logits = nnx.eval_shape(lambda model, images: model(images), model, jnp.zeros((2, height, width, 3)))
        assert logits.shape == (2, height, width, 3)


def test_unknown_networks_and_output_strides_are_rejected() -> None:
    with pytest.raises(UserError, match=r"unknown segmentation network 'deeplabv3'.*deeplabv3_resnet50"):
        load_deeplab("deeplabv3")
    with pytest.raises(UserError, match=r"resnet50 has no output stride 4; use one of 8, 16"):
        load_deeplab(RESNET50, output_stride=4)
    with pytest.raises(UserError, match="output stride 8; use 16"):
        load_deeplab(MOBILENET, output_stride=8)


# --- weights
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_missing_weights_are_reported_with_the_command_that_converts_them(name: str) -> None:
    with pytest.raises(UserError, match=f"python -m msst_jax.convert_weights {name}"):
        load_deeplab(name)


def test_converted_weights_are_found_without_a_path(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))
    weights = tmp_path / f"{MOBILENET}.safetensors"
    weights.hardlink_to(files(MOBILENET)[1])
    model, path = load_deeplab(MOBILENET)
    assert path == weights
    tensors = load_file(weights)
    np.testing.assert_array_equal(model.backbone.stem.var[...], tensors["backbone.stem.var"])


def test_mismatched_weights_and_statistics_are_listed(files: Files, tmp_path: Path) -> None:
    tensors = load_file(files(MOBILENET)[1])
    del tensors["head.var"], tensors["scores.bias"]
    tensors["head.mean"] = np.zeros(3, np.float32)
    tensors["backbone.extra.var"] = np.zeros(3, np.float32)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(UserError) as error:
        load_deeplab(MOBILENET, path=tmp_path / "bad.safetensors")
    for sentence in (
        "head.var is missing",
        "scores.bias is missing",
        "head.mean has shape (3,), expected (256,)",
        "backbone.extra.var is not part of the network",
    ):
        assert sentence in str(error.value)


# --- the converter
def state_with(name: str, **changes: torch.Tensor | None) -> State:
    """A complete state dict that takes no memory, with `changes` (None removes a key; __ stands for a dot)."""
    net = deeplab_net(name)
    state = {key: torch.ones(()).expand(value.shape) for key, value in net.state_dict().items()}
    state |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in state.items() if value is not None}


def test_only_the_auxiliary_head_and_the_batch_counters_are_dropped(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    arguments = [MOBILENET, "--output", str(output), "--quiet", "--from"]
    assert cli.main([*arguments, str(saved(tmp_path / "good.pth", state_with(MOBILENET)))]) == 0
    tensors = load_file(output)
    assert set(tensors) == set(NETWORKS[MOBILENET].shapes(None))
    output.unlink()
    unknown = state_with(MOBILENET, auxiliary__0__weight=torch.zeros(1), num_batches=torch.zeros(1))
    message = refused(capsys, output, MOBILENET, "--from", saved(tmp_path / "unknown.pth", unknown))
    assert "auxiliary.0.weight is not part of the network" in message
    assert "num_batches is not part of the network" in message
    assert "aux_classifier" not in message
    assert "tracked" not in message


def test_all_problems_are_listed_at_once_and_nothing_is_written(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = state_with(
        MOBILENET,
        classifier__2__running_mean=None,
        classifier__2__running_var=-torch.ones(256),
        classifier__1__weight=torch.zeros(256, 256, 1, 1),
        classifier__2__bias=torch.full((256,), torch.inf),
    )
    message = refused(capsys, output, MOBILENET, "--from", saved(tmp_path / "bad.pth", state))
    for sentence in (
        "classifier.2.running_mean is missing",
        "classifier.2.running_var holds negative variances",
        "classifier.1.weight has shape (256, 256, 1, 1), expected (256, 256, 3, 3)",
        "classifier.2.bias holds values that are not finite",
    ):
        assert sentence in message


def test_a_wrong_class_count_is_reported_in_two_sentences(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = state_with(RESNET50, classifier__4__weight=torch.zeros(7, 256, 1, 1), classifier__4__bias=torch.zeros(7))
    message = refused(capsys, output, RESNET50, "--from", saved(tmp_path / "seven.pth", state))
    assert "classifier.4.weight has shape (7, 256, 1, 1), expected (21, 256, 1, 1)" in message
    assert "classifier.4.bias has shape (7,), expected (21,)" in message
    assert message.count(";") == 1


def test_weights_of_another_network_are_rejected_in_a_line_of_readable_length(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    files = {name: saved(tmp_path / f"{name}.pth", state_with(name)) for name in TORCHVISION_NETWORKS}
    files["fcn"] = saved(tmp_path / "fcn.pth", {f"backbone.conv{n}.weight": torch.zeros(1) for n in range(900)})
    for name in TORCHVISION_NETWORKS:
        for other, path in files.items():
            if other != name:
                message = refused(capsys, output, name, "--from", path)
                assert any(text in message for text in ("is missing", "is not part of the network", f"holds no {name}"))
                assert len(message) < 5000
    message = refused(capsys, output, RESNET101, "--from", files[RESNET50])
    assert "backbone.layer3.6.conv1.weight is missing" in message
    assert "243 more like this" in message


def test_a_segmentation_network_cannot_be_truncated(tmp_path: Path, output: Path, capsys: Capture) -> None:
    assert "needed whole" in refused(capsys, output, MOBILENET, "--from", "none.pth", "--deepest", "layers.3")


def state_arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    state = torch.load(checkpoint, weights_only=True)
    return {key: state[key].numpy() for key in NETWORKS[MOBILENET].keys}


@pytest.mark.slow
def test_the_check_detects_a_wrong_statistic(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    theirs = state_arrays(checkpoint)
    theirs["backbone.16.1.running_mean"] = theirs["backbone.16.1.running_mean"] + 0.01
    rows = NETWORKS[MOBILENET].compare(converted, theirs, None)
    assert [row.layer for row in rows] == [*block_modules(MOBILENET), "logits"]
    assert [row.layer for row in rows if row.ok] == ["stem", *(f"layers.{index}" for index in range(15))]


def test_the_check_detects_a_kernel_that_is_wrong_by_a_thousandth(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    theirs = state_arrays(checkpoint)
    kernel = theirs["backbone.10.block.0.0.weight"]
    noise = np.random.default_rng(1).standard_normal(kernel.shape, np.float32)
    theirs["backbone.10.block.0.0.weight"] = kernel * (1 + 1e-3 * noise)
    rows = NETWORKS[MOBILENET].compare(converted, theirs, None)
    assert [row.layer for row in rows if row.ok] == ["stem", *(f"layers.{index}" for index in range(9))]
    assert max(row.ratio for row in rows) > 10 * TOLERANCE


def test_the_check_compares_with_float64_so_that_torchs_rounding_does_not_fail_it(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    exact = torch_blocks(MOBILENET, checkpoint, images.astype(np.float64))
    for row in NETWORKS[MOBILENET].compare(converted, state_arrays(checkpoint), None):
        assert row.maximum == pytest.approx(np.abs(exact[row.layer]).max(), rel=1e-12), row.layer


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_check_prints_every_block(files: Files, name: str, output: Path, capsys: Capture) -> None:
    assert cli.main([name, "--from", str(files(name)[0]), "--output", str(output), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [*block_modules(name), "logits"]
    assert all(line.endswith("yes") for line in lines[1:-1])
