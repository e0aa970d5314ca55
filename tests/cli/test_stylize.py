"""stylize.py from the files to the files: pictures, JSON and exit codes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.pipelines import photo
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER, PhotoJob
from msst_jax.pipelines.run import run_job
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from tests.helpers.commands import STYLIZE, run_command, run_script
from tests.helpers.pictures import QUICK, TWO, make_scene, noise, quick_config, save
from tests.helpers.segmenters import WEIGHTS, animals, converted, painted

KEYS = {
    "photo",
    "masks",
    "regions",
    "config",
    "seed",
    "device",
    "versions",
    "loss",
    "seconds",
    "evaluations",
    "weights",
}
TERMS = {"style", "blend", "content", "smooth"}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return make_scene(tmp_path / "in")


def job(
    scene: Path, styles: dict[str, str] | None = None, masks: dict[str, str] | None = None, **more: Any
) -> PhotoJob:
    styles = styles or {"dog": "a", "background": "b"}
    masks = {"dog": "left"} if masks is None else masks
    return PhotoJob(
        photo=str(scene / "photo.png"),
        styles={name: str(scene / f"{file}.png") for name, file in styles.items()},
        masks={name: str(scene / f"{file}.png") for name, file in masks.items()},
        **{"output": scene.parent / "out" / "out.png", "blend_ratios": [0.2], **more},
    )


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def sidecar(path: Path) -> dict[str, Any]:
    """The JSON, after a look at what every JSON promises."""
    content = json.loads(path.with_suffix(".json").read_text())
    assert content.keys() >= KEYS
    assert content["seconds"].keys() == {"compile", "optimize", "total"}
    assert content["versions"].keys() >= {"python", "jax", "flax", "optax", "numpy", "pillow", "msst_jax"}
    assert sum(region["share"] for region in content["regions"]) == pytest.approx(1)
    loss = content["loss"]
    assert loss.keys() == {"total", *TERMS}
    assert {len(values) for values in loss.values()} == {sum(content["evaluations"])}
    np.testing.assert_allclose(loss["total"], np.sum([loss[name] for name in TERMS], 0), rtol=1e-5)
    return content


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(
    ("styles", "masks", "height", "width"),
    [
        ({"background": "a"}, {}, 24, 32),
        ({"dog": "a", "background": "b"}, {"dog": "left"}, 90, 47),
        ({"cat": "a", "background": "b", "dog": "c"}, {"dog": "left", "cat": "middle"}, 29, 33),
    ],
    ids=["K=1", "K=2", "K=3"],
)
def test_any_number_of_regions_and_any_shape_gives_a_picture_and_its_json(tmp_path, styles, masks, height, width):
    scene = make_scene(tmp_path, height, width)
    wanted = job(scene, styles, masks, output=tmp_path / "out" / "out.png", seed=5)
    assert run_job(quick_config(size=33), wanted) == 0
    assert names(tmp_path / "out") == ["out.json", "out.png", "out_inputs.png"]
    result = picture(wanted.output)
    assert result.shape == (round(height * 33 / max(height, width)), round(width * 33 / max(height, width)), 3)
    content = sidecar(wanted.output)
    assert [(region["name"], region["style"]) for region in content["regions"]] == list(wanted.styles.items())
    assert content["evaluations"] == [3]
    assert content["seed"] == 5
    assert content["interrupted"] is False
    assert content["weights"] == "vgg16_relu4_3.safetensors"
    assert content["config"]["size"] == 33
    assert content["size"] == [result.shape[1], result.shape[0]]
    assert content["loss"]["total"][-1] < content["loss"]["total"][0]
    if len(styles) == 1:
        assert not any(content["loss"]["blend"])


def test_a_blend_list_gives_every_picture_a_strip_and_the_losses_of_single_runs(scene: Path):
    ratios = [0.0, 0.2, 0.4]
    batch = job(scene, blend_ratios=ratios)
    assert run_job(quick_config(), batch) == 0
    pictures = [f"out_blend{ratio:g}" for ratio in ratios]
    wanted = [f"{name}.{ending}" for name in ("out", *pictures) for ending in ("json", "png")]
    assert names(batch.output.parent) == sorted([*wanted, "out_inputs.png"])
    assert picture(batch.output).shape[1] > 3 * 32
    assert sidecar(batch.output)["pictures"] == [f"{name}.png" for name in pictures]
    for ratio, name in zip(ratios, pictures, strict=True):
        batched = sidecar(batch.output.with_name(f"{name}.png"))
        assert batched["blend_ratio"] == ratio
        single = job(scene, blend_ratios=[ratio], output=scene.parent / "single" / "out.png")
        assert run_job(quick_config(), single) == 0
        alone = sidecar(single.output)
        for term in (*TERMS, "total"):
            np.testing.assert_allclose(batched["loss"][term][:2], alone["loss"][term][:2], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            picture(batch.output.with_name(f"{name}.png")).astype(int), picture(single.output), atol=3
        )
    assert not any(sidecar(batch.output.with_name("out_blend0.png"))["loss"]["blend"])


def test_the_comparison_is_a_sheet_beside_the_picture(scene: Path):
    wanted = job(scene, compare=True)
    assert run_job(quick_config(), wanted) == 0
    assert "out_comparison.png" in names(wanted.output.parent)
    sidecar(wanted.output)


def test_the_same_seed_gives_the_same_picture_bit_for_bit_and_another_seed_another(scene: Path):
    results = []
    for folder, seed in (("first", 7), ("second", 7), ("other", 8)):
        wanted = job(scene, output=scene.parent / folder / "out.png", seed=seed)
        assert run_job(quick_config(init="noise"), wanted) == 0
        results.append((picture(wanted.output), sidecar(wanted.output)["loss"]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert results[0][1] != results[2][1]


def test_a_loss_that_overflows_keeps_the_start_says_so_and_fails(scene: Path, caplog: pytest.LogCaptureFixture):
    wanted = job(scene)
    assert run_job(quick_config(style_layer_weights=(1e38, 1e38)), wanted) == EXIT_NOTHING_BETTER
    assert "the loss was not finite" in caplog.text
    assert "nothing better than the start was found" in caplog.text
    np.testing.assert_allclose(picture(wanted.output).astype(int), picture(scene / "photo.png"), atol=1)
    assert json.loads(wanted.output.with_suffix(".json").read_text())["loss"]["total"][0] is None


def test_ctrl_c_writes_the_best_so_far_and_says_so(scene: Path, caplog, monkeypatch: pytest.MonkeyPatch):
    counted: list[int] = []

    def update(_bar: tqdm, _step: float = 1) -> None:
        counted.append(1)
        if len(counted) == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tqdm, "update", update)
    wanted = job(scene, blend_ratios=[0.1, 0.3])
    assert run_job(quick_config(steps=100_000), wanted) == EXIT_INTERRUPTED
    assert re.search(r"interrupted after \d+ evaluations: wrote the best picture so far", caplog.text)
    assert names(wanted.output.parent)[0] == "out.json"
    for name in ("out.png", "out_blend0.1.png", "out_blend0.3.png"):
        content = sidecar(wanted.output.with_name(name))
        assert content["interrupted"] is True
        assert 4 <= content["evaluations"][0] < 20


@pytest.mark.parametrize("ratios", [[0.2], [0.1, 0.3]], ids=["one", "strip"])
def test_the_output_is_rewritten_while_the_optimization_goes_on(scene: Path, monkeypatch, ratios: list[float]):
    seen: list[np.ndarray] = []
    saved = photo.save_picture

    def save_and_look(content: Image.Image, path: Path, *more: Any) -> None:
        saved(content, path, *more)
        if path == wanted.output:
            seen.append(picture(path))

    wanted = job(scene, blend_ratios=ratios, preview_every=2)
    monkeypatch.setattr(photo, "save_picture", save_and_look)
    assert run_job(quick_config(steps=7), wanted) == 0
    assert len(seen) == 4  # after 2, 4 and 6 evaluations, and in the end
    assert len({image.shape for image in seen}) == 1
    assert np.any(seen[0] != seen[-1])
    assert names(wanted.output.parent)[0] == "out.json"


def test_a_preview_that_cannot_be_written_is_said_and_the_run_goes_on(scene: Path, monkeypatch, caplog):
    saved, calls = photo.save_picture, []

    def full(content: Image.Image, path: Path, *more: Any) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise UserError(f"cannot write {path}: No space left on device; choose another output")
        saved(content, path, *more)

    monkeypatch.setattr(photo, "save_picture", full)
    wanted = job(scene, preview_every=2)
    assert run_job(quick_config(), wanted) == 0
    assert re.search(r"no preview: cannot write .*out\.png: No space left on device", caplog.text)
    assert wanted.output.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(scene: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_picture: Image.Image, name: Path, **_options: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    wanted = job(scene)
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"^cannot write .*out.png: No space left on device; choose another output$"):
        run_job(quick_config(steps=1), wanted)
    assert not names(wanted.output.parent)


def test_regions_that_a_segmenter_finds_are_told_from_masks_in_the_json(tmp_path: Path, monkeypatch):
    scene = make_scene(tmp_path, 60, 80)
    save(scene / "photo.png", painted(animals()))
    files = {"person": "a", "statue": "b", "background": "c"}
    converted(monkeypatch)
    wanted = job(scene, files, {"statue": "middle"}, output=tmp_path / "out" / "out.png")
    assert run_job(quick_config(), wanted) == 0
    content = sidecar(wanted.output)
    assert content["segmenter"] == {"name": "deeplabv3_resnet101", "weights": WEIGHTS}
    assert [region["origin"] for region in content["regions"]] == ["segmenter", "mask", "rest"]
    assert run_job(quick_config(), replace(wanted, styles={"background": wanted.styles["person"]}, masks={})) == 0
    assert sidecar(wanted.output)["segmenter"] is None


def quick_flags(**changes: Any) -> list[str]:
    return [f"--config.{name}={value!r}".replace("'", '"') for name, value in {**QUICK, **changes}.items()]


@pytest.mark.parametrize("more", [[], ["--compare"], ["--blend=0,0.2", "--config.init=noise"]])
def test_a_kept_region_is_the_photo_bit_for_bit_beyond_its_soft_edge(scene: Path, more: list[str]):
    styles = ["--style=dog=a.png", "--style=background=keep", "--mask=dog=left.png"]
    code, stderr = run_command(["photo.png", *styles, *more, "-o", "out.png", *quick_flags()], scene)
    assert code == 0, stderr
    made, photo = (
        picture(scene / ("out_blend0.2.png" if "--blend=0,0.2" in more else "out.png")),
        picture(scene / "photo.png"),
    )
    np.testing.assert_array_equal(made[:, 16:], photo[:, 16:])
    assert np.abs(made[:, :10].astype(int) - photo[:, :10]).mean() > 1


def test_a_style_file_of_the_name_keep_is_a_painting(scene: Path):
    (scene / "keep").write_bytes((scene / "b.png").read_bytes())
    for name, style in (("a", "./keep"), ("b", "b.png")):
        styles = [TWO[0], f"--style=background={style}", TWO[2]]
        assert run_command(["photo.png", *styles, "-o", f"out_{name}.png", *quick_flags()], scene)[0] == 0
    np.testing.assert_array_equal(picture(scene / "out_a.png"), picture(scene / "out_b.png"))
    assert run_command(["--config=out_a.json", "-o", "again.png"], scene)[0] == 0
    np.testing.assert_array_equal(picture(scene / "again.png"), picture(scene / "out_a.png"))


@pytest.mark.parametrize(
    ("flag", "more", "colored"),
    [
        ("--keep-colours", [], [True, True]),
        ("--keep-colours=dog", [], [True, False]),
        ("--keep-colours=background,dog", ["--config.guided=False", "--config.style_weight=1e6"], [True, True]),
        ("--keep-colours=background", ["--style=dog=keep"], [True, True]),
        ("--nokeep-colours", ["--config.keep_colours=('dog',)"], [False, False]),
    ],
)
def test_regions_that_keep_their_colors_have_those_of_the_photo(scene: Path, flag: str, more, colored: list[bool]):
    """The chroma of a picture is a part of the photo's, never more, and of the same hue."""
    styles = TWO[1:] if "--style=dog=keep" in more else TWO
    code, stderr = run_command(["photo.png", *styles, flag, *more, "-o", "out.png", *quick_flags()], scene)
    assert code == 0, stderr
    made, photo = (picture(scene / name).astype(float) for name in ("out.png", "photo.png"))
    luma = np.array([0.2126, 0.7152, 0.0722])
    chroma, own = (image - image @ luma[:, None] for image in (made, photo))
    share = (chroma * own).sum(-1, keepdims=True) / np.maximum((own * own).sum(-1, keepdims=True), 1)
    foreign = np.abs(chroma - np.clip(share, 0, 1) * own).max(-1)
    assert [bool(foreign[:, columns].max() < 2) for columns in (slice(0, 10), slice(16, None))] == colored
    assert np.abs(made - photo).mean() > 1


