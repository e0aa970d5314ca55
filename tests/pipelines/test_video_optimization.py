"""Clips without a model: frame by frame by the losses of the method, each frame from the one before."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.job import EXIT_INTERRUPTED, Job
from msst_jax.pipelines.photo import run
from msst_jax.video.io.reader import open_video
from msst_jax.video.resume import ResumeFolder
from tests.helpers.clips import NTSC, Tone, make_clip
from tests.helpers.feedforward import clip_config, clip_job
from tests.helpers.pictures import make_scene, noise, run_script

SETTINGS = {"steps": 12, "next_steps": 2}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Styles, masks and a clip of three frames of which the picture walks a pixel each."""
    folder = make_scene(tmp_path_factory.mktemp("in"))
    wide = noise(24, 40)
    images = [wide[:, step : step + 32] for step in range(3)]
    make_clip(folder / "a.mp4", images, rate=NTSC, sounds=[Tone("aac", seconds=0.1)])
    return folder


def job(scene: Path, output: Path, **more: Any) -> Job:
    styles = {"person": str(scene / "a.png"), "background": str(scene / "b.png")}
    masks = {"person": str(scene / "left.png")}
    return clip_job(scene / "a.mp4", output, **{"styles": styles, "masks": masks, "blend": "0.2", **more})


def frames_of(path: Path) -> list[np.ndarray]:
    return [frame.image.astype(float) for frame in open_video(path).frames()]


@pytest.fixture(scope="module")
def made(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run wrote."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("out", "out.mp4"):
        assert run(clip_config(**SETTINGS), job(scene, folder / name)) == 0
    return folder


def test_frames_size_rate_and_sound_arrive(made: Path):
    info = open_video(made / "out.mp4").info
    assert (info.width, info.height, info.rate, info.frames) == (32, 24, NTSC, 3)
    assert [sound.codec for sound in info.audio_streams] == ["aac"]
    assert {file.name for file in made.iterdir()} == {"out", "out.json", "out.mp4"}
    told = json.loads((made / "out.json").read_text())
    assert told["clip"]["frames"] == 3
    assert [(region["name"], Path(region["style"]).name) for region in told["regions"]] == [
        ("person", "a.png"),
        ("background", "b.png"),
    ]
    assert told.get("model") is None
    assert told["blend"] == {"seconds": [0], "ratios": [0.2]}


def test_a_later_frame_goes_on_from_the_one_before(scene: Path, made: Path, tmp_path: Path):
    """With two steps from the photo itself a frame would hardly be painted."""
    frames = frames_of(scene / "a.mp4")
    painted = frames_of(made / "out")
    assert run(clip_config(**{**SETTINGS, "steps": 2}), job(scene, tmp_path / "short")) == 0
    from_photo = np.abs(frames_of(tmp_path / "short")[0] - frames[0]).mean()
    for number in (1, 2):
        assert np.abs(painted[number] - frames[number]).mean() > 1.5 * from_photo
        walked = np.abs(painted[number][:, :-1] - painted[number - 1][:, 1:]).mean()
        assert walked < np.abs(painted[number] - frames[number]).mean()


@pytest.mark.parametrize("name", ["out", "out.mp4"])
def test_an_interrupted_clip_goes_on_to_the_same_file(
    scene: Path, made: Path, tmp_path: Path, name: str, monkeypatch, caplog
):
    add = ResumeFolder.add_batch

    def interrupted(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, "add_batch", interrupted)
        for _ in range(2):
            assert run(clip_config(**SETTINGS), job(scene, tmp_path / name, resume=True)) == EXIT_INTERRUPTED
            assert {file.name for file in tmp_path.iterdir()} == {f"{name}.part"}
    assert "interrupted: 2 frames are kept" in caplog.text
    assert run(clip_config(**SETTINGS), job(scene, tmp_path / name, resume=True)) == 0
    if name == "out":
        for one, two in zip(frames_of(tmp_path / name), frames_of(made / name), strict=True):
            np.testing.assert_array_equal(one, two)
    else:
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_ctrl_c_within_the_first_frame_loses_only_it(scene: Path, tmp_path: Path, monkeypatch, caplog):
    from msst_jax import clip_online

    first = clip_online.coarse_to_fine

    def interrupted(*arguments: Any, **more: Any) -> Any:
        more["stop"].set()
        return first(*arguments, **more)

    monkeypatch.setattr(clip_online, "coarse_to_fine", interrupted)
    assert run(clip_config(**SETTINGS), job(scene, tmp_path / "out.mp4")) == EXIT_INTERRUPTED
    assert "interrupted: no frame was complete, nothing is kept" in caplog.text
    assert not list(tmp_path.iterdir())


def test_blend_ramps_over_the_frames(scene: Path, made: Path, tmp_path: Path):
    assert run(clip_config(**SETTINGS), job(scene, tmp_path / "out", blend="0:0.2,0.01:50")) == 0
    first, *later = zip(frames_of(tmp_path / "out"), frames_of(made / "out"), strict=True)
    np.testing.assert_array_equal(*first)
    assert all(np.abs(one - two).max() > 0 for one, two in later)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"styles": {}, "masks": {}}, "a clip needs --style background=FILE, .* or --model; found none"),
        (
            {"masks": {"dog": "left.png"}},
            "region 'dog' has a mask but no style; add --style dog=FILE or drop its --mask",
        ),
        (
            {"masks": {"background": "left.png"}},
            "the background of a clip is what no other region claims; leave it out",
        ),
        ({"masks": {"person": "none.png"}}, "none.png does not exist"),
        ({"styles": {"person": "a.png"}}, "needs --style background=FILE.*found person"),
        ({"styles": {"person": "none.png", "background": "b.png"}}, "none.png does not exist"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    scene: Path, tmp_path: Path, change: dict[str, dict[str, str]], told: str
):
    change = {kind: {name: str(scene / file) for name, file in files.items()} for kind, files in change.items()}
    with pytest.raises(UserError, match=told):
        run(clip_config(**SETTINGS), job(scene, tmp_path / "out.mp4", **change))
    assert not list(tmp_path.iterdir())


def test_the_command_needs_no_model(scene: Path, tmp_path: Path):
    quick = ["--config.size=32", "--config.steps=2", "--config.next_steps=1", "--config.scales=(1.0,)"]
    quick += ["--config.scale_steps=(1.0,)", "--config.history=4"]
    command = [str(scene / "a.mp4"), f"--style=person={scene / 'a.png'}", f"--style=background={scene / 'b.png'}"]
    command += [f"--mask=person={scene / 'left.png'}", "-o", "out.gif", "--blend=0:0,1:0.5"]
    code, told = run_script([*command, *quick], tmp_path)
    assert code == 0, told
    assert told.endswith("wrote out.gif: 3 frames\n")
    assert {file.name for file in tmp_path.iterdir()} == {"out.gif", "out.json"}
