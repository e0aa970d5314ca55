"""Hostile and damaged files of torch.save: refused in one line, nothing in them run, no memory for what they claim."""

import os
import pickle
import re
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from convert_weights.checkpoint import read_checkpoint
from msst_jax.errors import UserError
from tests.helpers.checkpoints import Capture, full_state, refused
from tests.helpers.torch_files import (
    FORMS,
    UNREAD,
    Call,
    Stored,
    by_hand,
    pickled,
    pickles_by_hand,
    save_as,
    tensor,
    zip_by_hand,
)

VALUES = np.arange(24, dtype=np.float32)
ONE = tensor(Stored("0", 24), 0, (24,), (1,))


@contextmanager
def refused_by_reader(message: str) -> Iterator[None]:
    """Expects a UserError of one line that names the file, with at most 16 MB of memory on the way to it."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as error:
            yield
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    text = str(error.value)
    assert ".pth " in text
    assert text.isprintable()
    assert len(text) < 500


def runs(marker: Path) -> Call:
    """Its pickle makes a folder, by the system's shell, when it is loaded."""
    return Call(os.system, f"mkdir {marker}")


SYSTEM = f"{os.system.__module__}.system"


# --- code
@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_calls_the_system_is_refused_in_one_line_and_not_run(
    form: str, tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = save_as(form, tmp_path / "evil.pth", {**full_state("vgg16"), "x": runs(tmp_path / "ran")})
    message = refused(capsys, output, "vgg16", "--from", path)
    assert f"evil.pth holds {SYSTEM}, not only tensors, and code in a file is never run; save model" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["magic", "facts", "keys"])
def test_code_in_any_pickle_of_the_older_form_is_refused(place: str, tmp_path: Path) -> None:
    evil = {place: pickle.dumps(runs(tmp_path / "ran"), 2)}
    path = pickles_by_hand(tmp_path / "evil.pth", pickled({"a": ONE}), {"0": VALUES}, **evil)
    with refused_by_reader(f"holds {SYSTEM}, not only tensors"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Call(eval, "1"), r"(__builtin__|builtins)\.eval"),
        (Call(getattr, "a", "upper"), r"(__builtin__|builtins)\.getattr"),
        (torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        ({"a": torch.ones(1), "loss": np.float64(3)}, r"numpy\.\w+\.multiarray\.scalar"),
        ({"a": np.ones(3)}, r"numpy\.\w+\.multiarray\._reconstruct"),
        (Path("a"), r"pathlib\.\w+"),
        (Call(torch.load, "other.pth"), r"torch\.serialization\.load"),
        (Call(torch.hub.load, "a", "b"), r"torch\.hub\.load"),
    ],
)
def test_whatever_else_a_file_holds_is_named(content: object, name: str, form: str, tmp_path: Path) -> None:
    path = save_as(form, tmp_path / "more.pth", content)
    with refused_by_reader(f"more.pth holds {name}, not only tensors, and code in a file is never run; save model"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x8c\x05torch\x8c\x0fstorage.UntypedS\x93.",  # an attribute of a module
        b"\x8c\x05torch\x8c\x13UntypedStorage.mro\n\x93.",
        b"cos\nsystem\n(S'true'\nR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
    ],
)
def test_a_name_is_refused_whatever_opcode_gives_it(opcodes: bytes, tmp_path: Path) -> None:
    with refused_by_reader("not only tensors|not a readable"):
        read_checkpoint(zip_by_hand(tmp_path / "evil.pth", b"\x80\x04" + opcodes, {}))


@pytest.mark.parametrize(
    "name", ["collections\nOrderedDict", "torch\nFloatStorage", "torch._utils\n_rebuild_tensor_v2"]
)
def test_a_pickle_cannot_change_what_its_names_stand_for(name: str, tmp_path: Path) -> None:
    for state in (b"}S'build'\nN s", b"N}S'build'\nNs\x86"):
        opcodes = b"\x80\x02c" + name.encode() + b"\n" + state.replace(b" ", b"") + b"b."
        with refused_by_reader("gives a state to what has none"):
            read_checkpoint(zip_by_hand(tmp_path / "evil.pth", opcodes, {}))


def test_a_name_of_many_characters_or_lines_is_shortened_to_one_line(tmp_path: Path) -> None:
    module = "\x1b[2J\n" + "x" * 300
    opcodes = b"\x80\x04X" + len(module).to_bytes(4, "little") + module.encode() + b"\x8c\x01y\x93."
    with refused_by_reader(re.escape(r"holds \x1b[2J\nxxx")):
        read_checkpoint(zip_by_hand(tmp_path / "evil.pth", opcodes, {}))


