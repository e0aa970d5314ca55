"""Every layer of our VGG equals torchvision's, with random weights and biases from the real converter."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from convert_weights.check import TOLERANCE
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from msst_jax.models.pretrained import ASSETS, EMBEDDED_VGG16, load_vgg
from msst_jax.models.vgg import VGG, deepest_tap, receptive_field, tap_names
from reference.random_networks import vgg_state
from reference.torchvision_compat import torchvision
from tests.helpers.checkpoints import Files, converted_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return converted_files(tmp_path_factory, vgg_state)


def torch_net(name: str, checkpoint: Path, pooling: str = "max") -> torch.nn.Sequential:
    with torch.device("meta"):
        features = getattr(torchvision.models, name)(weights=None).features
    state = torch.load(checkpoint, weights_only=True)
    state = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    features.load_state_dict(state, assign=True)
    if pooling == "average":
        layers = [torch.nn.AvgPool2d(2) if isinstance(layer, torch.nn.MaxPool2d) else layer for layer in features]
        features = torch.nn.Sequential(*layers)
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    return features


def random_images(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, height, width, 3)).astype(np.float32)


def nchw(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2)


def nhwc(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def run(model: VGG, images: np.ndarray, taps: tuple[str, ...]) -> dict[str, jax.Array]:
    return jax.jit(lambda model, images: model(images, taps))(model, images)


def count_convolutions(model: VGG, taps: tuple[str, ...]) -> int:
    lowered = jax.jit(lambda images: model(images, taps)).lower(jnp.zeros((1, 32, 32, 3)))
    return lowered.as_text().count("stablehlo.convolution")


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize(("pooling", "height", "width"), [("max", 64, 64), ("max", 75, 101), ("average", 75, 101)])
def test_every_tap_equals_torchvision(
    files: Files,
    name: str,
    pooling: str,
    height: int,
    width: int,
    record_property: Callable[[str, object], None],
) -> None:
    checkpoint, converted = files(name)
    taps = tap_names(name)
    model, path = load_vgg(name, taps, pooling=pooling, path=converted)
    assert path == converted
    images = random_images(height, width)
    ours = run(model, images, taps)
    assert set(ours) == set(taps)
    ratios = {}
    x = nchw(images)
    with torch.no_grad():
        for tap, layer in zip(taps, torch_net(name, checkpoint, pooling), strict=True):
            x = layer(x)
            theirs = nhwc(x)
            assert ours[tap].shape == theirs.shape, tap
            assert theirs.max() > 0, tap
            ratios[tap] = float(np.abs(np.asarray(ours[tap]) - theirs).max() / np.abs(theirs).max())
    worst = max(ratios, key=lambda tap: ratios[tap])
    record_property("worst", f"{worst} {ratios[worst]:.1e}")
    print(f"{name} {pooling} {height}x{width}: worst {ratios[worst]:.1e} of the maximum, at {worst}")
    assert ratios[worst] <= TOLERANCE, worst


def test_pixel_gradient_equals_torch(files: Files) -> None:
    checkpoint, converted = files("vgg16")
    model, _ = load_vgg("vgg16", ["relu3_1"], path=converted)
    images = random_images(33, 42, count=2)

    def loss(model: VGG, images: jax.Array) -> jax.Array:
        return jnp.mean(model(images, ["relu3_1"])["relu3_1"] ** 2)

    ours = np.asarray(jax.jit(jax.grad(loss, argnums=1))(model, images))
    x = nchw(images).requires_grad_()
    depth = len(tap_names("vgg16", "relu3_1"))
    (torch_net("vgg16", checkpoint)[:depth](x) ** 2).mean().backward()
    theirs = nhwc(x.grad)
    # Where the two largest values of a window are equal up to rounding, the gradients may go to different pixels.
    assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs)


@pytest.mark.parametrize(("tap", "count"), [("conv1_1", 1), ("relu2_1", 3), ("pool3", 8), ("relu5_4", 16)])
def test_layers_deeper_than_the_deepest_tap_are_not_computed(files: Files, tap: str, count: int) -> None:
    model, _ = load_vgg("vgg19", tap_names("vgg19"), path=files("vgg19")[1])
    assert count_convolutions(model, (tap,)) == count


def test_a_truncated_network_has_no_deeper_parameters_and_equal_features(files: Files) -> None:
    converted = files("vgg19")[1]
    taps = ("conv2_2", "relu3_1")
    cut, _ = load_vgg("vgg19", taps, path=converted)
    whole, _ = load_vgg("vgg19", tap_names("vgg19"), path=converted)
    assert hasattr(cut, "conv3_1")
    assert not hasattr(cut, "conv3_2")
    images = random_images(40, 48)
    for tap, features in run(cut, images, taps).items():
        np.testing.assert_array_equal(features, run(whole, images, taps)[tap])


def test_bfloat16_computes_in_bfloat16_and_stays_close(files: Files) -> None:
    taps = ("conv1_1", "relu3_1", "pool4")
    images = random_images(64, 64)
    exact = run(load_vgg("vgg16", taps, path=files("vgg16")[1])[0], images, taps)
    model, _ = load_vgg("vgg16", taps, path=files("vgg16")[1], dtype=jnp.bfloat16)
    assert model.conv1_1.kernel.dtype == jnp.float32
    for tap, features in run(model, images, taps).items():
        assert features.dtype == jnp.bfloat16, tap
        error = np.linalg.norm(features.astype(jnp.float32) - exact[tap]) / np.linalg.norm(exact[tap])
        assert error < 0.03, tap


def test_taps_are_ordered_and_the_deepest_is_known() -> None:
    assert tap_names("vgg16", "conv2_1") == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert len(tap_names("vgg16")) == 31
    assert len(tap_names("vgg19")) == 37
    assert deepest_tap("vgg19", ["pool3", "conv4_1", "relu1_1"]) == "conv4_1"


def test_unknown_names_are_rejected_with_the_list_of_known_ones() -> None:
    with pytest.raises(UserError, match=r"no layer 'conv3_4'.*conv3_3"):
        load_vgg("vgg16", ["conv3_4"])
    with pytest.raises(UserError, match=r"unknown network 'vgg11'.*vgg16, vgg19"):
        load_vgg("vgg11", ["conv1_1"])
    with pytest.raises(UserError, match=r"unknown pooling 'min'.*max, average"):
        load_vgg("vgg16", ["conv1_1"], pooling="min")
    with pytest.raises(UserError, match="name at least one"):
        load_vgg("vgg16", [])


def test_a_tap_beyond_the_end_of_a_truncated_network_is_rejected() -> None:
    model = nnx.eval_shape(lambda: VGG("vgg16", deepest="relu2_1", rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match=r"no layer conv5_1 in this network.*relu2_1"):
        model(jnp.zeros((1, 32, 32, 3)), ["conv5_1"])


@pytest.mark.parametrize(("name", "tap"), [("vgg19", "conv1_1"), ("vgg16", "conv5_1"), ("vgg16", "pool4")])
def test_missing_weights_are_reported_with_the_command_that_converts_them(name: str, tap: str) -> None:
    with pytest.raises(UserError, match=f"python -m msst_jax.convert_weights {name}"):
        load_vgg(name, [tap])


def test_damaged_missing_and_mismatched_weights_are_rejected(files: Files, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(files("vgg16")[1].read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_vgg("vgg16", ["conv1_1"], path=damaged)
    with pytest.raises(UserError, match="do not exist"):
        load_vgg("vgg16", ["conv1_1"], path=tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"conv3_4.kernel is not part of the network"):
        load_vgg("vgg16", ["relu4_1"], path=files("vgg19")[1])


def test_converted_weights_are_found_without_a_path(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))
    (tmp_path / "vgg19.safetensors").hardlink_to(files("vgg19")[1])
    _, path = load_vgg("vgg19", ["relu1_1"])
    assert path == tmp_path / "vgg19.safetensors"


def test_the_embedded_vgg16_is_torchvisions_and_needs_no_download() -> None:
    model, path = load_vgg("vgg16", ["relu4_3"])
    assert path == EMBEDDED_VGG16
    # The published first filter, red channel, rounded to float16.
    published = [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]]
    np.testing.assert_allclose(model.conv1_1.kernel[...][:, :, 0, 0], published, atol=5e-4)
    features = run(model, random_images(32, 40), ("relu4_3",))["relu4_3"]
    assert features.shape == (1, 4, 5, 512)
    assert float(features.max()) > 1


def test_the_embedded_weights_have_the_sha256_of_their_readme() -> None:
    digest = hashlib.sha256(EMBEDDED_VGG16.read_bytes()).hexdigest()
    assert digest in (ASSETS / "README.md").read_text()


def test_key_tables_cover_all_parameters_of_the_networks_exactly() -> None:
    for name, network in NETWORKS.items():
        paths = list(network.keys.values())
        assert len(paths) == len(set(paths)), name
        assert set(paths) == set(network.shapes(None)), name


def test_replicate_padding_repeats_the_border_before_the_first_convolution_only():
    rng = np.random.default_rng(0)
    net = VGG("vgg16", deepest="conv1_2", padding="replicate", rngs=nnx.Rngs(0))
    images = rng.normal(size=(1, 9, 11, 3)).astype(np.float32)
    ours = net(jnp.asarray(images), ["conv1_1", "conv1_2"])
    x = torch.nn.functional.pad(torch.from_numpy(images).permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    for tap, padding in (("conv1_1", 0), ("conv1_2", 1)):
        conv = getattr(net, tap)
        kernel = torch.from_numpy(np.asarray(conv.kernel[...]).transpose(3, 2, 0, 1).copy())
        x = torch.nn.functional.conv2d(x, kernel, torch.from_numpy(np.asarray(conv.bias[...]).copy()), padding=padding)
        theirs = x.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(ours[tap], theirs, atol=2e-5 * np.abs(theirs).max())
        x = torch.relu(x)


def test_a_feature_depends_on_its_receptive_field_and_nothing_beyond() -> None:
    network = VGG("vgg16", deepest="relu3_1", pooling="average", rngs=nnx.Rngs(0))
    side = receptive_field(network.taps)
    gradient = jax.grad(lambda image: network(image, ["conv3_1"])["conv3_1"][0, 8, 8, 0])(jnp.ones((1, 64, 64, 3)))
    rows = np.flatnonzero(np.abs(gradient[0]).sum((1, 2)))
    assert rows[-1] - rows[0] + 1 == side
