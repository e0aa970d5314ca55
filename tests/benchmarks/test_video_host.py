"""`python -m benchmarks.speed.video_host`: a figure for each part, and one line for a size that is none."""

import re

import pytest

from benchmarks.speed import video_host
from msst_jax.errors import UserError

Capture = pytest.CaptureFixture[str]


def test_every_part_has_a_figure(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_host, "configure_logging", lambda quiet: None)
    video_host.main(["--size", "64x48", "--frames", "4"])
    table = capsys.readouterr().out
    assert re.findall(r"^\| ([a-z ]+) \| \d+\.\d\d \|$", table, re.MULTILINE) == ["resume files", "decode", "encode"]


def test_a_size_that_is_none_is_one_line() -> None:
    with pytest.raises(UserError, match="'large' is no size; give WIDTHxHEIGHT, such as 1280x720"):
        video_host.main(["--size", "large"])


@pytest.mark.parametrize("flag", ["--frames", "--batch"])
def test_no_frames_are_one_line(flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag}.*'0' is not a positive integer"):
        video_host.main([flag, "0"])
