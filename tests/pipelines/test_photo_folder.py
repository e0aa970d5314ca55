"""A folder of photos stylized by optimization, files to files."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.sidecar_files import read_sidecar
from msst_jax.pipelines import photo, photo_folder
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER, PhotoJob
from msst_jax.pipelines.run import run_job
from msst_jax.presets.sweep import SweptField
from msst_jax.runtime.console import configure_logging
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer import memory
from tests.helpers.commands import run_command
from tests.helpers.pictures import make_scene, noise, quick_config, save, stripe
from tests.helpers.segmenters import animals, converted, painted

CONFIG: dict[str, Any] = {"size": 0, "scales": (0.5, 1.0), "scale_steps": (0.5, 0.5), "steps": 4}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """The files of `make_scene`, and an empty folder in/."""
    (tmp_path / "in").mkdir()
    return make_scene(tmp_path)


@pytest.fixture
def job(scene: Path) -> PhotoJob:
    styles = {"dog": str(scene / "a.png"), "background": str(scene / "b.png")}
    masks = {"dog": str(scene / "left.png")}
    return PhotoJob(str(scene / "in"), styles, masks, scene / "out", [0.02], quiet=True)


def add(folder: Path, **sizes: tuple[int, int]) -> None:
    """Photos of (height, width) by their names."""
    for seed, (name, size) in enumerate(sizes.items()):
        save(folder / f"{name}.png", noise(*size, seed=seed))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What XLA compiles in the block, by the name of the function."""
    seen: list[str] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Compiling" in record.msg:
                seen.append(str(record.args[0] if isinstance(record.args, tuple) else record.args))

    handler, place = Recorder(), logging.getLogger("jax")
    with jax.log_compiles():
        place.addHandler(handler)
        try:
            yield seen
        finally:
            place.removeHandler(handler)


def test_a_second_photo_of_one_size_compiles_nothing_and_one_of_another_size_does(
    job: PhotoJob, monkeypatch: pytest.MonkeyPatch
):
    add(Path(job.photo), a=(24, 32), b=(32, 24), c=(24, 32))
    compiled: dict[str, list[str]] = {}
    load = photo_folder.load_photo_inputs

    with compilations() as seen:

        def note(options: Any, file: str, *more: Any, **others: Any) -> Any:
            compiled[Path(file).stem] = seen[:]
            return load(options, file, *more, **others)

        monkeypatch.setattr(photo_folder, "load_photo_inputs", note)
        assert run_job(quick_config(**CONFIG), job) == 0
    assert [*compiled] == ["a", "c", "b"]
    first, second, third = len(compiled["a"]), len(compiled["c"]), len(compiled["b"])
    assert sum("step" in name for name in seen[first:second]) == 2  # scales
    assert seen[second:third] == []
    assert sum("step" in name for name in seen[third:]) == 2
    seconds = [read_sidecar(job.output / f"{name}.png")["seconds"]["compile"] for name in "abc"]
    assert [value > 0 for value in seconds] == [True, True, False]


@pytest.mark.slow
def test_photos_of_a_folder_are_optimized_as_if_alone_and_their_json_repeats_them(scene: Path, job: PhotoJob):
    add(Path(job.photo), a=(24, 32), b=(32, 24), c=(24, 32))
    config = quick_config(**CONFIG)
    assert run_job(config, job) == 0
    assert names(job.output) == [f"{name}.{ending}" for name in "abc" for ending in ("json", "png")]
    for name in "abc":
        assert run_job(config, replace(job, photo=f"{job.photo}/{name}.png", output=scene / f"{name}_alone.png")) == 0
        np.testing.assert_array_equal(pixels(job.output / f"{name}.png"), pixels(scene / f"{name}_alone.png"))
    code, printed = run_command(["--config=out/c.json", "-o", "again.png", "--quiet"], scene)
    assert code == 0, printed
    np.testing.assert_array_equal(pixels(scene / "again.png"), pixels(job.output / "c.png"))


