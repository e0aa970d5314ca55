"""Damaged and foreign checkpoint files: rejected in one line, nothing written, no code in them executed."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from convert_weights import cli, lpips_jax
from tests.helpers.checkpoints import Capture, RunsCode, archive, full_state, refused, saved


def test_checkpoint_with_code_is_rejected_and_not_executed(tmp_path: Path, output: Path, capsys: Capture) -> None:
    marker = tmp_path / "ran"
    checkpoint = saved(tmp_path / "evil.pth", {**full_state("vgg16"), "x": RunsCode(marker)})
    assert "never run" in refused(capsys, output, "vgg16", "--from", checkpoint)
    assert not marker.exists()


def test_damaged_missing_and_foreign_files_are_rejected_in_one_line(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    complete = saved(tmp_path / "vgg.pth", full_state("vgg16")).read_bytes()
    legacy = io.BytesIO()
    torch.save(full_state("vgg16"), legacy, _use_new_zipfile_serialization=False)
    files = {
        "half.pth": complete[: len(complete) // 2],
        "no_directory.pth": complete[:-2000] + bytes(2000),
        "legacy_half.pth": legacy.getvalue()[: len(legacy.getvalue()) // 2],
        "empty.pth": b"",
        "page.pth": b"<html>404</html>\n" * 9,
        "noise.tar.gz": b"\x1f\x8b\x08" + b"\0" * 99,
        "page.tar.gz": b"<html>404</html>\n" * 9,
        "half.tar.gz": archive(tmp_path / "complete.tar.gz", {"x": np.zeros(99)}).read_bytes()[:150],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(capsys, output, "vgg16", "--from", tmp_path / name)
    assert "does not exist" in refused(capsys, output, "vgg16", "--from", tmp_path / "none.pth")
    assert "does not exist" in refused(capsys, output, "vgg16", "--from", tmp_path / "none.tar.gz")
    assert "is a folder" in refused(capsys, output, "vgg16", "--from", tmp_path)


def flip_low_bits(path: Path, start: int) -> None:
    """Flips the lowest bit of 200 bytes: values change but stay finite."""
    content = bytearray(path.read_bytes())
    content[start : start + 200] = (byte ^ 1 for byte in content[start : start + 200])
    path.write_bytes(content)


def test_corrupted_tensor_data_is_detected_although_torch_loads_it(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    flip_low_bits(path, path.stat().st_size // 2)
    changed = torch.load(path, weights_only=True)
    assert any(not torch.equal(value, changed[key]) for key, value in full_state("vgg16").items())
    message = refused(capsys, output, "vgg16", "--from", path)
    assert "vgg.pth is not a readable checkpoint (" in message
    assert "is damaged); get it again" in message


def test_corrupted_tensor_data_in_an_archive_is_detected(tmp_path: Path, output: Path, capsys: Capture) -> None:
    values = np.random.default_rng(0).random(5000, np.float32)  # incompressible: a flipped bit still decompresses
    path = archive(tmp_path / lpips_jax.ARCHIVE, {"VGG16_0": {"Conv_0": {"bias": values}}})
    flip_low_bits(path, path.stat().st_size // 2)
    assert "is not a readable archive (" in refused(capsys, output, "vgg16", "--from", path)


def test_file_with_the_published_name_must_have_the_published_hash(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    """The published files have the old format, which has no checksums of its own."""
    path = tmp_path / "vgg16-397923af.pth"
    torch.save(full_state("vgg16"), path, _use_new_zipfile_serialization=False)
    message = refused(capsys, output, "vgg16", "--from", path)
    assert "vgg16-397923af.pth is damaged: its SHA-256 starts with" in message
    assert "that of the published file with 397923af; get it again" in message
    path.rename(tmp_path / "vgg16-mine.pth")
    arguments = ["vgg16", "--from", str(tmp_path / "vgg16-mine.pth"), "--output", str(output), "--quiet"]
    assert cli.main(arguments) == 0


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {}, "epoch": 3}])
def test_checkpoint_other_than_a_plain_state_dict_is_rejected(
    content: object, tmp_path: Path, output: Path, capsys: Capture
) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert "not a plain state dict" in refused(capsys, output, "vgg16", "--from", tmp_path / "other.pth")


def test_error_names_tensors_that_are_not_dense_and_real(tmp_path: Path, output: Path, capsys: Capture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of these layouts beta, others deprecated
        unsupported = {
            "a": torch.eye(3).to_sparse(),
            "b": torch.eye(3).to_sparse_csr(),
            "c": torch.zeros(3, device="meta"),
            "d": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "e": torch.ones(3, dtype=torch.complex64),
        }
        path = saved(tmp_path / "odd.pth", {**full_state("vgg16"), **unsupported})
    message = refused(capsys, output, "vgg16", "--from", path)
    kinds = "a (sparse or ragged), b (sparse or ragged), c (meta: no data), d (quantized), e (complex)"
    assert f"odd.pth contains tensors that are not dense and real: {kinds}; save them as plain float32" in message
