"""Large pages: a script starts anew once, with its own arguments, where the system offers them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msst_jax import large_pages

Anew = list[tuple[str, list[str], str]]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Anew:
    """What would be started in place of this program: file, arguments, GLIBC_TUNABLES."""
    calls: Anew = []
    monkeypatch.setattr(
        os, "execv", lambda file, arguments: calls.append((file, arguments, os.environ["GLIBC_TUNABLES"]))
    )
    monkeypatch.setattr(large_pages, "_offered", lambda: True)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_a_program_starts_anew_with_its_own_arguments(anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "thing", "--flag"])
    large_pages.use_large_pages()
    assert anew == [(sys.executable, [sys.executable, "-m", "thing", "--flag"], "glibc.malloc.hugetlb=1")]


def test_it_starts_anew_once(anew: Anew) -> None:
    large_pages.use_large_pages()
    large_pages.use_large_pages()
    assert len(anew) == 1


@pytest.mark.parametrize("own", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=1:glibc.malloc.hugetlb=2"])
def test_what_the_user_says_of_large_pages_wins(own: str, anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", own)
    large_pages.use_large_pages()
    assert not anew


def test_what_the_user_says_of_other_things_stays(anew: Anew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    large_pages.use_large_pages()
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
    monkeypatch.setattr(large_pages, "CHOICE", tmp_path / "enabled")
    monkeypatch.setattr(large_pages.platform, "libc_ver", lambda: library)
    assert large_pages._offered() == offered


def test_a_script_that_starts_anew_keeps_its_arguments_and_its_exit_code() -> None:
    code = "import sys; from msst_jax.large_pages import use_large_pages as f; f(); print(sys.argv[1:]); sys.exit(7)"
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", code, "a b", "--flag=c"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "['a b', '--flag=c']\n", "")
