"""Which command resumes a video: the same content does, wherever and whenever the files lie; and only one at a time."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from msst_jax.errors import DivergenceError, UserError
from msst_jax.io.lock import locked_folder
from msst_jax.pipelines import video as video_pipeline
from msst_jax.pipelines.run import run_job
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.video.streaming import FrameStylizer
from tests.helpers.feedforward import at_batch, interrupt, video_config, video_job
from tests.helpers.pictures import noise, save, stripe

pytestmark = pytest.mark.usefixtures("small_batches")

COUNT = 6
OUTPUT = Path("out.gif")


def make(model: Path, video: str = "frames", mask: str = "left.png", **config: Any) -> int:
    job = video_job(Path(video), OUTPUT, masks={"person": mask}, model=str(model), resume=True)
    return run_job(video_config(**config), job)


@pytest.fixture
def begun(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model of an interrupted run in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    for number in range(COUNT):
        save(Path(f"frames/{number}.png"), noise(32, 48, number))
    save(Path("left.png"), stripe(32, 48, 0, 0.5))
    with monkeypatch.context() as patch:
        at_batch(patch, 2, interrupt)
        assert make(model) == EXIT_INTERRUPTED
    return model


def touch() -> dict[str, str]:
    for path in [*Path("frames").iterdir(), Path("left.png")]:
        os.utime(path, (1, 1))
    return {}


def link() -> dict[str, str]:
    Path("link").symlink_to("frames")
    return {"video": "link"}


def copy() -> dict[str, str]:
    shutil.copytree("frames", "copy")
    shutil.copy("left.png", "renamed.png")
    return {"video": "copy", "mask": "renamed.png"}


SAME: dict[str, Callable[[], dict[str, str]]] = {
    "trailing slash": lambda: {"video": "frames/"},
    "dot": lambda: {"video": "./frames", "mask": "./left.png"},
    "absolute": lambda: {"video": str(Path("frames").resolve())},
    "link": link,
    "other times": touch,
    "copied elsewhere": copy,
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_content_is_resumed(begun: Path, kind: str, monkeypatch):
    changed = SAME[kind]()
    added: list[None] = []
    at_batch(monkeypatch, 1, lambda: added.append(None))
    assert make(begun, **changed) == 0
    assert added
    assert OUTPUT.exists()
    assert not Path("out.gif.part").exists()


def flip(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[-20] ^= 1
    Path(path).write_bytes(content)


OTHER: dict[str, tuple[Callable[[], object], str]] = {
    "other bytes": (lambda: flip("frames/1.png"), r"clip \(1 of other content \(the first: 1.png\)\)"),
    "other size": (
        lambda: save(Path("frames/1.png"), noise(32, 48, 99)),
        r"clip \(1 of another size \(the first: 1.png\)\)",
    ),
    "a frame more": (lambda: save(Path("frames/6.png"), noise(32, 48)), r"clip \(1 added \(the first: 6.png\)\)"),
    "a frame renamed": (
        lambda: Path("frames/5.png").rename("frames/6.png"),
        r"clip \(1 added \(the first: 6.png\), 1 removed \(the first: 5.png\)\)",
    ),
    "another mask": (lambda: save(Path("left.png"), stripe(32, 48, 0, 0.4)), r"masks \(person of "),
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_content_is_refused_and_the_finished_part_is_kept(begun: Path, kind: str):
    change, message = OTHER[kind]
    kept = sorted(path.name for path in Path("out.gif.part").iterdir())
    change()
    ways_out = ": use the same as then, choose another output, or delete it to start again"
    with pytest.raises(UserError, match=rf"^out.gif.part was created with another {message}.*{ways_out}$"):
        make(begun)
    assert sorted(path.name for path in Path("out.gif.part").iterdir()) == kept


@pytest.mark.parametrize(("asked", "now"), [(2, 2), (3, 3), (0, 4)])
def test_other_devices_than_began_are_refused_since_they_round_differently(begun: Path, asked: int, now: int):
    with pytest.raises(UserError, match=rf"^out.gif.part was created with another config.devices \(1, now {now}\)[,:]"):
        make(begun, devices=asked)
    assert make(begun) == 0


def test_a_folder_that_an_earlier_version_wrote_is_resumed_by_names_and_sizes(begun: Path):
    path = Path("out.gif.part/run.json")
    run = json.loads(path.read_text())
    run["clip"] = [[name, size, 1700000000000000000] for name, (size, _) in run["clip"].items()]
    run["masks"] = {"person": [["left.png", run["masks"]["person"][""][0], 1700000000000000000]]}
    path.write_text(json.dumps({**run, "config.segmenter": "", "config.photo": "x"}))
    Path("frames/5.png").rename("frames/6.png")
    with pytest.raises(UserError, match=r"was created with another clip \(1 added"):
        make(begun)
    Path("frames/6.png").rename("frames/5.png")
    assert make(begun) == 0


@pytest.mark.parametrize("content", ["{}", '{"clip": 3, "masks": [1], "plan": null}', "[]", "null", '"run"'])
def test_a_description_of_a_run_that_makes_no_sense_is_one_line(begun: Path, content: str):
    Path("out.gif.part/run.json").write_text(content)
    with pytest.raises(UserError, match=r"^out.gif.part (is damaged|was created)[^\n]*, or delete it to start again$"):
        make(begun)
    shutil.rmtree("out.gif.part")
    assert make(begun) == 0


def test_numbered_frames_keep_their_names_through_an_interruption(begun: Path, monkeypatch, caplog):
    """Of frames with a gap, into a folder."""
    Path("frames/1.png").rename("frames/8.png")
    job = video_job(Path("frames"), Path("out"), masks={"person": "left.png"}, model=str(begun), resume=True)
    with monkeypatch.context() as patch:
        at_batch(patch, 1, interrupt)
        assert run_job(video_config(), job) == EXIT_INTERRUPTED
    assert run_job(video_config(), job) == 0
    names = sorted(path.name for path in Path("frames").iterdir())
    assert sorted(path.name for path in Path("out").iterdir()) == names
    assert "frames: 3 of 9 frames are missing (the first: 1); those before are shown longer" in caplog.messages


def test_a_second_run_into_one_output_is_refused_and_disturbs_nothing(begun: Path):
    with locked_folder(Path("out.gif.part"), "x"):
        before = {path.name: path.read_bytes() for path in Path("out.gif.part").iterdir()}
        with pytest.raises(UserError, match=rf"^out.gif.part is in use by process {os.getpid()} on .*, or choose"):
            make(begun)
        assert {path.name: path.read_bytes() for path in Path("out.gif.part").iterdir()} == before
    assert make(begun) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["frames", "left.png", "out.gif", "out.json"]


def test_a_result_that_is_not_finite_is_not_written_and_the_frames_before_it_are_kept(begun: Path, monkeypatch):
    shutil.rmtree("out.gif.part")
    build = video_pipeline.feedforward_stylizer

    def spoiled(*arguments: Any) -> tuple[FrameStylizer, int]:
        stylizer, batch = build(*arguments)

        def stylize(frames: Any, state: Any) -> Any:
            images, fractions, after = stylizer.stylize(frames, state)
            factor = np.nan if frames.number == 2 else 1.0
            return images, fractions, {**after, "picture": jax.numpy.asarray(after["picture"]) * factor}

        return FrameStylizer(stylizer.state, stylize), batch

    with monkeypatch.context() as patch:
        patch.setattr(video_pipeline, "feedforward_stylizer", spoiled)
        with pytest.raises(DivergenceError, match=r"^the result is not finite at 0.16 s; give another --model"):
            make(begun)
    assert not OUTPUT.exists()
    assert Path("out.gif.part/batch_000001.npz").exists()
    assert not Path("out.gif.part/batch_000002.npz").exists()
    assert make(begun) == 0
