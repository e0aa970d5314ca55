"""DeepLab-V3 here equals torchvision's: random weights and statistics through the real converter, every block."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file

from convert_weights import cli
from convert_weights.check import PICTURE, TOLERANCE
from convert_weights.deeplab import block_modules
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from msst_jax.models.deeplab import TORCHVISION_NETWORKS, DeepLabV3
from msst_jax.models.pretrained import load_deeplab
from msst_jax.ops.convolution import convolve
from reference.random_networks import State, deeplab_net, deeplab_state
from tests.helpers.checkpoints import Capture, Files, converted_files, refused, saved

RESNET101, RESNET50, MOBILENET = TORCHVISION_NETWORKS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return converted_files(tmp_path_factory, deeplab_state)


def picture(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, height, width, 3)).astype(np.float32)


def torch_blocks(
    name: str, checkpoint: Path, images: np.ndarray, output_stride: int | None = None
) -> dict[str, np.ndarray]:
    """{block: torchvision's activation} in the precision of `images`."""
    net = deeplab_net(name, output_stride)
    net.load_state_dict(torch.load(checkpoint, weights_only=True), assign=True)
    net.to(torch.from_numpy(images).dtype)
    outputs: dict[str, np.ndarray] = {}

    def keep(block: str, output: torch.Tensor) -> None:
        outputs[block] = output.permute(0, 2, 3, 1).numpy().copy()

    modules = dict(net.named_modules())
    for block, module in block_modules(name).items():
        modules[module].register_forward_hook(lambda _, __, output, block=block: keep(block, output))
    with torch.no_grad():
        keep("logits", net(torch.tensor(images).permute(0, 3, 1, 2))["out"])
    return outputs


def check_blocks(files: Files, name: str, images: np.ndarray, output_stride: int | None = None) -> None:
    checkpoint, converted = files(name)
    theirs = torch_blocks(name, checkpoint, images, output_stride)
    model, path = load_deeplab(name, output_stride=output_stride, path=converted)
    assert path == converted
    ours = jax.jit(lambda model, images: dict(model.blocks(images)))(model, images)
    assert set(ours) == set(theirs)
    ratios = {}
    for block, their in theirs.items():
        assert ours[block].shape == their.shape, block
        assert 0.5 < np.abs(their).max() < 1000, block  # neither dying nor exploding, or the ratio means nothing
        assert their.std() > 0.01, block
        ratios[block] = float(np.abs(np.asarray(ours[block]) - their).max() / np.abs(their).max())
    worst = max(ratios, key=lambda block: ratios[block])
    height, width = images.shape[1:3]
    print(f"{name}, stride {output_stride}, {height}x{width}: logits {ratios['logits']:.1e} of the maximum,", end=" ")
    print(f"worst {ratios[worst]:.1e} at {worst}")
    assert ratios[worst] <= TOLERANCE, worst


@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_every_block_equals_torchvision(files: Files, name: str) -> None:
    check_blocks(files, name, picture(97, 65))


def test_every_block_equals_torchvision_at_output_stride_16(files: Files) -> None:
    check_blocks(files, RESNET50, picture(65, 97, count=2), output_stride=16)


def test_large_odd_picture_through_mobilenet(files: Files) -> None:
    check_blocks(files, MOBILENET, picture(333, 500))


@pytest.mark.slow
@pytest.mark.parametrize("name", [RESNET101, RESNET50])
def test_large_odd_picture(files: Files, name: str) -> None:
    check_blocks(files, name, picture(333, 500))


@pytest.mark.slow
def test_resnet101_at_output_stride_16(files: Files) -> None:
    check_blocks(files, RESNET101, picture(97, 65), output_stride=16)


# The parts
@pytest.mark.parametrize(
    ("shape", "size", "outputs", "stride", "dilation", "depthwise"),
    [
        ((2, 9, 7, 5), 1, 4, 1, 1, False),
        ((1, 9, 8, 5), 1, 4, 2, 1, False),
        ((1, 1, 1, 6), 1, 4, 1, 1, False),
        ((1, 30, 21, 4), 3, 6, 1, 12, False),  # taps inside, taps outside
        ((2, 9, 40, 4), 3, 6, 1, 36, False),  # the middle row of taps only
        ((1, 9, 9, 4), 3, 6, 1, 24, False),  # the middle tap only
        ((1, 11, 12, 4), 3, 6, 1, 4, False),
        ((1, 11, 12, 3), 7, 6, 2, 1, False),
        ((2, 11, 12, 6), 3, 6, 1, 1, True),
        ((1, 11, 12, 6), 5, 6, 2, 1, True),
        ((1, 11, 12, 6), 5, 6, 1, 2, True),
        ((1, 2, 1, 6), 5, 6, 2, 2, True),
    ],
)
def test_every_form_of_convolution_and_its_gradients_equal_torch(
    shape: tuple[int, ...], size: int, outputs: int, stride: int, dilation: int, depthwise: bool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    kernel = rng.standard_normal((size, size, 1 if depthwise else shape[-1], outputs), np.float32)
    ours, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, stride=stride, dilation=dilation), x, kernel)
    theirs_x = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    theirs_kernel = torch.tensor(kernel).permute(3, 2, 0, 1).requires_grad_()
    options = {"padding": size // 2 * dilation, "groups": shape[-1] if depthwise else 1}
    theirs = torch.nn.functional.conv2d(theirs_x, theirs_kernel, stride=stride, dilation=dilation, **options)
    weights = rng.standard_normal(ours.shape).astype(np.float32)
    theirs.backward(torch.tensor(weights).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, theirs.detach().permute(0, 2, 3, 1), rtol=0, atol=2e-5)
    grad_x, grad_kernel = pull(jnp.asarray(weights))
    np.testing.assert_allclose(grad_x, theirs_x.grad.permute(0, 2, 3, 1), rtol=0, atol=1e-4)
    np.testing.assert_allclose(grad_kernel, theirs_kernel.grad.permute(2, 3, 1, 0), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_and_stays_close(files: Files) -> None:
    images = picture(33, 48)
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


def test_a_network_of_its_own_class_count_runs_on_any_size() -> None:
    model = nnx.eval_shape(lambda: DeepLabV3(MOBILENET, classes=range(3), rngs=nnx.Rngs(0)))
    for height, width in ((1, 1), (5, 31), (64, 40)):
        logits = nnx.eval_shape(lambda model, images: model(images), model, jnp.zeros((2, height, width, 3)))
        assert logits.shape == (2, height, width, 3)


def test_unknown_networks_and_output_strides_are_told() -> None:
    with pytest.raises(UserError, match=r"unknown segmentation network 'deeplabv3'.*deeplabv3_resnet50"):
        load_deeplab("deeplabv3")
    with pytest.raises(UserError, match=r"resnet50 has no output stride 4; use one of 8, 16"):
        load_deeplab(RESNET50, output_stride=4)
    with pytest.raises(UserError, match="output stride 8; use 16"):
        load_deeplab(MOBILENET, output_stride=8)


# Weights
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_missing_weights_name_the_command_that_makes_them(name: str) -> None:
    with pytest.raises(UserError, match=f"python -m convert_weights {name}"):
        load_deeplab(name)


def test_converted_weights_are_found_without_a_path(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))
    found = tmp_path / f"{MOBILENET}.safetensors"
    found.hardlink_to(files(MOBILENET)[1])
    model, path = load_deeplab(MOBILENET)
    assert path == found
    tensors = load_file(found)
    np.testing.assert_array_equal(model.backbone.stem.var[...], tensors["backbone.stem.var"])


def test_weights_and_statistics_that_do_not_fit_are_told(files: Files, tmp_path: Path) -> None:
    tensors = load_file(files(MOBILENET)[1])
    del tensors["head.var"], tensors["scores.bias"]
    tensors["head.mean"] = np.zeros(3, np.float32)
    tensors["backbone.extra.var"] = np.zeros(3, np.float32)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(UserError) as caught:
        load_deeplab(MOBILENET, path=tmp_path / "bad.safetensors")
    for sentence in (
        "head.var is missing",
        "scores.bias is missing",
        "head.mean has shape (3,), expected (256,)",
        "backbone.extra.var is not part of the network",
    ):
        assert sentence in str(caught.value)


# The converter
def bad(name: str, **changes: torch.Tensor | None) -> State:
    """A complete state that takes no space, with `changes` (None takes a key away; __ stands for a dot)."""
    net = deeplab_net(name)
    state = {key: torch.ones(()).expand(value.shape) for key, value in net.state_dict().items()}
    state |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in state.items() if value is not None}


