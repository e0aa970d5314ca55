"""How a host looks for what another one has just written; see test_hosts.py for hosts that do not see it."""

import os
from pathlib import Path
from typing import Any

import pytest

from msst_jax.errors import UserError
from msst_jax.training import shared_inputs


def test_a_new_workdir_is_asked_for_again_from_the_topmost_folder_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A network disk remembers which names were not there, until the folder above is opened."""
    token, opened = tmp_path / "runs" / "mine" / "token", []
    token.parent.mkdir(parents=True)
    token.write_bytes(b"1")
    scan = os.scandir

    def scandir(folder: Path) -> Any:
        opened.append(folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert shared_inputs._read_fresh(token) == b"1"
    assert opened[-3:] == [tmp_path, tmp_path / "runs", tmp_path / "runs" / "mine"]
    assert shared_inputs._read_fresh(tmp_path / "nowhere" / "token") == b""


def test_a_workdir_in_a_bucket_beside_one_on_a_disk_is_told_before_the_hosts_go_different_ways(monkeypatch):
    monkeypatch.setattr(shared_inputs, "hosts_unlike_host0", lambda in_bucket: [] if in_bucket else [1])
    shared_inputs.check_same_kind(True)
    with pytest.raises(UserError, match=r"^only some --workdir are in a bucket: process 1 differs from process 0; "):
        shared_inputs.check_same_kind(False)
