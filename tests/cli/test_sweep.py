"""--sweep from the command line to the files: pictures, sheet, JSON, and what it refuses."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.optim import programs
from msst_jax.pipelines import sweep
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer import memory
from tests.helpers.commands import run_command
from tests.helpers.pictures import QUICK, TWO, make_scene, save

OUTPUT = ["-o", "out.png"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return make_scene(tmp_path)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the pixels of all programs."""
    shapes: list[tuple[int, ...]] = []
    first = programs.compile_minimizer

    def noted(loss: Any, pixels: Any, *args: Any, **more: Any) -> Any:
        shapes.append(pixels.shape)
        return first(loss, pixels, *args, **more)

    monkeypatch.setattr(programs, "compile_minimizer", noted)
    return shapes


def command(*sweeps: str, photo: str = "photo.png") -> list[str]:
    """A quick run with these fields swept; those keep their own values."""
    swept = [text.split("=")[0] for text in sweeps]
    numbers = {name: repr(value).replace("'", '"') for name, value in QUICK.items() if name not in swept}
    flags = [f"--config.{name}={value}" for name, value in numbers.items()]
    return [photo, *TWO, *flags, *OUTPUT, *(f"--sweep={text}" for text in sweeps)]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_factors_of_the_loss_are_one_batch_and_every_picture_is_as_its_json_says(scene: Path, compiled: list):
    code, stderr = run_command(command("content_weight=0.3,30", "blend_ratio=0,2"), scene)
    assert code == 0, stderr
    assert compiled == [(4, 1, 24, 32, 3)]
    suffixes = [f"content_weight{content}_blend_ratio{blend}" for blend in ("0", "2") for content in ("0.3", "30")]
    written = {"out.png", "out_inputs.png", *(f"out_{suffix}.png" for suffix in suffixes)}
    assert {path.name for path in scene.glob("out*.png")} == written
    assert record(scene / "out.json")["pictures"] == [f"out_{suffix}.png" for suffix in suffixes]
    for suffix, (blend, content) in zip(suffixes, [(0, 0.3), (0, 30), (2, 0.3), (2, 30)], strict=True):
        own = record(scene / f"out_{suffix}.json")
        assert (own["blend_ratio"], own["config"]["content_weight"], own["config"]["blend_ratio"]) == (
            *(blend, content, blend),
        )
        code, stderr = run_command([f"--config=out_{suffix}.json", "-o", "again.png"], scene)
        assert code == 0, stderr
        assert "no effect" not in stderr
        again = record(scene / "again.json")
        np.testing.assert_allclose(own["loss"]["total"], again["loss"]["total"], rtol=1e-3)
        difference = pixels(scene / f"out_{suffix}.png").astype(int) - pixels(scene / "again.png")
        assert np.abs(difference).max() <= 2
    different = {pixels(scene / f"out_{suffix}.png").tobytes() for suffix in suffixes}
    assert len(different) == 4


def test_other_fields_run_one_after_the_other_with_a_batch_each(scene: Path, compiled: list):
    code, stderr = run_command(command("size=24,32", "style_weight=50,200"), scene)
    assert code == 0, stderr
    assert compiled == [(2, 1, 24, 32, 3), (2, 1, 18, 24, 3)]  # what takes most memory first
    assert "size 32: compiling for 32x24 pixels\n" in stderr
    assert [pixels(scene / f"out_size{size}_style_weight50.png").shape for size in (24, 32)] == [
        (18, 24, 3),
        (24, 32, 3),
    ]
    assert record(scene / "out_size24_style_weight200.json")["config"]["size"] == 24


def test_fields_that_leave_the_shapes_alone_share_a_program(scene: Path, compiled: list):
    code, stderr = run_command(command("stroke_size=1,2", "feather=0.1,5"), scene)
    assert code == 0, stderr
    assert len(compiled) == 1
    assert stderr.count("compiling") == 1
    assert len({path.read_bytes() for path in scene.glob("out_stroke*.png")}) == 4


@pytest.mark.parametrize(("sweeps", "programs"), [(["stroke_size=1,2", "feather=0.1,5"], 1), (["size=24,32"], 2)])
def test_the_time_of_a_sweep_counts_as_many_compilations_as_are_made(
    scene: Path, compiled: list, monkeypatch: pytest.MonkeyPatch, sweeps: list[str], programs: int
):
    planned: list[int] = []
    first = sweep.Progress

    def progress(*args: Any, pauses: int, **more: Any) -> Any:
        planned.append(pauses)
        return first(*args, pauses=pauses, **more)

    monkeypatch.setattr(sweep, "Progress", progress)
    assert run_command(command(*sweeps), scene)[0] == 0
    assert planned == [len(compiled)] == [programs]


def test_the_metadata_of_the_photo_stay_with_the_pictures_and_not_with_the_sheet(scene: Path):
    save(scene / "photo.png", pixels(scene / "photo.png"), dpi=(300, 300))
    assert run_command(command("steps=2,3"), scene)[0] == 0
    with Image.open(scene / "out_steps2.png") as picture, Image.open(scene / "out.png") as sheet:
        assert "dpi" in picture.info
        assert "dpi" not in sheet.info


def test_ctrl_c_keeps_what_is_finished_and_the_sheet_shows_it(scene: Path, monkeypatch: pytest.MonkeyPatch):
    first = sweep.stylize
    sheets: list[bytes] = []

    def stylize(options: Any, *args: Any, listener: Any, **more: Any) -> Any:
        def progress(evaluation: int, loss: float) -> None:
            if options.inputs.size == 28 and evaluation == 1:
                sheets.append((scene / "out.png").read_bytes())
                signal.raise_signal(signal.SIGINT)
            listener.progress(evaluation, loss)

        return first(options, *args, listener=listener._replace(progress=progress), **more)

    monkeypatch.setattr(sweep, "stylize", stylize)
    code, stderr = run_command(command("size=24,28,32"), scene)
    assert code == EXIT_INTERRUPTED
    assert "1 of 3 pictures were not made\n" in stderr
    assert {path.name for path in scene.glob("out_size*.png")} == {"out_size28.png", "out_size32.png"}
    assert record(scene / "out.json")["pictures"] == ["out_size28.png", "out_size32.png"]
    assert sheets[0] != (scene / "out.png").read_bytes()


