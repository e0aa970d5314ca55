"""Files of torch.save, read without torch: every kind of tensor as torch reads it, bit for bit."""

import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from convert_weights.checkpoint import read_checkpoint
from convert_weights.pth import open_checkpoint
from tests.helpers.torch_files import (
    FORMS,
    Call,
    Stored,
    by_hand,
    pickled,
    save_as,
    tensor,
    with_swapped_bytes,
    zip_by_hand,
)

State = dict[str, torch.Tensor]
RNG = np.random.default_rng(3)
VALUES = torch.from_numpy(RNG.standard_normal((6, 4), np.float32) * 100)


def tagged(value: torch.Tensor) -> torch.Tensor:
    """A tensor with an attribute, which torch writes in another way."""
    value.origin = "here"  # type: ignore[attr-defined]
    return value


STATES: dict[str, Callable[[], State]] = {
    "every real type": lambda: {
        str(dtype): VALUES.abs().to(dtype)
        for dtype in (
            *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
            *(torch.int8, torch.uint8, torch.bool),
        )
    },
    "types without a storage of their own": lambda: {
        str(dtype): VALUES.abs().to(dtype) for dtype in (torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2)
    },
    "large integers": lambda: {"n": torch.tensor([2**53 + 1, -(2**62) + 3, 2**24 + 1])},
    "beyond float32": lambda: {"large": torch.tensor([1e300, -1e300, 1e-300, torch.nan, torch.inf])},
    "half precision at its limits": lambda: {
        "half": torch.tensor([65504.0, 6e-8, -0.0, torch.inf]).half(),
        "bfloat16": torch.tensor([3e38, 1e-40, -0.0, -torch.inf]).bfloat16(),
    },
    "views": lambda: {
        "transposed": VALUES.T,
        "rows": VALUES[1:5:2],
        "column": VALUES[:, 3],
        "expanded": VALUES[:, :1].expand(6, 9),
        "channels last": torch.arange(120.0).view(1, 2, 6, 10).contiguous(memory_format=torch.channels_last),
        "half column": VALUES.half()[2:, 1],
    },
    "shared": lambda: {"whole": VALUES, "again": VALUES, "part": VALUES.view(-1)[5:9]},
    "no values": lambda: {"empty": torch.zeros(0), "no rows": torch.zeros(0, 3), "scalar": torch.tensor(12345)},
    "parameters": lambda: {"a": torch.nn.Parameter(VALUES), "b": torch.nn.Parameter(VALUES.half()[:, :2])},
    "attributes": lambda: {"a": tagged(VALUES.clone()), "b": tagged(torch.nn.Parameter(VALUES.clone()))},
    "a module": lambda: torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).state_dict(),
}


def arrays(state: State) -> dict[str, np.ndarray]:
    return {key: value.detach().float().numpy() for key, value in state.items()}


def as_torch_reads(path: Path) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return arrays(torch.load(path, weights_only=True))


def assert_equal_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, np.float32), name
        assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", STATES)
