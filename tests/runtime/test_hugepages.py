"""A script restarts once, with its own arguments, where the system grants huge pages on request."""

import importlib.machinery
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from msst_jax.runtime import hugepages

Restarts = list[tuple[str, list[str], str]]


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> Restarts:
    """The calls of os.execv, which is patched: file, arguments, GLIBC_TUNABLES."""
    calls: Restarts = []
    monkeypatch.setattr(
        os, "execv", lambda file, arguments: calls.append((file, arguments, os.environ["GLIBC_TUNABLES"]))
    )
    monkeypatch.setattr(hugepages, "hold_signals", lambda: None)
    monkeypatch.setattr(hugepages, "_is_available", lambda: True)
    monkeypatch.setattr(hugepages, "_is_main_program", lambda: True)
    for name in ("GLIBC_TUNABLES", hugepages.RESTARTED):
        monkeypatch.setenv(name, "")  # so that the variable is restored after the test
        monkeypatch.delenv(name)
    return calls


def test_a_program_restarts_with_its_own_arguments(restarts: Restarts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "thing", "--flag"])
    hugepages.use_hugepages()
    assert restarts == [(sys.executable, [sys.executable, "-m", "thing", "--flag"], "glibc.malloc.hugetlb=1")]


def test_it_restarts_only_once(restarts: Restarts) -> None:
    hugepages.use_hugepages()
    hugepages.use_hugepages()
    assert len(restarts) == 1


def test_it_restarts_only_once_even_if_glibc_tunables_is_not_inherited(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hugepages.use_hugepages()
    monkeypatch.delenv("GLIBC_TUNABLES")
    hugepages.use_hugepages()
    assert len(restarts) == 1


@pytest.mark.parametrize(
    ("module", "script", "command", "is_main"),
    [
        (None, "stylize.py", ["python", "stylize.py", "photo.jpg"], True),
        (None, "stylize.py", ["python", "-X", "dev", "stylize.py"], True),
        ("benchmarks.__main__", "/x/benchmarks/__main__.py", ["python", "-m", "benchmarks"], True),
        (None, "/x/stylize.py", ["python", "/bin/ipython"], False),
        (None, "stylize.py", ["python", "-m", "ipykernel_launcher", "-f", "x.json"], False),
        ("debugpy.__main__", "stylize.py", ["python", "/x/debugpy", "stylize.py"], False),
    ],
)
def test_a_notebook_that_runs_a_script_is_not_restarted(
    module: str | None, script: str, command: list[str], is_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = importlib.machinery.ModuleSpec(module, None) if module else None
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.setattr(sys, "orig_argv", command)
    assert hugepages._is_main_program() == is_main


@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=1:glibc.malloc.hugetlb=2"])
def test_a_users_own_huge_page_tunable_takes_precedence(
    tunables: str, restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    hugepages.use_hugepages()
    assert not restarts


def test_a_users_other_tunables_are_kept(restarts: Restarts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    hugepages.use_hugepages()
    assert restarts[0][2] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    ("library", "setting", "available"),
    [
        (("glibc", "2.35"), "always [madvise] never", True),
        (("glibc", "2.41.9"), "always [madvise] never", True),
        (("glibc", "2.34"), "always [madvise] never", False),
        (("glibc", "2.35"), "[always] madvise never", False),
        (("glibc", "2.35"), "always madvise [never]", False),
        (("", ""), "always [madvise] never", False),
        (("glibc", "2.35"), None, False),
    ],
)
def test_huge_pages_are_available_only_with_madvise_and_a_recent_glibc(
    library: tuple[str, str], setting: str | None, available: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting is not None:
        (tmp_path / "enabled").write_text(setting)
    monkeypatch.setattr(hugepages, "THP_SETTING", tmp_path / "enabled")
    monkeypatch.setattr(hugepages.platform, "libc_ver", lambda: library)
    assert hugepages._is_available() == available


CHILD = """
import os, sys
from msst_jax.runtime.hugepages import use_hugepages
use_hugepages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
sys.exit(7)
"""


def test_a_restarted_script_keeps_its_arguments_and_exit_code() -> None:
    ours = ("GLIBC_TUNABLES", hugepages.RESTARTED)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", CHILD, "a b", "--flag=c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    tunables = "glibc.malloc.hugetlb=1" if hugepages._is_available() else None
    assert (done.returncode, done.stdout, done.stderr) == (7, f"['a b', '--flag=c'] {tunables}\n", "")