def test_previews_are_sheets_too(scene: Path, monkeypatch: pytest.MonkeyPatch):
    shown: list[int] = []
    first = sweep._write_preview

    def preview(work: Any, made: Any) -> None:
        first(work, made)
        shown.append(len(made))
        assert (scene / "out.png").exists()

    monkeypatch.setattr(sweep, "_write_preview", preview)
    assert run_command([*command("steps=2,3"), "--preview-every=2"], scene)[0] == 0
    assert shown == [1, 2]


@pytest.mark.slow
def test_the_sheet_repeats_the_sweep_and_a_picture_only_itself(scene: Path):
    assert run_command(command("steps=2,3", "tv_weight=0,5"), scene)[0] == 0
    code, stderr = run_command(["--config=out.json", "-o", "again.png"], scene)
    assert code == 0, stderr
    assert len([*scene.glob("again_steps*.png")]) == 4
    code, stderr = run_command(["--config=out.json", "--sweep=tv_weight=1", "-o", "other.png"], scene)
    assert code == 0, stderr
    assert {path.name for path in scene.glob("other_*.png")} == {"other_tv_weight1.png", "other_inputs.png"}
    content = record(scene / "out.json") | {"flags": {"sweep": "steps=2,3"}}
    (scene / "wrong.json").write_text(json.dumps(content))
    code, stderr = run_command(["--config=wrong.json", "-o", "wrong.png"], scene)
    assert (code, stderr.count("\n")) == (2, 1), stderr
    assert "--sweep takes a list, found 'steps=2,3'" in stderr


def test_too_little_memory_names_fewer_values(scene: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10)
    before = sorted(scene.iterdir())
    code, stderr = run_command(command("content_weight=1,2", "size=24,32"), scene)
    assert code == 2
    assert "stylize.py: --sweep: size 32: 32x24 pixels take about" in stderr
    assert stderr.endswith("give --config.size=16 or fewer values of --sweep\n")
    assert sorted(scene.iterdir()) == before


def test_a_photo_from_standard_input_that_is_read_twice_is_refused(scene: Path):
    code, stderr = run_command(command("size=24,32", photo="-"), scene)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "--sweep reads the photo 2 times, and standard input only once; give a file" in stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--sweep=contentweight=1"],
            "--sweep contentweight: the config has no such field; did you mean content_weight?",
        ),
        (
            ["--sweep=content_weight=1,-2"],
            "--sweep content_weight=-2: config.content_weight is -2.0; it must be zero or",
        ),
        (
            ["--sweep=steps=2,3", "--blend=0,0.2"],
            "--sweep takes one blend ratio, and --blend 0,0.2 has 2; sweep blend_",
        ),
        (["--sweep=blend_ratio=0,1", "--blend=0.2"], "config.blend_ratio, since --blend is given"),
        (["--sweep=stroke_size=1,2", "--stroke-size=2"], "config.stroke_size, since --stroke-size is given"),
        (
            ["--sweep=size=24,32", "--config.size=24"],
            "--config.size and --sweep size both say what it is; leave one out",
        ),
        (["--sweep=steps=2,3", "--compare"], "--sweep and --compare make a sheet each; leave one out"),
        (
            ["--sweep=steps=2,3", "-o", "-"],
            "-o - takes one picture, and this run makes several; give a file name with -o",
        ),
        (["--sweep=next_steps=2,3"], "config.next_steps on a photo without --model"),
        (["--sweep=min_speck=1,2"], "config.min_speck, since every region has a mask"),
        (["--sweep=history=2,3", "--config.optimizer=adam"], "config.history, since the optimizer is not lbfgs"),
        (["--sweep=size=4000000000,32"], "--sweep size=4000000000: config.size is 4000000000; it must be at most"),
        (["--sweep"], "--sweep"),
        (["--sweep="], "--sweep has no value; give one, or leave it out"),
        (["--sweep=steps=2,3", "-o", "out.xyz"], "unknown picture ending '.xyz'"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line_and_nothing_is_written(scene: Path, more: list[str], message: str):
    before = sorted(scene.iterdir())
    code, stderr = run_command(["photo.png", *TWO, *OUTPUT, *more], scene)
    assert (code, stderr.count("\n")) == (2, 1), stderr
    assert message in stderr
    assert sorted(scene.iterdir()) == before


def test_a_number_that_only_the_users_config_knows_is_not_swept(scene: Path):
    own = "from msst_jax.configs import photo\ndef get_config():\n    config = photo.get_config().unlock()\n"
    (scene / "own.py").write_text(f"{own}    config.zoom = 1.0\n    return config\n")
    code, stderr = run_command([*command("zoom=1,2"), "--config=own.py"], scene)
    assert (code, stderr.count("\n")) == (2, 1), stderr
    assert "--sweep zoom: this field is the config's own, and nothing takes it" in stderr


def test_a_picture_of_the_sweep_is_no_input_of_it(scene: Path):
    (scene / "photo.png").rename(scene / "out_steps2.png")
    code, stderr = run_command(command("steps=2,3", photo="out_steps2.png"), scene)
    assert (code, stderr.count("\n")) == (2, 1), stderr
    assert "out_steps2.png" in stderr
