"""The clip made of the bundled photo, and the benchmark that paints it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import video
from examples import make_clip
from msst_jax.video import feedforward as clip_fast
from msst_jax.video.io.reader import open_video


def test_the_example_clip_has_its_frames_and_moves(tmp_path: Path):
    clip = open_video(make_clip.write(tmp_path / "clip.mp4", 5))
    frames = [frame.image.astype(float) for frame in clip.frames()]
    assert (clip.info.width, clip.info.height, clip.info.rate) == (make_clip.WIDTH, make_clip.HEIGHT, Fraction(25))
    assert len(frames) == 5
    assert np.abs(frames[0] - frames[-1]).mean() > 10


@pytest.mark.slow
def test_the_benchmark_prints_every_part_and_the_share_of_the_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(clip_fast, "MAX_BATCH", 1)
    video.main(["--frames", "2", "--size", "64"])
    lines = capsys.readouterr().out.splitlines()
    parts = {line.split(" | ")[0].strip("| "): float(line.split(" | ")[1]) for line in lines[4:10]}
    assert list(parts) == [
        "decode",
        "regions",
        "stylise",
        "regions and stylise, one program",
        "encode",
        "whole pipeline",
    ]
    assert all(part > 0 for part in parts.values())
    assert lines[-1].startswith("The device part alone takes ")
