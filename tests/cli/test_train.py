"""train.py as a command: what a run leaves, Ctrl-C, kill -9, a full disk, and one line for everything that is wrong."""

import os
import re
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.models.serialization import read_tensors
from msst_jax.pipelines.train import EXIT_NOTHING_BETTER, run
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.training.checkpoints import open_checkpoints
from tests.helpers.commands import TRAIN, Script, run_command, run_script
from tests.helpers.compilation import READ_ONLY_CACHE
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import curve, job, make_photos, style_flags, tiny_config, tiny_flags, wait_for_step

ROOT = TRAIN.parent


def checkpoints_of(workdir: Path) -> list[int]:
    """Steps of those that are complete."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def state_of(workdir: Path, step: int) -> Any:
    with open_checkpoints(workdir / "checkpoints", keep_last=3, keep_every=0) as saved:
        return saved.load_checkpointables(step, {"state": None})["state"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir="], "--workdir has no value; give one, or leave it out"),
        (["--photos=in/photos", "--photos="], "--photos has no value; give one, or leave it out"),
        (["--masks="], "--masks has no value; give one, or leave it out"),
        (["--flagfile="], "--flagfile has no value; give the path of a file of flags"),
        (["--photos=empty"], "photos empty has no images (.jpg, "),
        (["--photos=nowhere"], "photos nowhere is not a folder; give a folder of images, or tfds:NAME"),
        (["--photos=tfds:nowhere", "--photos=empty"], "cannot be combined with others"),
        (["--masks=nowhere"], "masks nowhere is not a folder"),
        (["--style=cat=nowhere.jpg"], "style nowhere.jpg does not exist; check the name"),
        (["--style=cat"], "--style 'cat' is not NAME=FILE"),
        (["--style=cat=a.png:2,b.png"], "--style cat mixes 2 paintings (a.png, b.png); a fast model takes one, give"),
        (["--style=person=a.png"], "--style names the region 'person' twice"),
        (["photos"], "photos belongs to no flag; photos are given with --photos DIR"),
        (["--workdir=a.png/run"], "cannot write a.png/run: Not a directory"),
        (["--config.stpes=3"], "no field 'stpes' Did you mean \"steps\""),
        (["--config.steps=many"], "flag --config.steps=many: invalid literal for int()"),
        (["--config.steps=0"], "config.steps is 0; it must be an integer of at least 1"),
        (["--config.network=vgg19"], "run `python -m msst_jax.convert_weights vgg19`"),
        (["--config.batch=3"], "config.batch is 3, not divisible by 4 devices; use 4"),
        (["--config=nope.py"], "--config 'nope.py' is neither a preset nor a file; give one of any, fast, "),
        (
            ["--config=photo"],
            "the config is not for training: it has no task; derive it from fast, fast_pod, any, segmenter or "
            "person_segmenter",
        ),
        (
            [f"--config={ROOT / 'configs' / 'person_segmenter.py'}", "--config.start=random"],
            "--style person=FILE has no effect: person_vgg16 takes no styles; leave it out",
        ),
        (
            [f"--config={ROOT / 'configs' / 'person_segmenter.py'}", "--config.width=3"],
            "no field 'width'",
        ),
        (["--pohtos=in"], "Unknown command line flag 'pohtos'"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value).replace("/", "\\")[-40:],
)
def test_bad_input_ends_with_one_line_and_exit_code_2_and_writes_nothing(tmp_path: Path, arguments, message: str):
    make_photos(tmp_path / "in", 2)
    for name in ("a.png", "b.png"):
        shutil.copy(tmp_path / "in" / name, tmp_path)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    given = ["--workdir=run", "--photos=in/photos", "--masks=in/masks", *style_flags(Path())]
    if any(argument.startswith("--photos=") for argument in arguments):
        given.remove("--photos=in/photos")
    code, stderr = run_command([*given, *arguments], tmp_path, TRAIN)
    assert re.fullmatch(r"train\.py: [^\n]*\n", stderr)
    assert message in stderr
    assert code == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("--workdir", "no folder for the run was given; add --workdir DIR"),
        ("--photos", "no photos were given; add --photos DIR"),
        (
            "--style=background",
            "the fast model needs --style background=FILE, and one for each other region; found person",
        ),
        ("--style", "the fast model needs --style background=FILE, and one for each other region; found none"),
    ],
)
def test_a_flag_that_is_missing_is_named(tmp_path: Path, photos: Path, missing: str, message: str):
    given = [argument for argument in tiny_flags(photos) if not argument.startswith(missing)]
    assert run_command(given, tmp_path, TRAIN) == (2, f"train.py: {message}\n")
    assert not list(tmp_path.iterdir())


def test_environment_of_hosts_that_lacks_a_number_is_one_line(tmp_path: Path, photos: Path, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    message = "JAX_NUM_PROCESSES is 'two'; beside JAX_COORDINATOR_ADDRESS it must be a whole number"
    assert run_command(tiny_flags(photos), tmp_path, TRAIN) == (2, f"train.py: {message}\n")


def test_a_run_leaves_a_model_metrics_samples_and_says_so_on_a_second_start(tmp_path: Path):
    """With photos smaller than the crop, fewer than a batch, and one that is damaged."""
    make_photos(tmp_path / "in", 3)
    save(tmp_path / "in" / "photos" / "00.png", noise(20, 30))
    (tmp_path / "in" / "photos" / "01.png").write_bytes(b"no picture")
    arguments = tiny_flags(tmp_path / "in", sample_every=3)
    code, stderr = run_script(arguments, tmp_path, TRAIN)
    lines = stderr.splitlines()
    assert code == 0
    assert lines[0] == "few photos (3): the model will know little else"
    assert lines[1].startswith("too few photos to hold any out (3; ")
    assert re.match(r"left out: photo .*/01.png is not a picture that Pillow can read", lines[2])
    assert re.fullmatch(r"first step after [\d.]+ s, compilation included; 0\.28\d* GFLOP a photo", lines[3])
    assert lines[4:] == [
        "1 photos could not be read and were left out",
        "1 photos are smaller than the crop and were enlarged",
        "done at step 6: run/model.safetensors",
    ]
    work = tmp_path / "run"
    names = {path.name for path in work.iterdir() if not path.name.startswith("events.out.tfevents.")}
    files = {"config.json", "metrics.jsonl", "model.safetensors", "used_files.json"}
    assert names == {"checkpoints", "samples", "styles", *files}
    assert sorted(path.name for path in (work / "samples").iterdir()) == ["0000003.jpg", "0000006.jpg"]
    assert checkpoints_of(work) == [2, 4, 6]
    assert [record["step"] for record in curve(work) if "loss" in record] == [1, 2, 3, 4, 5, 6]
    model = load_feedforward(str(work))
    assert model.regions == ("person", "background")
    assert model.styles == ("a.png", "b.png")
    before = curve(work)
    again = run_command(arguments, tmp_path, TRAIN)
    assert again[0] == 0
    assert "continuing from step 6\n" in again[1]
    assert curve(work) == before
    quiet = run_command([*arguments, "--quiet"], tmp_path, TRAIN)
    assert quiet == (0, "")
    (tmp_path / "in" / "photos" / "01.png").unlink()
    code, stderr = run_command(arguments, tmp_path, TRAIN)
    assert re.fullmatch(r"train.py: workdir run holds another run: the photos have changed: 1 removed [^\n]*\n", stderr)
    assert code == 2


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_config_start(tmp_path: Path, photos: Path, model: Path):
    """The first step has a learning rate of zero, so that what is exported is the start."""
    flags = [*tiny_flags(photos, steps=1), f"--config.start={model}"]
    assert run_command([*flags, "--quiet"], tmp_path, TRAIN) == (0, "")
    trained, found = (read_tensors(folder / "model.safetensors") for folder in (model, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, found, trained)
    code, stderr = run_command([*tiny_flags(photos, steps=1), "--quiet"], tmp_path, TRAIN)
    assert code == 2
    assert "config.start was" in stderr


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_the_model(tmp_path: Path, photos: Path):
    flags = tiny_flags(photos, steps=100_000, checkpoint_every=100_000)
    script = Script(flags, tmp_path, TRAIN)
    wait_for_step(tmp_path / "run", 3, script)
    os.kill(script.process.pid, signal.SIGINT)
    code, stderr = script.wait()
    assert code == EXIT_INTERRUPTED
    (step,) = checkpoints_of(tmp_path / "run")
    assert re.search(rf"interrupted at step {step}: run/model.safetensors\n$", stderr)
    assert step == max(record["step"] for record in curve(tmp_path / "run"))
    load_feedforward(str(tmp_path / "run"))


@pytest.mark.slow
def test_a_run_that_diverges_is_one_line_with_exit_code_1_and_writes_neither_model_nor_picture(
    tmp_path: Path, photos: Path
):
    flags = tiny_flags(photos, learning_rate=1e8, sample_every=3)
    code, stderr = run_command([*flags, "--quiet"], tmp_path, TRAIN)
    assert re.fullmatch(r"train.py: the training has diverged: at step 2 its weights are not finite, [^\n]*\n", stderr)
    assert code == EXIT_NOTHING_BETTER
    assert checkpoints_of(tmp_path / "run") == []
    assert not (tmp_path / "run" / "samples").exists()


@pytest.mark.slow
def test_a_run_that_got_worse_says_so_with_exit_code_1(tmp_path: Path, photos: Path):
    flags = tiny_flags(photos, learning_rate=100.0)
    code, stderr = run_command([*flags, "--quiet"], tmp_path, TRAIN)
    message = r"the loss rose from [\d.]+ at the start to [\d.e+]+: the model got worse; lower [^\n]*\n"
    assert re.fullmatch(message, stderr)
    assert code == EXIT_NOTHING_BETTER
    load_feedforward(str(tmp_path / "run"))


def no_space_after_the_first_checkpoint() -> None:
    """Writing more than some kilobytes into one file fails from the second checkpoint on, as on a full disk."""
    from msst_jax import training

    save_one, made = training.checkpoints.save, []

    def limited(*arguments: Any) -> None:
        made.append(1)
        if len(made) == 2:
            arguments[0].wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        save_one(*arguments)

    training.checkpoints.save = limited


@pytest.mark.slow
def test_a_full_disk_during_a_checkpoint_is_one_line_and_the_one_before_stays(tmp_path: Path, photos: Path):
    flags = [*tiny_flags(photos), "--quiet"]
    assert run_script([*flags, "--workdir=whole"], tmp_path, TRAIN) == (0, "")
    code, stderr = run_script(
        flags, tmp_path, TRAIN, settings=READ_ONLY_CACHE, before=no_space_after_the_first_checkpoint
    )
    assert code == 2, stderr
    assert re.fullmatch(r"train.py: cannot write [^\n]*start the same command again[^\n]*\n", stderr)
    assert checkpoints_of(tmp_path / "run") == [2]
    assert run_script(flags, tmp_path, TRAIN) == (0, "")
    jax.tree.map(np.testing.assert_array_equal, state_of(tmp_path / "run", 6), state_of(tmp_path / "whole", 6))
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def no_space_for_a_picture() -> None:
    """From the first sample on the event file can grow no more, as on a full disk."""
    from msst_jax.training import recorder

    class Limited(recorder.MetricsWriter):
        def picture(self, *arguments: Any) -> None:
            size = self.events.stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            super().picture(*arguments)

    recorder.MetricsWriter = Limited  # type: ignore[misc]


@pytest.mark.slow
def test_a_full_disk_during_the_events_is_one_line_and_the_same_command_goes_on(tmp_path: Path, photos: Path):
    flags = [*tiny_flags(photos, checkpoint_every=100, sample_every=3), "--quiet"]
    code, stderr = run_script(flags, tmp_path, TRAIN, settings=READ_ONLY_CACHE, before=no_space_for_a_picture)
    assert re.fullmatch(r"train.py: cannot write run/events\.[^\n]*: File too large; free some space [^\n]*\n", stderr)
    assert code == 2
    assert run_command(flags, tmp_path, TRAIN) == (0, "")
    assert [record["step"] for record in curve(tmp_path / "run") if "loss" in record] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_five_kills_at_random_moments_change_neither_the_losses_nor_the_parameters(tmp_path: Path, photos: Path):
    steps = 60
    flags = [*tiny_flags(photos, steps=steps, checkpoint_every=5, sample_every=11), "--quiet"]
    assert run_script([*flags, "--workdir=whole"], tmp_path, TRAIN) == (0, "")
    killed, whole = tmp_path / "run", tmp_path / "whole"
    rng = np.random.default_rng(5)
    for at in sorted(rng.choice(np.arange(3, steps - 5), 5, replace=False)):
        script = Script(flags, tmp_path, TRAIN, settings=READ_ONLY_CACHE)
        wait_for_step(killed, int(at), script)
        script.process.join(rng.uniform(0, 0.05))
        script.process.kill()
        code, _ = script.wait()
        assert code == -signal.SIGKILL
    assert run_script(flags, tmp_path, TRAIN) == (0, "")
    assert curve(killed) == curve(whole)
    assert [record["step"] for record in curve(killed) if "loss" in record] == list(range(1, steps + 1))
    jax.tree.map(np.testing.assert_array_equal, state_of(killed, steps), state_of(whole, steps))
    models = [read_tensors(folder / "model.safetensors") for folder in (killed, whole)]
    jax.tree.map(np.testing.assert_array_equal, *models)


@pytest.mark.slow
def test_300_steps_halve_the_loss(tmp_path: Path):
    """Drawn styles, the layers of the default config up to relu3_1, from the default seed."""
    make_photos(tmp_path, 40)
    styles = {"person": "mosaic.jpg", "background": "brush_strokes.jpg"}
    wanted = job(tmp_path, styles={name: str(ROOT / "examples" / file) for name, file in styles.items()})
    config = tiny_config(
        width=8,
        blocks=2,
        size=64,
        style_size=128,
        style_layers=("relu1_1", "relu2_1", "relu3_1"),
        style_layer_weights=(20.0, 2.5, 1.0),
        content_layers=("relu2_2",),
        steps=300,
        warmup=20,
        learning_rate=5e-3,
        checkpoint_every=300,
        sample_every=300,
    )
    assert run(config, wanted) == 0
    losses = [record["loss"] for record in curve(tmp_path / "run") if "loss" in record]
    assert len(losses) == 300
    assert np.mean(losses[-20:]) < losses[0] / 2
