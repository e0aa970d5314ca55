"""Resumable downloads, verified against the SHA-256 prefix in the file name."""

import hashlib
import http.client
import os
import re
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from msst_jax.errors import UserError

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without data
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206


def download(url: str, folder: Path, *, quiet: bool = False) -> Path:
    """Downloads a file named NAME-HASH.EXT into `folder`, unless it is already there.

    Partial data is kept in a `.part` file, from which the next call resumes.

    Args:
      url: its file name contains the first hex digits of the SHA-256.
      folder: destination; created if needed.
      quiet: no progress bar (there is none either when stderr is not a terminal).

    Raises:
      UserError: no connection, an HTTP error, or a hash mismatch.
    """
    target = folder / file_name(url)
    part = target.with_name(f"{target.name}.part")
    try:
        if _has_hash(target, target.name):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        if not _has_hash(part, target.name):
            resumed = _fetch(url, part, quiet)
            if resumed and not _has_hash(part, target.name):
                part.unlink()
                _fetch(url, part, quiet)
        if not _has_hash(part, target.name):
            part.unlink()
            raise UserError(f"{url} has the wrong SHA-256 and was removed; run again, {_advice(target.name)}")
        os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"cannot download {url}: {_error_text(error)}; run again, {_advice(target.name)}") from error
    return target


def file_name(url: str) -> str:
    """File name in a URL: "https://host/folder/vgg16-397923af.pth" to "vgg16-397923af.pth"."""
    return url.rsplit("/", 1)[-1]


def hash_in(name: str) -> str:
    """SHA-256 prefix in the name of a published file: "vgg16-397923af.pth" to "397923af".

    Raises:
      ValueError: the name contains none.
    """
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    if digits is None:
        raise ValueError(f"{name} contains no hash")
    return digits[1]


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, part: Path, quiet: bool) -> bool:
    """Completes the file `part`; returns whether it was resumed from existing data."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if start and error.code == RANGE_NOT_SATISFIABLE:
            part.unlink()
            return _fetch(url, part, quiet)
        raise
    with response:
        resumed = response.status == PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            return _fetch(url, part, quiet)
        _copy(response, part, start if resumed else 0, quiet)
    return resumed


def _copy(response: http.client.HTTPResponse, part: Path, start: int, quiet: bool) -> None:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=part.stem,
        disable=True if quiet else None,  # None: off when stderr is not a terminal
    )
    with bar, part.open("ab" if start else "wb") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
        size = file.tell()
    if total is not None and size < total:
        raise ConnectionError(f"the connection closed after {size} of {total} bytes")


def _has_hash(path: Path, name: str) -> bool:
    return path.is_file() and sha256(path).startswith(hash_in(name))


def _error_text(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _advice(name: str) -> str:
    return f"or get {name} another way and pass --from {name}"
