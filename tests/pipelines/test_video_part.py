"""stylize.py VIDEO --start --end: a part of a video is stylized like that part of the whole, and resumed as such."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.run import run_job
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Part
from msst_jax.video.resume import ResumeFolder
from tests.helpers.commands import run_command
from tests.helpers.feedforward import video_config, video_job
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.videos import make_video

pytestmark = pytest.mark.usefixtures("small_batches")

RATE = Fraction(5)
COUNT = 8
PART = Part(Fraction(4, 5), Fraction(7, 5))  # frames 4 to 6


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(COUNT)], rate=RATE)


def stylized(clip: Path, output: Path, model: Path, masks: dict[str, str], **more: Any) -> list[np.ndarray]:
    assert run_job(video_config(), video_job(clip, output, model=str(model), masks=masks, **more)) == 0
    return [frame.image for frame in open_video(output).frames()]


@pytest.mark.parametrize("masks", ["one mask", "a mask for each frame", "a mask video"])
def test_a_part_looks_like_that_part_of_the_whole(model: Path, clip: Path, tmp_path: Path, left, masks: str):
    moving = [stripe(48, 64, 0.08 * number, 0.08 * number + 0.4) for number in range(COUNT)]
    if masks == "a mask for each frame":
        (tmp_path / "masks").mkdir()
        for number, mask in enumerate(moving):
            save(tmp_path / "masks" / f"{number}.png", mask)
        left = {"person": str(tmp_path / "masks")}
    elif masks == "a mask video":
        pictures = [np.stack([mask] * 3, -1) for mask in moving]
        left = {"person": str(make_video(tmp_path / "masks.mp4", pictures, rate=RATE, form="yuv444p"))}
    whole = stylized(clip, tmp_path / "whole", model, left)
    part = stylized(clip, tmp_path / "part", model, left, part=PART)
    assert len(part) == 3
    np.testing.assert_allclose(np.stack(part).astype(int), np.stack(whole[4:7]), atol=1)


def test_the_sidecar_says_which_part_it_is(model: Path, clip: Path, tmp_path: Path, left):
    stylized(clip, tmp_path / "out.mp4", model, left, part=PART)
    record = json.loads((tmp_path / "out.json").read_text())["clip"]
    assert record == {"frames": 3, "rate": "5", "duration": 0.6, "sounds": [], "part": [0.8, 1.4]}


def test_an_interrupted_part_is_resumed_as_the_same_part_only(
    model: Path, clip: Path, tmp_path: Path, left, monkeypatch
):
    whole = stylized(clip, tmp_path / "whole.mp4", model, left, part=PART)
    add = ResumeFolder.add_batch

    def fail(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        raise RuntimeError("of the device")

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, "add_batch", fail)
        with pytest.raises(RuntimeError):
            stylized(clip, tmp_path / "out.mp4", model, left, part=PART)
    for other in (Part(), Part(Fraction(3, 5), PART.end), Part(PART.start)):
        with pytest.raises(
            UserError, match=r"was created with another part \(from 0.8 s to 1.4 s, now .*\): use the same as then"
        ):
            stylized(clip, tmp_path / "out.mp4", model, left, part=other, resume=True)
    resumed = stylized(clip, tmp_path / "out.mp4", model, left, part=PART, resume=True)
    np.testing.assert_array_equal(np.stack(resumed), np.stack(whole))
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_the_flags_choose_the_part(model: Path, clip: Path, tmp_path: Path, left):
    command = [str(clip), f"--model={model}", f"--mask=person={left['person']}", "-o", "out.mp4"]
    code, printed = run_command([*command, "--start=0.8", "--end=00:00:01.4"], tmp_path)
    assert (code, printed) == (0, "wrote out.mp4: 3 frames\n")


REFUSED = {
    "end before the start": (["--start=1", "--end=0:00.5"], "--end 0:00.5 is not after --start 1; give a later end"),
    "end at 0": (["--end=0"], "--end 0 is not after --start 0; give a later end"),
    "negative": (
        ["--start=-1"],
        "--start '-1' is no time in a video; write seconds such as 90.5, or 00:01:30.5",
    ),
    "no time": (["--end=soon"], "--end 'soon' is no time in a video; write seconds such as 90.5, or 00:01:30.5"),
    "99 minutes": (
        ["--end=1:99:00"],
        "--end '1:99:00' is no time in a video; write seconds such as 90.5, or 00:01:30.5",
    ),
    "beyond the end": (["--start=5"], "--start is 5 s, but a.mp4 is 1.60 s long; give less"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_an_impossible_part_is_refused_in_one_line(model: Path, clip: Path, tmp_path: Path, why: str):
    flags, message = REFUSED[why]
    code, printed = run_command([clip.name, f"--model={model}", *flags, "-o", "out.mp4"], tmp_path)
    assert (code, printed) == (2, f"stylize.py: {message}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("flag", ["--start", "--end"])
def test_a_photo_has_no_parts(model: Path, tmp_path: Path, flag: str):
    save(tmp_path / "photo.png", noise(48, 64))
    code, printed = run_command(["photo.png", f"--model={model}", f"{flag}=1", "-o", "out.png"], tmp_path)
    assert (code, printed) == (
        2,
        f"stylize.py: {flag} is for videos; give a video file, or a folder of frames with -o out.mp4\n",
    )
