"""`--config.devices` of a video: refused if there are fewer, and a video is resumed with as many as it began."""

from pathlib import Path

import numpy as np
import pytest

from msst_jax.io.images import read_picture
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.video import feedforward
from tests.helpers.commands import run_command, run_script
from tests.helpers.feedforward import at_batch, interrupt
from tests.helpers.pictures import save, stripe
from tests.helpers.videos import make_video, moving

COUNT = 11
FOUR = {"jax_num_cpu_devices": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_video(tmp_path / "in.mp4", moving(COUNT))
    save(tmp_path / "left.png", stripe(48, 64, 0, 0.5))
    return tmp_path


def test_more_devices_than_there_are_are_refused_before_any_work(folder: Path, model: Path):
    before = sorted(folder.iterdir())
    code, stderr = run_command(["in.mp4", "--model", str(model), "--config.devices=9", "-o", "out.mp4"], folder)
    assert (code, stderr) == (2, "stylize.py: config.devices is 9, and there are 4; give at most 4, or 0 for all\n")
    assert sorted(folder.iterdir()) == before


def one_frame_each() -> None:
    """Each device has a single frame of a batch."""
    feedforward.MAX_BATCH = 1


def interrupted() -> None:
    """Ends a run after its first batch."""
    one_frame_each()
    at_batch(pytest.MonkeyPatch(), 1, interrupt)


@pytest.mark.slow
def test_a_video_over_four_devices_is_that_of_one_and_is_resumed_to_the_same_pictures(folder: Path, model: Path):
    """In processes of their own, see `run_comparison`; the last batch is not full."""
    command = ["in.mp4", "--model", str(model), "--mask", "person=left.png"]

    def run(devices: int, output: str, *more: str, before=one_frame_each) -> tuple[int | None, str]:
        flags = [f"--config.devices={devices}", *more, "-o", output]
        return run_script([*command, *flags], folder, settings=FOUR, before=before)

    def pictures(output: str) -> list[np.ndarray]:
        files = sorted((folder / output).glob("*.png"))
        assert len(files) == COUNT
        return [np.asarray(read_picture(str(file), "frame")).astype(int) for file in files]

    assert run(1, "one")[0] == 0
    assert run(4, "whole")[0] == 0
    assert run(4, "out", before=interrupted)[0] == EXIT_INTERRUPTED
    code, stderr = run(2, "out", "--resume")
    assert code == 2
    assert "was created with another config.devices (4, now 2): use the same as then" in stderr
    assert run(0, "out", "--resume")[0] == 0  # as many as there are
    for one, whole, out in zip(pictures("one"), pictures("whole"), pictures("out"), strict=True):
        np.testing.assert_array_equal(out, whole)
        assert np.abs(one - whole).max() <= 1
