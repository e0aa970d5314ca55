"""Weights files: what is not finite is neither written nor read."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from msst_jax.errors import UserError
from msst_jax.models.serialization import read_tensors, save_tensors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, 1e8])
def test_weights_that_are_not_finite_as_stored_are_not_written(tmp_path: Path, value: float):
    tensors = {"good": np.ones(3, np.float32), "bad": np.array([0, value], np.float32)}
    with pytest.raises(UserError, match=r"^cannot write .*out.safetensors: bad is not finite, or too large for"):
        save_tensors(tmp_path / "out.safetensors", tensors, {})
    assert not list(tmp_path.iterdir())


def test_the_largest_weights_are_kept(tmp_path: Path):
    tensors = {"large": np.array([65504.0, -65504.0], np.float32)}
    save_tensors(tmp_path / "out.safetensors", tensors, {})
    np.testing.assert_array_equal(read_tensors(tmp_path / "out.safetensors")["large"], tensors["large"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    save_file({"good": np.ones(3, np.float16), "bad": np.array([0, value], np.float16)}, tmp_path / "in.safetensors")
    with pytest.raises(UserError, match=r"^weights .*in.safetensors are not finite \(the first: bad\); convert"):
        read_tensors(tmp_path / "in.safetensors")