# --- what a file claims
LIES: Mapping[str, tuple[object, str]] = {
    "storage": ({"a": tensor(Stored("0", 10**13), 0, (10**13,), (1,))}, "0 values|storage of|is cut off"),
    "negative storage": ({"a": tensor(Stored("0", -24), 0, (1,), (1,))}, "a storage of .* values: it is damaged"),
    "two storages": ({"a": ONE, "b": tensor(Stored("0", 12), 0, (1,), (1,))}, "storage 0 in two ways"),
    "two types": ({"a": ONE, "b": tensor(Stored("0", 24, torch.IntStorage), 0, (1,), (1,))}, "in two ways"),
    "shape": ({"a": tensor(Stored("0", 24), 0, (10**7, 10**6), (10**6, 1))}, "a tensor of 10000000000000 values in"),
    "shape by one": ({"a": tensor(Stored("0", 24), 0, (5, 5), (5, 1))}, "a tensor of 25 values in a storage of 24"),
    "offset": ({"a": tensor(Stored("0", 24), 10**30, (1,), (1,))}, "values in a storage of 24"),
    "strides": ({"a": tensor(Stored("0", 24), 20, (2,), (-20,))}, "strides"),
    "axes": ({"a": tensor(Stored("0", 24), 0, (2, 2), (1,))}, r"shape \(2, 2\) and strides \(1,\)"),
    "text": ({"a": tensor(Stored("0", 24), "x", (2,), (1,))}, "shape"),
    "fraction": ({"a": tensor(Stored("0", 24), 0, (2.0,), (1,))}, "shape"),
    "many axes": ({"a": tensor(Stored("0", 24), 0, (1,) * 99, (1,) * 99)}, "not a readable checkpoint"),
    "no values": ({"a": tensor(Stored("0", 24), 0, (0, 2**62, 2**62), (1, 1, 1))}, "not a readable checkpoint"),
    "absent": ({"a": tensor(Stored("1", 24), 0, (1,), (1,))}, "no entry archive/data/1|storage 0 of no tensor"),
    "not a storage": ({"a": tensor("0", 0, (1,), (1,))}, "not a readable checkpoint"),
    "another reference": ({"a": Stored("0", 24, kind="module")}, "refers to a module beside its pickle"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lie", LIES)
def test_sizes_are_compared_with_the_file_before_they_are_believed(lie: str, form: str, tmp_path: Path) -> None:
    content, message = LIES[lie]
    path = by_hand(form, tmp_path / "lie.pth", content, {"0": VALUES})
    with refused_by_reader(message):
        read_checkpoint(path)


def test_an_expanded_tensor_of_any_shape_takes_no_memory(tmp_path: Path) -> None:
    for stored in (Stored("0", 24), Stored("0", 48, torch.HalfStorage)):
        content = {"a": tensor(stored, 0, (10**6, 10**6), (0, 0))}
        tracemalloc.start()
        assert read_checkpoint(by_hand("zip", tmp_path / "a.pth", content, {"0": VALUES}))["a"].shape == (10**6, 10**6)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"}r\xff\xff\xff\x3f.", "numbers object 1073741823 after 2 steps"),
        (b"}p99999999\n.", "numbers object 99999999 after"),
        (b"X\xff\xff\xff\x7fabc.", "not a readable checkpoint"),
        (b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00abc.", "not a readable checkpoint"),
        (b"\x95\x00\x00\x00\x00\x00\x01\x00\x00}.", "not a readable checkpoint|not a plain state dict"),
        (b"\x8b\xff\xff\xff\x7fabc.", "not a readable checkpoint"),
    ],
)
def test_a_pickle_that_claims_much_memory_gets_none(opcodes: bytes, message: str, form: str, tmp_path: Path) -> None:
    content, path = b"\x80\x04" + opcodes, tmp_path / "lie.pth"
    path = zip_by_hand(path, content, {}) if form == "zip" else pickles_by_hand(path, content, {})
    with refused_by_reader(message):
        read_checkpoint(path)


def nested(depth: int) -> list[object]:
    """A list whose pickle has a few bytes for each level, and whose text has twice as many characters."""
    found: list[object] = []
    for _ in range(depth):
        found = [found, found]
    return found


ENDLESS: Mapping[str, object] = {
    "kind": Stored("0", 24, kind=nested(24)),  # type: ignore[arg-type]
    "key": tensor(Stored(nested(24), 24), 0, (24,), (1,)),  # type: ignore[arg-type]
    "count": tensor(Stored("0", nested(24)), 0, (24,), (1,)),  # type: ignore[arg-type]
    "shape": tensor(Stored("0", 24), 0, (nested(24),), (1,)),
    "dict": tensor(Stored("0", 24), 0, (OrderedDict(a=nested(24)),), (1,)),
}