def test_colors_to_keep_of_a_region_that_is_the_photo_are_named_as_without_effect(scene: Path):
    styles = ["--style=dog=keep", *TWO[1:]]
    code, stderr = run_command(
        ["photo.png", *styles, "--keep-colours=dog,background", "-o", "a.png", *quick_flags()], scene
    )
    assert code == 0
    assert stderr.splitlines()[0] == "no effect: --keep-colours of dog, since the style leaves it the photo"


def test_a_style_that_is_enlarged_beyond_its_pixels_is_named(scene: Path):
    code, stderr = run_command(["photo.png", *TWO, "--stroke-size=2", "-o", "out.png", *quick_flags()], scene)
    assert code == 0
    said = "style a.png of 36x28 pixels is enlarged to 64x50, which blurs its strokes; give a larger picture"
    assert stderr.splitlines()[0] == said
    assert json.loads((scene / "out.json").read_text())["config"]["stroke_size"] == 2


def test_a_run_starts_from_a_picture_of_any_size_which_its_json_names(scene: Path):
    assert run_command(["photo.png", *TWO, "-o", "first.png", *quick_flags(steps=8)], scene)[0] == 0
    save(scene / "large.png", Image.open(scene / "first.png").resize((64, 48)))
    begun = json.loads((scene / "first.json").read_text())["loss"]["total"]
    for start in ("first.png", "large.png"):
        flags = [f"--init={start}", "-o", "more.png", *quick_flags(steps=8)]
        code, stderr = run_command(["photo.png", *TWO, *flags], scene)
        assert code == 0, stderr
        assert "stretched" not in stderr
        content = json.loads((scene / "more.json").read_text())
        assert content["config"]["init"] == start
        assert min(content["loss"]["total"]) < min(begun)
        assert content["loss"]["total"][0] < (begun[0] + min(begun)) / 2