def test_photos_that_fail_are_named_and_left_out(job: PhotoJob, monkeypatch: pytest.MonkeyPatch, caplog):
    loaded = converted(monkeypatch)
    folder = Path(job.photo)
    save(folder / "dog.png", painted(animals()))
    save(folder / "empty.png", np.zeros((60, 80, 3), np.uint8))
    (folder / "text.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "dog.png").read_bytes()[:100])
    assert run_job(quick_config(size=0), replace(job, masks={})) == 0
    assert names(job.output) == ["dog.json", "dog.png"]
    for wanted in ("text.png is not a picture", "cut.png is damaged", "empty.png: region 'dog' was not found in"):
        assert caplog.text.count(wanted) == 1
    assert "3 of 4 photos were left out" in caplog.text
    assert loaded == ["deeplabv3_resnet101"]


def test_a_folder_of_which_no_photo_can_be_stylized_is_an_error_that_names_one(job: PhotoJob):
    for name in ("a", "b"):
        (Path(job.photo) / f"{name}.png").write_text("no picture")
    with pytest.raises(UserError, match=r"b\.png is not a picture"):
        run_job(quick_config(), job)
    assert not job.output.exists()


def test_a_photo_that_does_not_fit_into_memory_is_left_out_also_when_its_program_is_there(
    job: PhotoJob, monkeypatch: pytest.MonkeyPatch, caplog
):
    add(Path(job.photo), a=(24, 32), b=(24, 32), c=(24, 32))
    free = iter([10**12, 1, 10**12])
    monkeypatch.setattr(memory, "available_memory", lambda: next(free))
    assert run_job(quick_config(size=0), job) == 0
    assert names(job.output) == ["a.json", "a.png", "c.json", "c.png"]
    assert "b.png: 32x24 pixels take about" in caplog.text


def test_masks_of_a_folder_belong_to_the_photos_of_their_names(scene: Path, job: PhotoJob):
    add(Path(job.photo), a=(24, 32), b=(24, 32))
    (scene / "masks").mkdir()
    save(scene / "masks" / "a.png", stripe(24, 32, 0, 0.3))
    given = replace(job, masks={"dog": str(scene / "masks")})
    with pytest.raises(UserError, match=r"there is no b\.png for b\.png"):
        run_job(quick_config(), given)
    assert not job.output.exists()
    save(scene / "masks" / "b.png", stripe(24, 32, 0, 0.6))
    assert run_job(quick_config(), given) == 0
    shares = [read_sidecar(job.output / f"{name}.png")["regions"][0]["share"] for name in "ab"]
    assert shares == pytest.approx([0.3, 0.6], abs=0.05)
    assert read_sidecar(job.output / "b.png")["masks"] == {"dog": str(scene / "masks" / "b.png")}


def test_previews_go_to_the_output_of_the_photo_at_work(job: PhotoJob, monkeypatch: pytest.MonkeyPatch):
    add(Path(job.photo), a=(24, 32), b=(24, 32))
    written: list[str] = []
    save_picture = photo.save_picture
    monkeypatch.setattr(photo, "save_picture", lambda *more: written.append(more[1].name) or save_picture(*more))
    run_job(quick_config(), replace(job, preview_every=2))
    assert written == ["a.png", "a.png", "b.png", "b.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": True}, "--compare makes a sheet of one photo; give one photo"),
        ({"sweep": [SweptField("steps", (1, 2))]}, "--sweep compares pictures of one photo, and .* is a folder"),
        ({"blend_ratios": [0.0, 0.1]}, "a list of blend ratios makes a strip of one photo"),
        ({"styles": {}}, "no style was given"),
        ({"styles": {"dog": "nowhere.png"}}, "style nowhere.png does not exist"),
        ({"styles": {"dog": "a.png:2,nowhere.png"}}, "style nowhere.png does not exist"),
        ({"styles": {"dgo": "a.png"}, "masks": {}}, "no region 'dgo'"),
        ({"styles": {"dog": "keep"}}, "--style keeps every region as it is"),
        ({"output": Path("left.png")}, "cannot write to left.png: it is a file"),
        ({"output": Path("out.png")}, "-o out.png is the name of a picture; the pictures of a folder need a folder"),
        ({"output": Path("-")}, "-o - takes one picture"),
        ({"output": Path("in")}, "would overwrite the input"),
    ],
)
def test_jobs_that_cannot_be_done_are_refused_before_any_work(
    scene: Path, job: PhotoJob, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(scene)
    add(Path(job.photo), a=(24, 32))
    before = sorted(scene.rglob("*"))
    with pytest.raises(UserError, match=message):
        run_job(quick_config(), replace(job, **change))
    assert sorted(scene.rglob("*")) == before


def test_a_start_from_a_file_is_refused_for_a_folder(scene: Path, job: PhotoJob):
    add(Path(job.photo), a=(24, 32))
    with pytest.raises(UserError, match=r"--init .*photo.png is a start for one photo, and .*in is a folder; give one"):
        run_job(quick_config(init=str(scene / "photo.png")), job)


def interrupting(number: int) -> Callable[..., Any]:
    """`stylize` that gets Ctrl-C after the first evaluation of the photo of a number."""
    begun: list[int] = []
    stylize = photo.stylize

    def stylized(*more: Any, listener: Any, **others: Any) -> Any:
        begun.append(1)

        def progress(evaluation: int, total: float) -> None:
            if len(begun) == number and evaluation == 1:
                signal.raise_signal(signal.SIGINT)
            listener.progress(evaluation, total)

        return stylize(*more, listener=listener._replace(progress=progress), **others)

    return stylized


def test_ctrl_c_keeps_the_photo_at_work_and_ends_the_run(job: PhotoJob, monkeypatch: pytest.MonkeyPatch, caplog):
    add(Path(job.photo), a=(24, 32), b=(24, 32), c=(24, 32), d=(24, 32))
    monkeypatch.setattr(photo, "stylize", interrupting(2))
    assert run_job(quick_config(steps=50), job) == EXIT_INTERRUPTED
    assert names(job.output) == ["a.json", "a.png", "b.json", "b.png"]
    assert [read_sidecar(job.output / f"{name}.png")["interrupted"] for name in "ab"] == [False, True]
    assert "interrupted: 2 of 4 photos were not begun" in caplog.text


def test_the_exit_code_tells_a_run_in_which_no_photo_became_better(job: PhotoJob, monkeypatch: pytest.MonkeyPatch):
    add(Path(job.photo), a=(24, 32), b=(24, 32))
    codes = iter([EXIT_NOTHING_BETTER, 0, EXIT_NOTHING_BETTER, EXIT_NOTHING_BETTER])
    monkeypatch.setattr(photo, "_exit_code", lambda *_: next(codes))
    assert run_job(quick_config(steps=1), job) == 0
    assert run_job(quick_config(steps=1), job) == EXIT_NOTHING_BETTER


def test_the_photos_are_counted_and_their_outputs_named(job: PhotoJob, caplog):
    add(Path(job.photo), a=(24, 32), b=(32, 24), c=(24, 32))
    configure_logging(quiet=False)
    run_job(quick_config(**CONFIG), job)
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.startswith(("photo", "wrote"))] == [
        line
        for number, name in enumerate("acb", start=1)
        for line in (f"photo {number} of 3: {job.photo}/{name}.png", f"wrote {job.output}/{name}.png")
    ]
