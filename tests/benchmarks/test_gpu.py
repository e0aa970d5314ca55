"""The ten minutes on a GPU: steps keep to their time, results survive, and the archive holds what runs there."""

import io
import json
import os
import select
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import IO

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import measure, pack
from benchmarks.gpu.parts import Part, Step, parts
from benchmarks.gpu.report import markdown
from msst_jax.errors import UserError

FAR = 1e5  # seconds


def step(name: str, code: str) -> Step:
    return Step(name, ("-c", code))


def deadline() -> float:
    return time.monotonic() + FAR


def test_a_step_that_fails_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    bad = step("bad", "import sys; sys.exit('no such card')")
    good = step("good", "import json; print('noise'); print(json.dumps({'ms': 1.5}))")
    results = gpu.measure([Part("one", 1, (bad, good))], tmp_path, deadline())
    assert [result["error"] for result in results] == ["no such card (exit code 1)", None]
    assert results[1]["row"] == {"ms": 1.5}
    assert "**bad** failed: no such card" in (tmp_path / gpu.PAGE).read_text()


def test_a_step_beyond_its_time_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The step waits for a process of its own, which would outlive it. That holds a pipe open for as long as it lives.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    inner = f"import signal; file = open({str(pipe)!r}, 'w', buffering=1); print('begun', file=file); signal.pause()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    opened: list[IO[str]] = []

    class Begun(subprocess.Popen):  # type: ignore[type-arg]
        def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, str]:
            if not opened:
                opened.append(pipe.open())
                assert opened[0].readline() == "begun\n"
                timeout = 0.0
            return super().communicate(input, timeout)

    monkeypatch.setattr(gpu.subprocess, "Popen", Begun)
    result = gpu._run(step("endless", outer), 77.0)
    assert result["error"] == "ended after 77 s, the time of its part"
    with opened[0] as file:
        assert select.select([file], [], [], 60)[0]  # it is readable at its end only, when nobody holds the other one
        assert file.read() == ""


def test_steps_without_time_are_not_begun_and_measured_when_the_command_is_repeated(tmp_path: Path) -> None:
    part = Part("one", 1, (step("a", "print('{}')"),))
    assert "not begun" in gpu.measure([part], tmp_path, time.monotonic())[0]["error"]
    assert gpu.measure([part], tmp_path, deadline())[0]["error"] is None


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    code = f"import pathlib; path = pathlib.Path({str(tmp_path)!r}, 'runs'); path.open('a').write('x'); print('done')"
    for _ in range(2):
        gpu.measure([Part("one", 1, (step("a", code),))], tmp_path, deadline())
    assert (tmp_path / "runs").read_text() == "x"


def test_a_failure_of_a_part_that_is_not_measured_now_stays_known(tmp_path: Path) -> None:
    bad, good = (Part(name, 1, (step(name, code),)) for name, code in (("bad", "exit(3)"), ("good", "print(1)")))
    gpu.measure([bad, good], tmp_path, deadline())
    assert [result["error"] is None for result in gpu.measure([good], tmp_path, deadline())] == [False, True]


def test_a_cold_start_finds_no_programs_of_an_earlier_attempt(tmp_path: Path) -> None:
    left = tmp_path / "compiled"
    left.mkdir()
    cold = step("cold", f"import os, sys; sys.exit(os.path.exists({str(left)!r}))")._replace(emptied=(str(left),))
    assert gpu.measure([Part("start", 1, (cold,))], tmp_path, deadline())[0]["error"] is None


def test_quick_results_are_never_taken_for_those_of_a_real_run() -> None:
    quick, real = ({step.name for part in parts(quick, "out") for step in part.steps} for quick in (True, False))
    assert quick & real <= {"parity --quick"}


def test_time_that_a_part_leaves_goes_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run(step: Step, seconds: float) -> gpu.Result:
        given.append(seconds)
        return {"seconds": 0.0, "row": None, "text": "", "error": None}

    monkeypatch.setattr(gpu, "_run", run)
    first, second = (Part(name, share, (step(name, ""),)) for name, share in (("a", 1), ("b", 3)))
    gpu.measure([first, second], tmp_path, time.monotonic() + 400)
    assert given == pytest.approx([100, 400], abs=5)


def test_damaged_results_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / gpu.RESULTS).write_text("{")
    with pytest.raises(UserError, match=r"results.jsonl cannot be read .*; remove it, or give another folder"):
        gpu.measure([], tmp_path, deadline())


def test_page_has_a_table_for_each_part_and_the_text_of_steps_without_figures() -> None:
    results = [
        {"part": "a", "step": "x", "seconds": 1.0, "row": {"ms": 1.23456, "peak": None}, "text": "", "error": None},
        {"part": "a", "step": "y", "seconds": 1.0, "row": {"versions": {"jax": "1"}}, "text": "", "error": None},
        {"part": "b", "step": "z", "seconds": 1.0, "row": None, "text": "as printed", "error": None},
        {"part": "b", "step": "silent", "seconds": 2.5, "row": None, "text": "", "error": None},
    ]
    assert markdown(results) == (
        "## a\n\n| step | ms | peak | versions |\n| --- | --- | --- | --- |\n| x | 1.235 | - | - |\n"
        "| y | - | - | jax 1 |\n\n## b\n\nz:\n\nas printed\n\nsilent: 2.5 s\n"
    )


@pytest.mark.parametrize("quick", [True, False])
def test_every_step_of_our_own_is_one_that_its_program_takes(quick: bool) -> None:
    steps = [step for part in parts(quick, "out") for step in part.steps]
    assert len({step.name for step in steps}) == len(steps)
    for arguments in (step.arguments for step in steps if step.arguments[1] == measure.PROGRAM):
        assert measure._parse(arguments[2:]).what in measure.MEASUREMENTS


@pytest.mark.slow
@pytest.mark.parametrize("what", measure.MEASUREMENTS)
def test_every_measurement_prints_its_figures(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main([what, "--quick", "--size=32", "--history=2"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(value is not None for value in row.values())


def test_archive_holds_the_tree_the_wheels_and_a_script_that_begins(tmp_path: Path) -> None:
    tree, wheel = io.BytesIO(), tmp_path / "some-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    with tarfile.open(fileobj=tree, mode="w") as archive:
        archive.add(__file__, "benchmarks/gpu/__main__.py")
    with tarfile.open(fileobj=io.BytesIO(pack.pack(tree.getvalue(), [wheel]))) as archive:
        assert archive.getnames() == ["benchmarks/gpu/__main__.py", f"wheels/{wheel.name}", "run.sh"]
        assert archive.getmember("run.sh").mode & 0o100


def test_an_archive_above_the_limit_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    wheel = tmp_path / "large.whl"
    wheel.write_bytes(os.urandom(2 * pack.MEBI))
    monkeypatch.setattr(pack, "committed_tree", empty.getvalue)
    monkeypatch.setattr(pack, "download", lambda *_: [wheel])
    output = tmp_path / "gpu.tar.gz"
    assert pack.main([str(output), "--limit", "1"]) == 2
    assert "above --limit 1; raise it, or give fewer --packages, the largest is large.whl" in capsys.readouterr().err
    assert not output.exists()
    assert pack.main([str(output), "--limit", "3"]) == 0
    assert output.exists()


def test_packages_that_do_not_exist_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack.sys, "executable", "false" if sys.platform != "win32" else "cmd")
    with pytest.raises(UserError, match=r"^pip cannot download nothing-like-it for Python 3.12: "):
        pack.download(["nothing-like-it"], "3.12", tmp_path)