def test_a_start_of_another_shape_is_stretched_and_a_file_may_have_the_name_of_a_word(scene: Path):
    save(scene / "noise.png", noise(24, 24, 3))
    (scene / "noise.png").rename(scene / "noise")
    code, stderr = run_command(["photo.png", *TWO, "--init=./noise", "-o", "out.png", *quick_flags(steps=1)], scene)
    assert re.search(r"^start \S+/noise is 24x24, the photo 32x24: it is stretched to fit$", stderr, re.M)
    assert code == 1  # one evaluation finds nothing better
    expected = Image.fromarray(noise(24, 24, 3)).resize((32, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(picture(scene / "out.png"), np.asarray(expected))


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_prints_nothing_and_otherwise_a_stretched_mask_and_the_output_are_named(scene: Path, quiet: bool):
    save(scene / "other.png", noise(10, 11)[..., 0])
    more = ["-o", "new/folder/out.jpg", *(["--quiet"] if quiet else [])]
    code, stderr = run_script(["photo.png", *TWO[:2], "--mask=dog=other.png", *more, *quick_flags()], scene)
    assert code == 0
    stretched = "mask other.png is 11x10, the photo 32x24: the mask is stretched to fit\n"
    said = f"{stretched}compiling for 32x24 pixels\nwrote new/folder/out.jpg\nwrote new/folder/out_inputs.jpg\n"
    assert stderr == ("" if quiet else said)
    assert names(scene / "new" / "folder") == ["out.jpg", "out.json", "out_inputs.jpg"]


@pytest.mark.slow
def test_the_seed_config_runs_from_the_command_line(scene: Path):
    config = f"--config={STYLIZE.parent / 'configs' / 'seed.py'}"
    changes = ["--config.size=24", "--config.steps=2", "--config.steps_multiple=3", "--blend=0.3", "--config.history=4"]
    code, stderr = run_command(["photo.png", config, *TWO, *changes], scene)
    assert code == 0
    assert stderr == "compiling for 24x24 pixels\nwrote outputs/photo.png\nwrote outputs/photo_inputs.png\n"
    content = sidecar(scene / "outputs" / "photo.png")
    assert content["evaluations"] == [3]
    assert content["size"] == [24, 24]
    assert content["blend_ratio"] == 0.3
    assert content["config"]["keep"] == "last"


@pytest.mark.slow
def test_ctrl_c_at_a_terminal_stops_the_bundled_example_and_writes_it(tmp_path: Path):
    """The real command with the real default layers; the bar on the terminal tells when the loop runs."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, str(STYLIZE), "--config.size=32", "--config.steps=100000", "-o", str(tmp_path / "x.png")]
    process = subprocess.Popen(command, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    shown = ""
    while not re.search(r"\b[1-9]\d*/100000 ", shown):
        shown += os.read(ours, 4096).decode()
    process.send_signal(signal.SIGINT)
    try:
        while more := os.read(ours, 4096).decode():
            shown += more
    except OSError:  # Linux: the other side is closed
        pass
    os.close(ours)
    assert process.wait() == EXIT_INTERRUPTED
    assert "loss" in shown
    assert "wrote the best picture so far" in shown
    assert picture(tmp_path / "x.png").shape == (32, 32, 3)
    content = sidecar(tmp_path / "x.png")
    assert content["interrupted"] is True
    assert [region["name"] for region in content["regions"]] == ["person", "background"]
