"""The example video of the bundled photo, and the video benchmark that runs on it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import video as video_benchmark
from examples import make_clip
from msst_jax.video import feedforward
from msst_jax.video.io.reader import open_video


def test_the_example_video_has_the_requested_frames_and_motion(tmp_path: Path):
    video = open_video(make_clip.write(tmp_path / "clip.mp4", 5))
    frames = [frame.image.astype(float) for frame in video.frames()]
    assert (video.info.width, video.info.height, video.info.rate) == (make_clip.WIDTH, make_clip.HEIGHT, Fraction(25))
    assert len(frames) == 5
    assert np.abs(frames[0] - frames[-1]).mean() > 10


@pytest.mark.slow
def test_the_benchmark_prints_a_time_per_stage_and_the_share_of_the_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(feedforward, "MAX_BATCH", 1)
    video_benchmark.main(["--frames", "2", "--size", "64"])
    lines = capsys.readouterr().out.splitlines()
    times = {line.split(" | ")[0].strip("| "): float(line.split(" | ")[1]) for line in lines[4:10]}
    assert list(times) == [
        "decode",
        "regions",
        "stylise",
        "regions and stylise, one program",
        "encode",
        "whole pipeline",
    ]
    assert all(time > 0 for time in times.values())
    assert lines[-1].startswith("The device part alone takes ")
