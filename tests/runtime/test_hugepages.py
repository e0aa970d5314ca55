"""Large pages: a script starts anew once, with its own arguments, where the system offers them."""

import importlib.machinery
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from msst_jax.runtime import hugepages

Anew = list[tuple[str, list[str], str]]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Anew:
    """What would be started in place of this program: file, arguments, GLIBC_TUNABLES."""
    calls: Anew = []
    monkeypatch.setattr(
        os, "execv", lambda file, arguments: calls.append((file, arguments, os.environ["GLIBC_TUNABLES"]))
    )
    monkeypatch.setattr(hugepages, "_offered", lambda: True)
    monkeypatch.setattr(hugepages, "_is_the_program", lambda: True)
    for name in ("GLIBC_TUNABLES", hugepages.RESTARTED):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    return calls


def test_a_program_starts_anew_with_its_own_arguments(anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "thing", "--flag"])
    hugepages.use_hugepages()
    assert anew == [(sys.executable, [sys.executable, "-m", "thing", "--flag"], "glibc.malloc.hugetlb=1")]


def test_it_starts_anew_once(anew: Anew) -> None:
    hugepages.use_hugepages()
    hugepages.use_hugepages()
    assert len(anew) == 1


def test_it_starts_anew_once_also_where_the_environment_does_not_get_through(
    anew: Anew, monkeypatch: pytest.MonkeyPatch
) -> None:
    hugepages.use_hugepages()
    monkeypatch.delenv("GLIBC_TUNABLES")
    hugepages.use_hugepages()
    assert len(anew) == 1


@pytest.mark.parametrize(
    ("module", "script", "command", "own"),
    [
        (None, "stylize.py", ["python", "stylize.py", "photo.jpg"], True),
        (None, "stylize.py", ["python", "-X", "dev", "stylize.py"], True),
        ("benchmarks.__main__", "/x/benchmarks/__main__.py", ["python", "-m", "benchmarks"], True),
        (None, "/x/stylize.py", ["python", "/bin/ipython"], False),
        (None, "stylize.py", ["python", "-m", "ipykernel_launcher", "-f", "x.json"], False),
        ("debugpy.__main__", "stylize.py", ["python", "/x/debugpy", "stylize.py"], False),
    ],
)
def test_a_notebook_that_runs_a_script_is_left_alone(
    module: str | None, script: str, command: list[str], own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = importlib.machinery.ModuleSpec(module, None) if module else None
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.setattr(sys, "orig_argv", command)
    assert hugepages._is_the_program() == own


@pytest.mark.parametrize("own", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=1:glibc.malloc.hugetlb=2"])
def test_what_the_user_says_of_large_pages_wins(own: str, anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", own)
    hugepages.use_hugepages()
    assert not anew


def test_what_the_user_says_of_other_things_stays(anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    hugepages.use_hugepages()
    assert anew[0][2] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
    ("library", "choice", "offered"),
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
def test_they_are_taken_only_where_they_are_there_for_those_who_ask(
    library: tuple[str, str], choice: str | None, offered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if choice is not None:
        (tmp_path / "enabled").write_text(choice)
    monkeypatch.setattr(hugepages, "SETTING", tmp_path / "enabled")
    monkeypatch.setattr(hugepages.platform, "libc_ver", lambda: library)
    assert hugepages._offered() == offered


CHILD = """
import os, sys
from msst_jax.runtime.hugepages import use_hugepages
use_hugepages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
sys.exit(7)
"""


def test_a_script_that_starts_anew_keeps_its_arguments_and_its_exit_code() -> None:
    mine = ("GLIBC_TUNABLES", hugepages.RESTARTED)
    environment = {name: value for name, value in os.environ.items() if name not in mine}
    command = [sys.executable, "-c", CHILD, "a b", "--flag=c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = "glibc.malloc.hugetlb=1" if hugepages._offered() else None
    assert (done.returncode, done.stdout, done.stderr) == (7, f"['a b', '--flag=c'] {told}\n", "")
