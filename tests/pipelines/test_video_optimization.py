"""Videos without a model: every frame is optimized, starting from the previous result."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.job import VideoJob
from msst_jax.pipelines.run import run_job
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer.kept import KEEP
from msst_jax.video import optimization
from msst_jax.video.io.reader import open_video
from msst_jax.video.resume import ResumeFolder
from tests.helpers.commands import run_command
from tests.helpers.feedforward import video_config, video_job
from tests.helpers.pictures import make_scene, noise
from tests.helpers.videos import NTSC, Tone, make_video

SETTINGS = {"steps": 12, "next_steps": 2}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Styles, masks and a video of three frames that pans by one pixel per frame."""
    folder = make_scene(tmp_path_factory.mktemp("in"))
    wide = noise(24, 40)
    images = [wide[:, step : step + 32] for step in range(3)]
    make_video(folder / "a.mp4", images, rate=NTSC, sounds=[Tone("aac", seconds=0.1)])
    return folder


def job(scene: Path, output: Path, **more: Any) -> VideoJob:
    styles = {"person": str(scene / "a.png"), "background": str(scene / "b.png")}
    masks = {"person": str(scene / "left.png")}
    return video_job(scene / "a.mp4", output, **{"styles": styles, "masks": masks, "blend": "0.2", **more})


def read_frames(path: Path) -> list[np.ndarray]:
    return [frame.image.astype(float) for frame in open_video(path).frames()]


