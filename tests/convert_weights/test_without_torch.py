"""The converter in an install without torch: the same file, bit for bit, from every network of torchvision's."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convert_weights import cli
from convert_weights.convert import convert
from convert_weights.download import sha256
from convert_weights.networks import NETWORKS
from convert_weights.output import save_tensors
from msst_jax.models.deeplab import TORCHVISION_NETWORKS
from reference.random_networks import State, deeplab_state
from reference.torchvision_compat import torchvision
from tests.helpers.checkpoints import Capture, full_state, refused, saved
from tests.helpers.torch_files import FORMS, save_as

WITHOUT_TORCH = """
import sys

sys.modules["torch"] = sys.modules["torchvision"] = None  # as if they were not installed: an import fails
from convert_weights import cli

name, *sources = sys.argv[1:]
for source in sources:
    assert cli.main([name, "--from", source, "--output", f"{source}.safetensors", "--quiet"]) == 0
assert not [name for name in sys.modules if name.startswith("torch.")]
"""
PUBLISHED = [name for name, network in NETWORKS.items() if not network.package]  # by torchvision
# The smallest network in every run, the others with the slow tests.
CASES = [name if "mobilenet" in name else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]


def random_state(name: str) -> State:
    """The complete state dict of torchvision's network, with random values."""
    if name in TORCHVISION_NETWORKS:
        return deeplab_state(name)
    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None).state_dict()


def with_torch(name: str, source: Path, output: Path) -> Path:
    """Converts a file that torch reads."""
    state = {key: value.float().numpy() for key, value in torch.load(source, weights_only=True).items()}
    tensors = convert(state, NETWORKS[name], deepest=None, dtype="float32", origin=source.name)
    facts = {"network": name, "deepest": "all", "dtype": "float32", "source": source.name}
    save_tensors(output, tensors, {**facts, "source_sha256": sha256(source)})
    return output


@pytest.mark.parametrize("name", CASES)
def test_an_install_without_torch_writes_the_same_file_from_both_forms(name: str, tmp_path: Path) -> None:
    state = random_state(name)
    sources = [save_as(form, tmp_path / f"{form}.pth", state) for form in FORMS]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, name, *map(str, sources)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
    for source in sources:
        expected = with_torch(name, source, tmp_path / "expected.safetensors")
        assert sha256(Path(f"{source}.safetensors")) == sha256(expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_addresses_are_those_that_torchvision_downloads_from(name: str) -> None:
    assert NETWORKS[name].url == torchvision.models.get_model_weights(name).DEFAULT.url


def test_only_the_check_needs_torch_and_says_so_before_anything_is_read(
    tmp_path: Path, output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    for missing in ("torch", "torchvision"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            for source in (["--from", checkpoint], ["--from", "none.pth"], []):
                message = refused(capsys, output, "vgg16", "--check", *source)
                assert f"--check compares with PyTorch: {missing} cannot be imported (" in message
                assert "); run pip install torch torchvision, or leave out --check" in message
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output), "--quiet"]) == 0