@pytest.mark.parametrize("place", ENDLESS)
def test_a_small_pickle_whose_text_would_be_endless_is_shortened_before_it_is_written(place: str, tmp_path: Path):
    path = zip_by_hand(tmp_path / "endless.pth", pickled({"a": ENDLESS[place]}), {"0": VALUES.tobytes()})
    with refused_by_reader("refers to a|calls a storage|has a storage of|has a tensor of shape"):
        read_checkpoint(path)


def test_an_endless_text_in_any_pickle_of_the_older_form_is_shortened(tmp_path: Path):
    endless, path = pickle.dumps(nested(24), 2), tmp_path / "endless.pth"
    with refused_by_reader("begins with"):
        read_checkpoint(pickles_by_hand(path, pickled({"a": ONE}), {"0": VALUES}, magic=endless))
    with refused_by_reader("lists a storage"):
        read_checkpoint(pickles_by_hand(path, pickled({"a": ONE}), {"0": VALUES}, keys=endless))


def test_names_of_a_file_reach_the_terminal_without_control_characters(tmp_path: Path, output: Path, capsys: Capture):
    name, ones = "\x1b[2J\x07", torch.zeros(1)
    complete, sparse = {**full_state("vgg16"), name: ones}, {name: ones.to_sparse()}
    two = {f"{name}{number}": {"a": ones} for number in range(2)}
    for state in ({name: ones}, {name: 1}, {name: {}}, two, sparse, complete):
        message = refused(capsys, output, "vgg16", "--from", save_as("zip", tmp_path / "evil.pth", state))
        assert message.rstrip("\n").isprintable()
        assert r"\x1b[2J\x07" in message


def test_a_zip_file_that_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled({"a": tensor(Stored("0", 1 << 22), 0, (1,), (1,))}))
        archive.writestr("archive/data/0", bytes(1 << 24))
    with refused_by_reader("has a compressed entry, archive/data.pkl"):
        read_checkpoint(path)
    path = zip_by_hand(path, pickled({"a": ONE}), {"0": VALUES.tobytes()})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)  # of data/0; its two sizes at 20 and 24
    large = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content[: directory + 20] + 2 * large + content[directory + 28 :])
    with refused_by_reader("has entries of 10737.* bytes in a file of"):
        read_checkpoint(path)


# --- damage
def small(form: str, tmp_path: Path) -> bytes:
    state = {"a": torch.arange(9.0), "b": torch.arange(12).view(3, 4).T.half(), "n": torch.tensor(3)}
    return save_as(form, tmp_path / f"complete_{form}.pth", OrderedDict(state)).read_bytes()


def read_or_refused(path: Path) -> list[str]:
    """Names of the tensors in a file, or the message with which it is refused."""
    try:
        return [*read_checkpoint(path)]
    except UserError as error:
        return [str(error)]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_off_anywhere_is_refused_in_one_line(form: str, tmp_path: Path) -> None:
    content, path = small(form, tmp_path), tmp_path / "cut.pth"
    for length in [*range(0, len(content), 7), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.pth (is|has|begins|holds)\b") as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_any_byte_changed_is_read_or_refused_in_one_line(form: str, tmp_path: Path) -> None:
    content, path = bytearray(small(form, tmp_path)), tmp_path / "changed.pth"
    for position in range(0, len(content), 13):
        for value in (content[position] ^ 1, 255 - content[position]):
            path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            assert all(line.isprintable() for line in read_or_refused(path))


def test_a_cut_off_file_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    content = small("pickles", tmp_path)
    (tmp_path / "cut.pth").write_bytes(content[:-10])
    with refused_by_reader(rf"cut\.pth is cut off: {len(content) - 10} bytes, {len(content)} or more expected; get it"):
        read_checkpoint(tmp_path / "cut.pth")


def test_other_kinds_of_files_are_refused_by_what_they_begin_with(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    for content, message in (
        (b"", "other.pth is empty, no file of torch.save; get it again"),
        (b"<html>404</html>", "other.pth begins with b'<html>404</html>', no file of torch.save"),
        (pickle.dumps({"a": 1}, 2), r"other.pth begins with \{'a': 1\}, expected \d+ of torch.save"),
        (pickle.dumps(5, 4), "other.pth begins with 5, expected"),
    ):
        path.write_bytes(content)
        with refused_by_reader(message):
            read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.png", b"png")
    with refused_by_reader("is a zip file with 0 entries data.pkl, not one of torch.save"):
        read_checkpoint(path)
    with refused_by_reader(r"byte order middle, expected little or big"):
        read_checkpoint(zip_by_hand(path, UNREAD, {}, byteorder=b"middle"))
