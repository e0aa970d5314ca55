"""Downloads: cached, resumed or restarted, verified by hash; errors say how to proceed."""

import hashlib
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from convert_weights import cli, download
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from tests.helpers.checkpoints import Capture, full_state, refused, saved

PAYLOAD = np.random.default_rng(1).bytes(3 * download.CHUNK // 2)
NAME = f"blob-{hashlib.sha256(PAYLOAD).hexdigest()[:8]}.pth"


class Server:
    """Serves PAYLOAD in one of several modes; `ranges` lists the Range header of each request."""

    def __init__(self) -> None:
        self.mode = "range"
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
        requested = request.headers.get("Range")
        self.ranges.append(requested)
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and self.mode != "plain" else 0
        if self.mode == "missing":
            return request.send_error(404)
        if self.mode == "silent":
            self.release.wait()
            return None
        if start and (self.mode == "refuse" or start >= len(self.content)):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            first = 0 if self.mode == "confused" else start
            request.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        request.wfile.write(self.content[start : len(self.content) // 2 if self.mode == "cut" else None])
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.release.set()
    running.http.shutdown()
    running.http.server_close()
    thread.join()


def write_part(folder: Path, content: bytes) -> None:
    (folder / f"{NAME}.part").write_bytes(content)


def test_download_is_cached(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    path = download.download(server.url, folder)
    assert path == folder / NAME
    assert path.read_bytes() == PAYLOAD
    assert list(folder.iterdir()) == [path]
    download.download(server.url, folder)
    assert server.ranges == [None]


def test_damaged_cached_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"damaged")
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD


def test_download_resumes_from_the_part_file(server: Server, tmp_path: Path) -> None:
    write_part(tmp_path, PAYLOAD[:1000])
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == ["bytes=1000-"]


def test_complete_part_file_needs_no_request(server: Server, tmp_path: Path) -> None:
    write_part(tmp_path, PAYLOAD)
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == []


@pytest.mark.parametrize(
    ("mode", "content", "ranges"),
    [
        ("plain", PAYLOAD[:1000], ["bytes=1000-"]),
        ("refuse", PAYLOAD[:1000], ["bytes=1000-", None]),
        ("confused", PAYLOAD[:1000], ["bytes=1000-", None]),
        ("range", PAYLOAD + b"too long", [f"bytes={len(PAYLOAD) + 8}-", None]),
        ("range", b"other bytes", ["bytes=11-", None]),
        ("range", b"", [None]),
    ],
)
def test_download_restarts_where_it_cannot_resume(
    mode: str, content: bytes, ranges: list[str | None], server: Server, tmp_path: Path
) -> None:
    server.mode = mode
    write_part(tmp_path, content)
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == ranges
    assert not (tmp_path / f"{NAME}.part").exists()


def test_file_with_a_wrong_hash_is_rejected_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    with pytest.raises(UserError, match=r"wrong SHA-256.*--from"):
        download.download(server.url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_next_run_completes_a_download_after_a_lost_connection(server: Server, tmp_path: Path) -> None:
    server.mode = "cut"
    half = len(PAYLOAD) // 2
    with pytest.raises(UserError, match=f"closed after {half} of {len(PAYLOAD)} bytes.*--from"):
        download.download(server.url, tmp_path)
    server.mode = "range"
    assert download.download(server.url, tmp_path).read_bytes() == PAYLOAD
    assert server.ranges == [None, f"bytes={half}-"]


def test_http_error_says_how_to_proceed_and_keeps_the_part_file(server: Server, tmp_path: Path) -> None:
    server.mode = "missing"
    write_part(tmp_path, b"half")
    with pytest.raises(UserError, match=rf"404 Not Found.*--from {NAME}"):
        download.download(server.url, tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == b"half"


def test_unresponsive_server_ends_in_a_timeout(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.mode = "silent"
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    with pytest.raises(UserError, match=r"timed out.*--from"):
        download.download(server.url, tmp_path)


def unreachable_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/{NAME}"


def test_connection_error_says_how_to_proceed(output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], url=unreachable_url())})
    message = refused(capsys, output, "vgg16")
    assert "cannot download" in message
    assert f"--from {NAME}" in message


def test_default_source_is_downloaded_and_converted(
    server: Server, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = saved(tmp_path / "vgg.pth", full_state("vgg16")).read_bytes()
    url = server.url.replace(NAME, f"vgg16-{hashlib.sha256(server.content).hexdigest()[:8]}.pth")
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], url=url)})
    monkeypatch.setitem(sys.modules, "torch", None)  # a plain install has none
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