def test_tensors_are_read_bit_for_bit_as_torch_reads_them(kind: str, form: str, tmp_path: Path) -> None:
    state = STATES[kind]()
    path = save_as(form, tmp_path / "state.pth", state)
    assert_equal_bits(read_checkpoint(path), arrays(state))
    if (kind, form) != ("types without a storage of their own", "pickles"):  # which torch writes, but does not read
        assert_equal_bits(read_checkpoint(path), as_torch_reads(path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols_of_pickle_are_read(protocol: int, form: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save_as(form, tmp_path / "state.pth", OrderedDict(a=VALUES, b=VALUES[2]), pickle_protocol=protocol)
    assert_equal_bits(read_checkpoint(path), {"a": VALUES.numpy(), "b": VALUES[2].numpy()})


@pytest.mark.parametrize("form", FORMS)
def test_tensors_that_share_a_storage_share_memory(form: str, tmp_path: Path) -> None:
    found = read_checkpoint(save_as(form, tmp_path / "shared.pth", {"a": VALUES.half(), "b": VALUES, "c": VALUES[2:]}))
    assert np.shares_memory(found["b"], found["c"])
    assert not np.shares_memory(found["a"], found["b"])


@pytest.mark.parametrize("form", FORMS)
def test_plain_values_beside_the_state_dict_do_not_make_a_file_unreadable(form: str, tmp_path: Path) -> None:
    content = {
        "state_dict": {"a": VALUES},
        "epoch": 3,
        "scheduler": {"milestones": Counter([2, 5]), "rates": [0.1, None, True], "seen": {1, 2}},
        "types": (torch.float16, torch.Size([3]), torch.device("cpu"), b"bytes", bytearray(b"more"), 1j),
        "optimizer": {"state": {0: {"step": torch.tensor(7.0), "mean": VALUES * 2}}},
    }
    assert_equal_bits(read_checkpoint(save_as(form, tmp_path / "run.pth", content)), {"a": VALUES.numpy()})


def test_values_of_a_big_endian_machine_are_swapped(tmp_path: Path) -> None:
    """torch writes the order of bytes into a zip file; files of the older form are little-endian on any machine."""
    state = {
        "float": VALUES,
        "bfloat16": VALUES.bfloat16(),
        "long": torch.tensor([1, -2, 2**40]),
        "byte": torch.tensor([1, 2], dtype=torch.uint8),
    }
    source = save_as("zip", tmp_path / "little.pth", state)
    sizes = {str(index): value.element_size() for index, value in enumerate(state.values())}
    swapped = with_swapped_bytes(source, tmp_path / "big.pth", sizes)
    assert_equal_bits(read_checkpoint(swapped), as_torch_reads(source))
    assert_equal_bits(read_checkpoint(swapped), as_torch_reads(swapped))


def test_a_zip_file_without_a_byte_order_is_little_endian(tmp_path: Path) -> None:
    """torch has written the order since 2.1."""
    content = {"a": tensor(Stored("0", 24), 0, (6, 4), (4, 1))}
    path = zip_by_hand(tmp_path / "old.pth", pickled(content), {"0": VALUES.numpy().tobytes()})
    assert_equal_bits(read_checkpoint(path), {"a": VALUES.numpy()})


def test_a_file_of_2017_is_read(tmp_path: Path) -> None:
    """As torchvision's VGG-16: an OrderedDict of Python 2, parameters with a state, an older function for tensors."""
    stored = Stored("94046", 24, rest=(None,))

    def parameter(*view: object) -> Call:
        data = Call(torch._utils._rebuild_tensor, stored, *view)
        return Call(torch.nn.Parameter, data, state=(False, False, OrderedDict()))

    items = [["a", parameter(0, (6, 4), (4, 1))], ["b", parameter(3, (2,), (8,))]]
    content, values = Call(OrderedDict, items), VALUES.numpy()
    path = by_hand("pickles", tmp_path / "old.pth", content, {"94046": values.ravel()})
    assert_equal_bits(read_checkpoint(path), {"a": values, "b": values.ravel()[[3, 11]]})


def test_a_part_of_a_storage_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    """Only files of before torch 0.4 have parts."""
    part = Stored("1", 24, rest=(("2", 5, 8),))
    content = {
        "whole": tensor(Stored("1", 24, rest=(None,)), 0, (24,), (1,)),
        "part": tensor(part, 1, (2, 3), (4, 1)),
    }
    path = by_hand("pickles", tmp_path / "parts.pth", content, {"1": VALUES.numpy().ravel()})
    assert_equal_bits(read_checkpoint(path), as_torch_reads(path))


def test_only_the_storages_of_the_state_dict_are_read(tmp_path: Path) -> None:
    """The state of an optimizer is twice as large as the network."""
    path = save_as("zip", tmp_path / "run.pth", {"state_dict": {"a": VALUES}, "optimizer": {0: {"mean": VALUES * 2}}})
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/1")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    assert_equal_bits(read_checkpoint(path), {"a": VALUES.numpy()})


def test_a_checkpoint_is_readable_from_python(tmp_path: Path) -> None:
    with open_checkpoint(save_as("zip", tmp_path / "two.pth", [VALUES, VALUES.half()])) as checkpoint:
        first, second = checkpoint.content
        found = checkpoint.arrays({"first": first, "second": second})
    assert_equal_bits(found, {"first": VALUES.numpy(), "second": VALUES.half().float().numpy()})