@pytest.fixture(scope="module")
def uninterrupted(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("out", "out.mp4"):
        assert run_job(video_config(**SETTINGS), job(scene, folder / name)) == 0
    return folder


def test_frame_count_size_rate_and_audio_are_preserved(uninterrupted: Path):
    info = open_video(uninterrupted / "out.mp4").info
    assert (info.width, info.height, info.rate, info.frames) == (32, 24, NTSC, 3)
    assert [sound.codec for sound in info.audio_streams] == ["aac"]
    assert {file.name for file in uninterrupted.iterdir()} == {"out", "out.json", "out.mp4"}
    sidecar = json.loads((uninterrupted / "out.json").read_text())
    assert sidecar["clip"]["frames"] == 3
    assert [(region["name"], Path(region["style"]).name) for region in sidecar["regions"]] == [
        ("person", "a.png"),
        ("background", "b.png"),
    ]
    assert sidecar.get("model") is None
    assert sidecar["blend"] == {"seconds": [0], "ratios": [0.2]}


def test_a_later_frame_starts_from_the_previous_result(scene: Path, uninterrupted: Path, tmp_path: Path):
    """Two steps from the frame itself would hardly stylize it."""
    frames = read_frames(scene / "a.mp4")
    stylized = read_frames(uninterrupted / "out")
    assert run_job(video_config(**{**SETTINGS, "steps": 2}), job(scene, tmp_path / "short")) == 0
    from_photo = np.abs(read_frames(tmp_path / "short")[0] - frames[0]).mean()
    for number in (1, 2):
        assert np.abs(stylized[number] - frames[number]).mean() > 1.5 * from_photo
        change = np.abs(stylized[number][:, :-1] - stylized[number - 1][:, 1:]).mean()
        assert change < np.abs(stylized[number] - frames[number]).mean()


@pytest.mark.parametrize("name", ["out", "out.mp4"])
def test_an_interrupted_video_is_resumed_to_the_same_file(
    scene: Path, uninterrupted: Path, tmp_path: Path, name: str, monkeypatch, caplog
):
    add = ResumeFolder.add_batch

    def interrupted(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, "add_batch", interrupted)
        for _ in range(2):
            assert run_job(video_config(**SETTINGS), job(scene, tmp_path / name, resume=True)) == EXIT_INTERRUPTED
            assert {file.name for file in tmp_path.iterdir()} == {f"{name}.part"}
    assert "interrupted: 2 frames are kept" in caplog.text
    assert run_job(video_config(**SETTINGS), job(scene, tmp_path / name, resume=True)) == 0
    if name == "out":
        for one, two in zip(read_frames(tmp_path / name), read_frames(uninterrupted / name), strict=True):
            np.testing.assert_array_equal(one, two)
    else:
        assert (tmp_path / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_ctrl_c_within_the_first_frame_leaves_nothing(scene: Path, tmp_path: Path, monkeypatch, caplog):
    first = optimization.coarse_to_fine

    def interrupted(*arguments: Any, **more: Any) -> Any:
        more["stop"].set()
        return first(*arguments, **more)

    monkeypatch.setattr(optimization, "coarse_to_fine", interrupted)
    assert run_job(video_config(**SETTINGS), job(scene, tmp_path / "out.mp4")) == EXIT_INTERRUPTED
    assert "interrupted: no frame was complete, nothing is kept" in caplog.text
    assert not list(tmp_path.iterdir())


def test_blend_changes_over_the_frames_as_scheduled(scene: Path, uninterrupted: Path, tmp_path: Path):
    assert run_job(video_config(**SETTINGS), job(scene, tmp_path / "out", blend="0:0.2,0.01:50")) == 0
    first, *later = zip(read_frames(tmp_path / "out"), read_frames(uninterrupted / "out"), strict=True)
    np.testing.assert_array_equal(*first)
    assert all(np.abs(one - two).max() > 0 for one, two in later)


@pytest.mark.slow
def test_a_region_of_several_paintings_is_resumed_with_the_same_shares_only(scene: Path, tmp_path: Path, monkeypatch):
    first, second = (str(scene / name) for name in ("a.png", "c.png"))
    mixed = job(scene, tmp_path / "out", styles={"person": f"{first}:2,{second}", "background": str(scene / "b.png")})
    with monkeypatch.context() as patch:
        add = ResumeFolder.add_batch
        patch.setattr(
            ResumeFolder, "add_batch", lambda *arguments: (add(*arguments), signal.raise_signal(signal.SIGINT))
        )
        assert run_job(video_config(**SETTINGS), mixed) == EXIT_INTERRUPTED
    for other, change in ((f"{first},{second}", "share of the paintings of person"), (first, "styles")):
        changed = replace(mixed, styles={**mixed.styles, "person": other}, resume=True)
        with pytest.raises(UserError, match=rf"was created with another {change}"):
            run_job(video_config(**SETTINGS), changed)
    same = {**mixed.styles, "person": f"{first}:4,{second}:2"}
    assert run_job(video_config(**SETTINGS), replace(mixed, styles=same, resume=True)) == 0
    assert run_job(video_config(**SETTINGS), replace(mixed, output=tmp_path / "whole")) == 0
    for one, two in zip(read_frames(tmp_path / "out"), read_frames(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, two)
    assert json.loads((tmp_path / "whole.json").read_text())["regions"][0]["style"] == f"{first}:2,{second}:1"


@pytest.mark.slow
def test_a_kept_background_is_that_of_every_frame_also_after_a_resumption(scene: Path, tmp_path: Path, monkeypatch):
    kept = job(scene, tmp_path / "out", styles={"person": str(scene / "a.png"), "background": KEEP})
    with monkeypatch.context() as patch:
        add = ResumeFolder.add_batch
        patch.setattr(
            ResumeFolder, "add_batch", lambda *arguments: (add(*arguments), signal.raise_signal(signal.SIGINT))
        )
        assert run_job(video_config(**SETTINGS), kept) == EXIT_INTERRUPTED
    assert run_job(video_config(**SETTINGS), replace(kept, resume=True)) == 0
    frames = read_frames(scene / "a.mp4")
    for frame, made in zip(frames, read_frames(tmp_path / "out"), strict=True):
        np.testing.assert_array_equal(made[:, 18:], frame[:, 18:])
        assert np.abs(made[:, :10] - frame[:, :10]).mean() > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"styles": {}, "masks": {}}, "a video needs --style background=FILE, .* or --model; found none"),
        (
            {"masks": {"dog": "left.png"}},
            "region 'dog' has a mask but no style; add --style dog=FILE or drop its --mask",
        ),
        (
            {"masks": {"background": "left.png"}},
            "the background of a video is what no other region claims; leave it out",
        ),
        ({"masks": {"person": "none.png"}}, "none.png does not exist"),
        ({"styles": {"person": "a.png,none.png:2", "background": "b.png"}}, "none.png does not exist"),
        ({"styles": {"person": "a.png"}}, "needs --style background=FILE.*found person"),
        ({"styles": {"person": "none.png", "background": "b.png"}}, "none.png does not exist"),
    ],
)
def test_invalid_jobs_are_a_one_line_error_and_leave_nothing(
    scene: Path, tmp_path: Path, change: dict[str, dict[str, str]], message: str
):
    change = {kind: {name: str(scene / file) for name, file in files.items()} for kind, files in change.items()}
    with pytest.raises(UserError, match=message):
        run_job(video_config(**SETTINGS), job(scene, tmp_path / "out.mp4", **change))
    assert not list(tmp_path.iterdir())


def test_a_start_from_a_picture_is_refused(scene: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"^config.init is the picture .*a\.png, and a video starts from its frames"):
        run_job(video_config(init=str(scene / "a.png")), job(scene, tmp_path / "out.mp4"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_needs_no_model(scene: Path, tmp_path: Path):
    quick = ["--config.size=32", "--config.steps=2", "--config.next_steps=1", "--config.scales=(1.0,)"]
    quick += ["--config.scale_steps=(1.0,)", "--config.history=4"]
    command = [str(scene / "a.mp4"), f"--style=person={scene / 'a.png'}", f"--style=background={scene / 'b.png'}"]
    command += [f"--mask=person={scene / 'left.png'}", "-o", "out.gif", "--blend=0:0,1:0.5"]
    code, printed = run_command([*command, *quick], tmp_path)
    assert code == 0, printed
    assert printed.endswith("wrote out.gif: 3 frames\n")
    assert {file.name for file in tmp_path.iterdir()} == {"out.gif", "out.json"}