def test_the_auxiliary_head_and_the_counters_are_dropped_by_name_and_nothing_else(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    arguments = [MOBILENET, "--output", str(output), "--quiet", "--from"]
    assert cli.main([*arguments, str(saved(tmp_path / "good.pth", bad(MOBILENET)))]) == 0
    tensors = load_file(output)
    assert set(tensors) == set(NETWORKS[MOBILENET].shapes(None))
    output.unlink()
    surprise = bad(MOBILENET, auxiliary__0__weight=torch.zeros(1), num_batches=torch.zeros(1))
    told = refused(capsys, output, MOBILENET, "--from", saved(tmp_path / "surprise.pth", surprise))
    assert "auxiliary.0.weight is not part of the network" in told
    assert "num_batches is not part of the network" in told
    assert "aux_classifier" not in told
    assert "tracked" not in told


def test_every_problem_is_told_at_once_and_nothing_written(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = bad(
        MOBILENET,
        classifier__2__running_mean=None,
        classifier__2__running_var=-torch.ones(256),
        classifier__1__weight=torch.zeros(256, 256, 1, 1),
        classifier__2__bias=torch.full((256,), torch.inf),
    )
    told = refused(capsys, output, MOBILENET, "--from", saved(tmp_path / "bad.pth", state))
    for sentence in (
        "classifier.2.running_mean is missing",
        "classifier.2.running_var holds negative variances",
        "classifier.1.weight has shape (256, 256, 1, 1), expected (256, 256, 3, 3)",
        "classifier.2.bias holds values that are not finite",
    ):
        assert sentence in told


def test_a_wrong_class_count_is_told_in_two_sentences(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = bad(RESNET50, classifier__4__weight=torch.zeros(7, 256, 1, 1), classifier__4__bias=torch.zeros(7))
    told = refused(capsys, output, RESNET50, "--from", saved(tmp_path / "seven.pth", state))
    assert "classifier.4.weight has shape (7, 256, 1, 1), expected (21, 256, 1, 1)" in told
    assert "classifier.4.bias has shape (7,), expected (21,)" in told
    assert told.count(";") == 1


def test_another_network_is_refused_in_a_line_of_readable_length(tmp_path: Path, output: Path, capsys: Capture) -> None:
    files = {name: saved(tmp_path / f"{name}.pth", bad(name)) for name in TORCHVISION_NETWORKS}
    files["fcn"] = saved(tmp_path / "fcn.pth", {f"backbone.conv{n}.weight": torch.zeros(1) for n in range(900)})
    for name in TORCHVISION_NETWORKS:
        for other, path in files.items():
            if other != name:
                told = refused(capsys, output, name, "--from", path)
                assert "is missing" in told or "is not part of the network" in told
                assert len(told) < 5000
    told = refused(capsys, output, RESNET101, "--from", files[RESNET50])
    assert "backbone.layer3.6.conv1.weight is missing" in told
    assert "243 more like this" in told


def test_a_network_that_is_needed_whole_cannot_be_shortened(tmp_path: Path, output: Path, capsys: Capture) -> None:
    assert "needed whole" in refused(capsys, output, MOBILENET, "--from", "none.pth", "--deepest", "layers.3")


def state_of(checkpoint: Path) -> dict[str, np.ndarray]:
    state = torch.load(checkpoint, weights_only=True)
    return {key: state[key].numpy() for key in NETWORKS[MOBILENET].keys}


def test_the_check_finds_a_wrong_statistic(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    theirs = state_of(checkpoint)
    theirs["backbone.16.1.running_mean"] = theirs["backbone.16.1.running_mean"] + 0.01
    rows = NETWORKS[MOBILENET].compare(converted, theirs, None)
    assert [row.layer for row in rows] == [*block_modules(MOBILENET), "logits"]
    assert [row.layer for row in rows if row.ok] == ["stem", *(f"layers.{index}" for index in range(15))]


def test_the_check_finds_a_kernel_that_is_wrong_by_a_thousandth(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    theirs = state_of(checkpoint)
    kernel = theirs["backbone.10.block.0.0.weight"]
    noise = np.random.default_rng(1).standard_normal(kernel.shape, np.float32)
    theirs["backbone.10.block.0.0.weight"] = kernel * (1 + 1e-3 * noise)
    rows = NETWORKS[MOBILENET].compare(converted, theirs, None)
    assert [row.layer for row in rows if row.ok] == ["stem", *(f"layers.{index}" for index in range(9))]
    assert max(row.ratio for row in rows) > 10 * TOLERANCE


def test_the_check_compares_with_float64_so_that_torchs_own_rounding_fails_nobody(files: Files) -> None:
    checkpoint, converted = files(MOBILENET)
    images = np.random.default_rng(0).normal(size=PICTURE).astype(np.float32)
    exact = torch_blocks(MOBILENET, checkpoint, images.astype(np.float64))
    for row in NETWORKS[MOBILENET].compare(converted, state_of(checkpoint), None):
        assert row.maximum == pytest.approx(np.abs(exact[row.layer]).max(), rel=1e-12), row.layer


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_check_prints_every_block(files: Files, name: str, output: Path, capsys: Capture) -> None:
    assert cli.main([name, "--from", str(files(name)[0]), "--output", str(output), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [*block_modules(name), "logits"]
    assert all(line.endswith("yes") for line in lines[1:-1])
