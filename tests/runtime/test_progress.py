"""Long runs tell how far they are: lines where there is no terminal, and a bar where there is one."""

import io
import sys
from collections.abc import Iterator

import pytest
from absl import logging

from msst_jax.runtime.progress import LINE_SECONDS, SILENT_SECONDS, Progress, describe_seconds


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def verbose() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    yield
    logging.set_verbosity(before)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def advance(progress: Progress, clock: Clock, steps: int, seconds: float) -> None:
    """So many steps, each of which takes so many seconds."""
    for _ in range(steps):
        clock.now += seconds
        progress.advance(note="loss 0.5")


def test_without_a_terminal_every_tenth_part_is_a_line_with_the_loss_and_the_time_left(caplog):
    clock = Clock()
    with Progress("stylize", "evaluation", 20, quiet=False, clock=clock) as progress:
        advance(progress, clock, 20, 6)
    assert lines(caplog)[0] == "stylize: 4 of 20 evaluations (20%), loss 0.5, about 2 min left"
    assert [line.split(",")[0] for line in lines(caplog)[1:]] == [
        f"stylize: {done} of 20 evaluations ({5 * done}%)" for done in range(6, 20, 2)
    ]
    assert lines(caplog)[-1].endswith("18 of 20 evaluations (90%), loss 0.5, about 10 s left")


def test_lines_of_a_quick_run_are_left_out_and_those_of_a_slow_one_come_in_between(caplog):
    clock = Clock()
    with Progress("stylize", "evaluation", 20, quiet=False, clock=clock) as progress:
        advance(progress, clock, 20, LINE_SECONDS / 100)
    assert not lines(caplog)
    with Progress("stylize", "evaluation", 1000, quiet=False, clock=clock) as progress:
        advance(progress, clock, 6, SILENT_SECONDS)
    assert [line.split(" ")[1] for line in lines(caplog)] == ["2", "3", "4", "5", "6"]
    assert "left" not in lines(caplog)[1]
    assert lines(caplog)[2].endswith("about 8.3 h left")


def test_a_long_step_is_told_by_its_notes(caplog):
    clock = Clock()
    with Progress("stylize", "frame", None, quiet=False, clock=clock) as progress:
        for evaluation in range(1, 8):
            clock.now += 10
            progress.note(f"evaluation {evaluation}")
        progress.advance(note="done")
    assert lines(caplog) == ["stylize: 0 frames, evaluation 3", "stylize: 0 frames, evaluation 6"]


def test_the_time_left_knows_that_later_steps_take_longer_and_leaves_compilations_out(caplog):
    clock = Clock()
    costs = [*[0.25] * 10, *[1.0] * 10]
    with Progress("stylize", "evaluation", 20, quiet=False, costs=costs, clock=clock) as progress:
        progress.announce("compiling")
        clock.now += 600
        advance(progress, clock, 9, 1)
    assert lines(caplog)[0] == "compiling"
    assert lines(caplog)[1] == "stylize: 6 of 20 evaluations (30%), loss 0.5, about 40 s left"


def test_steps_that_an_earlier_run_made_do_not_promise_a_quick_end(caplog):
    clock = Clock()
    with Progress("stylize", "frame", 100, quiet=False, clock=clock) as progress:
        advance(progress, clock, 50, 0)
        advance(progress, clock, 40, 60)
    assert lines(caplog)[-1].endswith("90 of 100 frames (90%), loss 0.5, about 10 min left")


def test_an_announcement_can_change_how_many_steps_are_left(caplog):
    clock = Clock()
    with Progress("stylize", "evaluation", 200, quiet=False, costs=[1.0] * 200, clock=clock) as progress:
        advance(progress, clock, 2, 1)
        progress.announce("finishing", left=5)
        advance(progress, clock, 5, SILENT_SECONDS)
    assert lines(caplog)[:2] == ["finishing", "stylize: 4 of 7 evaluations (57%), loss 0.5"]


def two_scales(clock: Clock, seconds: float, compilation: float, *, quiet: bool = False, pauses: int = 2) -> None:
    """A run of ten steps that take a quarter of these seconds, and ten that take all of them, at a terminal or not."""
    costs = [*[0.25] * 10, *[1.0] * 10]
    with Progress("stylize", "evaluation", 20, quiet=quiet, costs=costs, pauses=pauses, clock=clock) as progress:
        for share in (0.25, 1.0):
            progress.announce("compiling")
            clock.now += compilation / 2
            progress.announce("about 2 GB of memory")
            clock.now += compilation / 2
            advance(progress, clock, 10, share * seconds)


def whole_times(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in lines(caplog) if line.endswith("in all")]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_long_run_tells_once_how_long_it_takes_in_all(caplog, monkeypatch: pytest.MonkeyPatch, stream: type):
    monkeypatch.setattr(sys, "stderr", stream())
    clock = Clock()
    two_scales(clock, seconds=100, compilation=400)
    assert clock.now == 2050
    assert whole_times(caplog) == ["stylize: about 34 min in all"]


def test_compilations_that_are_still_to_come_count(caplog):
    two_scales(Clock(), seconds=4, compilation=40)  # 130 s, of which a compilation is 40
    assert whole_times(caplog) == ["stylize: about 2 min in all"]
    caplog.clear()
    two_scales(Clock(), seconds=4, compilation=40, pauses=1)
    assert not whole_times(caplog)


def test_a_short_run_a_quiet_one_and_one_that_is_interrupted_do_not_tell_how_long_they_take(caplog):
    two_scales(Clock(), seconds=3, compilation=10)
    two_scales(Clock(), seconds=100, compilation=400, quiet=True)
    clock = Clock()
    with Progress("stylize", "evaluation", 200, quiet=False, pauses=1, clock=clock) as progress:
        progress.announce("compiling")
        advance(progress, clock, 2, 100)
        progress.announce("finishing", left=5)
        advance(progress, clock, 5, 100)
    assert not whole_times(caplog)


def test_a_video_whose_frames_differ_does_not_tell_how_long_it_takes(caplog):
    clock = Clock()
    with Progress("stylize", "frame", 20, quiet=False, clock=clock) as progress:
        advance(progress, clock, 20, 100)
    assert not whole_times(caplog)


def test_quiet_says_nothing(caplog, monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    for stream in (terminal, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        clock = Clock()
        with Progress("stylize", "evaluation", 20, quiet=True, clock=clock) as progress:
            advance(progress, clock, 20, 60)
        assert stream.getvalue() == ""
    assert not lines(caplog)


def test_a_terminal_has_a_bar_with_the_loss_and_the_time_left_and_no_lines(caplog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    clock = Clock()
    with Progress("stylize", "evaluation", 20, quiet=False, clock=clock) as progress:
        advance(progress, clock, 9, 60)
        progress.note("evaluation 3")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "stylize:  45%|" in shown
    assert "9/20 [" in shown
    assert "evaluation 3, about 11 min left" in shown
    assert not lines(caplog)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "a few seconds"), (44, "about 40 s"), (230, "about 4 min"), (89 * 60, "about 89 min"), (9000, "about 2.5 h")],
)
def test_durations_are_told_as_people_tell_them(seconds: float, words: str):
    assert describe_seconds(seconds) == words
