"""Transparent videos: the frames are stylized over white, and the transparency reaches the outputs that can hold it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.pipelines.run import run_job
from msst_jax.video.io.reader import open_video
from msst_jax.video.resume import ResumeFolder
from tests.helpers.feedforward import video_config, video_job
from tests.helpers.logging_state import logged_warnings
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.videos import make_video

pytestmark = pytest.mark.usefixtures("small_batches")

COUNT = 5
SOURCES = ["webm", "vp8", "prores", "animation", "gif", "folder"]


def alpha_of(number: int) -> np.ndarray:
    """Opaque to the left of an edge that moves, half transparent in the middle, transparent to the right."""
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, : 16 + 4 * number] = 255
    return alpha


def make_source(folder: Path, kind: str) -> Path:
    layers = [np.dstack([noise(48, 64, number), alpha_of(number)]) for number in range(COUNT)]
    if kind == "folder":
        (folder / "frames").mkdir()
        for number, layer in enumerate(layers):
            save(folder / "frames" / f"{number}.png", layer)
        return folder / "frames"
    if kind == "gif":
        pictures = [Image.fromarray(layer) for layer in layers]
        pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:], disposal=2, duration=40)
        return folder / "a.gif"
    name, codec, form, options = {
        "webm": ("a.webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0", "crf": "5"}),
        "vp8": ("a.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0", "crf": "5", "b": "2M"}),
        "prores": ("a.mov", "prores_ks", "yuva444p10le", {}),
        "animation": ("a.mov", "qtrle", "argb", {}),
    }[kind]
    return make_video(folder / name, layers, codec=codec, form=form, options=options)


def stylize(video: Path, output: Path, model: Path, masks: dict[str, str], size: int = 0, **more: Any) -> Path:
    job = video_job(video, output, model=str(model), masks=masks, **more)
    assert run_job(video_config(size=size), job) == 0
    return output


@pytest.mark.parametrize("output", ["out.webm", "out"])
@pytest.mark.parametrize("source", SOURCES)
def test_the_transparency_is_kept(model: Path, tmp_path: Path, left, source: str, output: str, caplog):
    path = make_source(tmp_path, source)
    before = [frame.alpha for frame in open_video(path).frames()]
    frames = list(open_video(stylize(path, tmp_path / output, model, left)).frames())
    assert len(frames) == COUNT
    for number, (frame, wanted) in enumerate(zip(frames, before, strict=True)):
        assert frame.alpha is not None
        assert wanted is not None
        assert np.abs(frame.alpha.astype(int) - wanted).mean() < (3 if output == "out.webm" else 0.01)
        assert np.abs(frame.alpha.astype(int) - alpha_of(number)).mean() < 6
    assert not logged_warnings(caplog)


def test_the_transparency_is_resized_with_the_frames(model: Path, tmp_path: Path, left):
    path = make_source(tmp_path, "animation")
    output = stylize(path, tmp_path / "out", model, left, size=32)
    picture = np.asarray(Image.open(output / "000003.png"))
    assert picture.shape == (24, 32, 4)
    wanted = Image.fromarray(alpha_of(2)).resize((32, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(picture[..., 3], np.asarray(wanted))


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out.gif"])
def test_an_output_without_transparency_is_over_white_and_says_so(
    model: Path, tmp_path: Path, left, output: str, caplog
):
    path = make_source(tmp_path, "animation")
    stylize(path, tmp_path / output, model, left)
    assert logged_warnings(caplog) == [
        f"{tmp_path}/{output} cannot hold transparency: the frames are stylized over white"
    ]
    opaque = [np.asarray(frame.image) for frame in open_video(path).frames()]
    assert min(image[:, 40:].min() for image in opaque) == 255
    over_white = make_video(tmp_path / "white.mov", opaque, codec="qtrle", form="rgb24")
    same = stylize(over_white, tmp_path / f"same_{output}", model, left)
    for one, two in zip(open_video(tmp_path / output).frames(), open_video(same).frames(), strict=True):
        np.testing.assert_array_equal(one.image, two.image)


def test_an_opaque_alpha_channel_makes_neither_a_warning_nor_rgba_files(model: Path, tmp_path: Path, left, caplog):
    layers = [np.dstack([noise(48, 64, number), np.full((48, 64), 255, np.uint8)]) for number in range(3)]
    path = make_video(tmp_path / "a.mov", layers, codec="qtrle", form="argb")
    stylize(path, tmp_path / "out.mp4", model, left)
    output = stylize(path, tmp_path / "out", model, left)
    for file in output.iterdir():
        with Image.open(file) as picture:
            assert picture.mode == "RGB"
    assert not logged_warnings(caplog)


@pytest.mark.parametrize("output", ["out.webm", "out"])
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_resumed_transparent_video_is_the_same_file(
    model: Path, tmp_path: Path, left, output: str, batches: int, monkeypatch
):
    path = make_video(
        tmp_path / "slow.mov",
        [np.dstack([noise(48, 64, number), alpha_of(number)]) for number in range(COUNT)],
        rate=Fraction(2),  # segments of four frames
        codec="qtrle",
        form="argb",
    )
    whole = stylize(path, tmp_path / f"whole_{output}", model, left)
    add, added = ResumeFolder.add_batch, []

    def fail(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        added.append(None)
        if len(added) == batches:
            raise RuntimeError("of the device")

    with monkeypatch.context() as patch:
        patch.setattr(ResumeFolder, "add_batch", fail)
        with pytest.raises(RuntimeError):
            stylize(path, tmp_path / output, model, left)
    resumed = stylize(path, tmp_path / output, model, left, resume=True)
    if output == "out":
        assert {file.name: file.read_bytes() for file in resumed.iterdir()} == {
            file.name: file.read_bytes() for file in whole.iterdir()
        }
    else:
        assert resumed.read_bytes() == whole.read_bytes()


def test_a_transparent_mask_video_is_black_where_it_is_transparent(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64, number) for number in range(3)])
    white = [np.dstack([np.full((48, 64, 3), 255, np.uint8), stripe(48, 64, 0, 0.5)])] * 3
    masks = {"person": str(make_video(tmp_path / "mask.mov", white, codec="qtrle", form="argb"))}
    one = stylize(path, tmp_path / "one", model, masks)
    two = stylize(path, tmp_path / "two", model, left)
    for first, second in zip(open_video(one).frames(), open_video(two).frames(), strict=True):
        assert np.abs(first.image.astype(int) - second.image).mean() < 1
