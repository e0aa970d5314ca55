"""Flags and fields that cannot act in a run are refused or named, and the table that says so is complete and true."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from absl.flags import FlagValues
from ml_collections import ConfigDict

from msst_jax.cli import stylize, train
from msst_jax.configs import photo, photo_separate
from msst_jax.errors import UserError
from msst_jax.pipelines import train as training
from msst_jax.pipelines.job import MasksJob, PhotoJob
from msst_jax.pipelines.run import run_job
from msst_jax.presets.applicability import (
    CONDITIONS,
    NAMES,
    STYLIZE_FIELDS,
    STYLIZE_FLAGS,
    TRAIN_FIELDS,
    TRAIN_FLAGS,
    Given,
    Run,
    check_flags_apply,
    describe_inert,
)
from msst_jax.presets.lookup import load_preset
from msst_jax.transfer.options import StylizationOptions, TemporalOptions
from tests.helpers.commands import TRAIN, run_command
from tests.helpers.feedforward import video_job
from tests.helpers.pictures import QUICK, make_scene, quick_config
from tests.helpers.training_runs import job as train_job
from tests.helpers.training_runs import tiny_config, tiny_flags
from tests.helpers.videos import make_video, moving

STYLIZING = (
    Run.PHOTO,
    Run.PHOTO_MODEL,
    Run.PHOTO_ANY,
    Run.VIDEO,
    Run.VIDEO_MODEL,
    Run.VIDEO_ANY,
    Run.REGIONS,
)
NUMBERS = [f"--config.{name}={value!r}".replace("'", '"') for name, value in QUICK.items() if name == "size"]
FLAG_VALUES = {
    "style": "--style=person=a.png",
    "mask": "--mask=person=left.png",
    "point": "--point=person=3,4",
    "blend": "--blend=0.1",
    "seed": "--seed=3",
    "init": "--init=photo.png",
    "stroke-size": "--stroke-size=2",
    "keep-colours": "--keep-colours",
    "regions-only": "--regions-only",
    "compare": "--compare",
    "preview-every": "--preview-every=1",
    "sweep": "--sweep=style_weight=1,2",
    "model": "--model=builtin",
    "quality": "--quality=20",
    "rate": "--rate=25",
    "resume": "--resume",
}
COMMANDS = {  # MODEL stands for a model for any painting
    Run.PHOTO: ["photo.png", "-o", "out.png"],
    Run.PHOTO_MODEL: ["photo.png", "--model=builtin", "-o", "out.png"],
    Run.PHOTO_ANY: ["photo.png", "--model=MODEL", "-o", "out.png"],
    Run.VIDEO: ["in.mp4", "-o", "out.mp4"],
    Run.VIDEO_MODEL: ["in.mp4", "--model=builtin", "-o", "out.mp4"],
    Run.VIDEO_ANY: ["in.mp4", "--model=MODEL", "-o", "out.mp4"],
    Run.REGIONS: ["photo.png", "--regions-only", "-o", "out.png"],
}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_video(tmp_path / "in.mp4", moving(2))
    return make_scene(tmp_path)


@pytest.mark.parametrize(
    ("command", "flags", "fields"), [(stylize, STYLIZE_FLAGS, STYLIZE_FIELDS), (train, TRAIN_FLAGS, TRAIN_FIELDS)]
)
def test_the_table_names_every_flag_and_every_field_of_every_preset(command: Any, flags: Mapping, fields: Mapping):
    values = FlagValues()
    command.define_flags(values)
    assert {*flags} == {"config", *(flag.name for module in values.flags_by_module_dict().values() for flag in module)}
    assert {*fields} == {field for name in command.PRESETS for field in load_preset(name).get_config()}


def test_the_fields_of_a_training_preset_are_those_that_the_table_gives_its_task():
    kinds = (*(Run.STYLIZER,) * 2, Run.ANY_STYLIZER, *(Run.SEGMENTER,) * 2)
    for name, kind in zip(train.PRESETS, kinds, strict=True):
        assert {*load_preset(name).get_config()} == {field for field, runs in TRAIN_FIELDS.items() if runs & kind}


def test_conditions_name_flags_and_fields_of_the_table():
    names = {f"--{flag}" for flag in {**STYLIZE_FLAGS, **TRAIN_FLAGS}}
    names |= {f"config.{field}" for field in {**STYLIZE_FIELDS, **TRAIN_FIELDS}}
    assert {name for condition in CONDITIONS for name in condition.names} <= names


INERT_FLAGS = [
    pytest.param(run, flag, id=f"{run.name}-{flag}")
    for run in STYLIZING
    for flag in FLAG_VALUES
    if not STYLIZE_FLAGS[flag] & run and flag not in ("model", "regions-only")  # these make another run of it
]


@pytest.mark.parametrize(("run", "flag"), INERT_FLAGS)
def test_a_flag_that_cannot_act_is_refused_and_nothing_is_written(scene: Path, any_model: Path, run: Run, flag: str):
    before = sorted(scene.iterdir())
    command = [argument.replace("MODEL", str(any_model)) for argument in COMMANDS[run]]
    code, stderr = run_command([*command, FLAG_VALUES[flag], *NUMBERS], scene)
    assert code == 2
    assert re.fullmatch(rf"stylize\.py: [^\n]*--{flag}[^\n]*\n", stderr)
    assert sorted(scene.iterdir()) == before


def test_the_models_styles_and_regions_only_exclude_each_other(scene: Path):
    code, stderr = run_command([*COMMANDS[Run.REGIONS], "--model=builtin"], scene)
    assert (code, stderr) == (2, "stylize.py: --model has no effect on --regions-only; leave it out\n")


@pytest.mark.parametrize("run", STYLIZING, ids=lambda run: run.name)
def test_every_field_is_either_silent_or_named(run: Run):
    """No run is made: the messages are those of all fields at once, typed on the command line."""
    given = Given([], STYLIZE_FIELDS, photo_separate.get_config(), masked=False)
    (phrase,) = describe_inert(run, STYLIZE_FIELDS, given) or [f" on {NAMES[run]}"]
    named = set(re.findall(r"config\.(\w+)", phrase))
    assert named == {field for field, runs in STYLIZE_FIELDS.items() if not runs & run}
    assert phrase.endswith(f" on {NAMES[run]}")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*COMMANDS[Run.PHOTO_MODEL], "--config.content_weight=5"], "config.content_weight on a photo with --model"),
        ([*COMMANDS[Run.REGIONS], "--config.steps=3"], "config.steps on --regions-only"),
        ([*COMMANDS[Run.PHOTO_MODEL], "--config.next_steps=3"], "config.next_steps on a photo with --model"),
        (
            [*COMMANDS[Run.PHOTO_MODEL], "--blend=1", "--config.blend_ratio=0.5"],
            "config.blend_ratio, since --blend is given",
        ),
    ],
)
def test_a_field_that_cannot_act_is_named_in_one_line(scene: Path, arguments: list[str], line: str):
    code, stderr = run_command([*arguments, *NUMBERS], scene)
    assert code == 0, stderr
    assert f"no effect: {line}\n" in stderr


def test_a_preset_that_is_mostly_about_the_optimization_says_so_with_a_model(scene: Path):
    code, stderr = run_command([*COMMANDS[Run.PHOTO_MODEL], "--config=seed", *NUMBERS], scene)
    assert code == 0
    assert re.search(r"^no effect: config\.[^\n]*config\.steps_multiple[^\n]* on a photo with --model$", stderr, re.M)


@pytest.mark.parametrize(
    ("flags", "fields", "changes", "masked", "phrase"),
    [
        (["seed"], [], {}, False, "--seed, since the start is not config.init=noise"),
        (["seed"], [], {"init": "noise"}, False, None),
        (["seed", "init"], [], {"init": "a.png"}, False, "--seed, since the start is not config.init=noise"),
        (["stroke-size"], ["stroke_size"], {}, False, "config.stroke_size, since --stroke-size is given"),
        (["keep-colours"], ["keep_colours"], {}, False, "config.keep_colours, since --keep-colours is given"),
        (["init"], ["init"], {}, False, "config.init, since --init is given"),
        ([], ["history", "max_step"], {"optimizer": "adam"}, False, "config.history, config.max_step, since the opti"),
        ([], ["history"], {}, False, None),
        ([], ["history_dtype"], {"optimizer": "adam"}, False, "config.history_dtype, since the optimizer is not lbfgs"),
        (["segmenter"], ["min_speck"], {}, True, "--segmenter, config.min_speck, since every region has a mask"),
        (["segmenter"], ["min_speck"], {}, False, None),
        (["style"], ["styles"], {}, False, "config.styles, since --style is given"),
        (["mask"], ["masks"], {}, False, "config.masks, since --mask is given"),
    ],
)
def test_what_another_setting_makes_idle_is_named(flags, fields, changes, masked: bool, phrase: str | None):
    config = photo.get_config()
    config.update(changes)
    phrases = describe_inert(Run.PHOTO, STYLIZE_FIELDS, Given(flags, fields, config, masked))
    assert len(phrases) == (phrase is not None)
    assert phrase is None or phrases[0].startswith(phrase)


@pytest.mark.parametrize(("precision", "idle"), [("bfloat16", True), ("highest", False)])
def test_a_type_of_features_has_no_effect_on_a_segmenter(precision: str, idle: bool):
    config = photo.get_config()
    config.precision = precision
    phrases = describe_inert(Run.REGIONS, STYLIZE_FIELDS, Given([], ["precision"], config, masked=False))
    assert phrases == (["config.precision, since segmenters compute in float32"] if idle else [])


@pytest.mark.parametrize(
    ("run", "flags", "fields", "colored", "named"),
    [
        (Run.PHOTO, ["keep-colours"], [], ("dog", "cat", "person"), "--keep-colours of dog, cat, since "),
        (Run.VIDEO, [], ["keep_colours"], ("dog", "person"), "config.keep_colours of dog, since the style leaves it "),
        (Run.PHOTO, ["keep-colours"], [], ("*",), None),
        (Run.PHOTO, ["keep-colours"], [], ("person",), None),
        (Run.PHOTO, [], [], ("dog",), None),
    ],
)
def test_a_region_that_is_the_photo_anyway_is_named_if_it_is_to_keep_its_colors(run, flags, fields, colored, named):
    config = photo.get_config()
    config.keep_colours = colored
    given = Given(flags, fields, config, masked=False, kept=["dog", "cat"])
    phrases = describe_inert(run, STYLIZE_FIELDS, given)
    assert len(phrases) == (named is not None)
    assert named is None or phrases[0].startswith(named)


def test_training_names_what_masks_that_are_given_make_idle(tmp_path: Path, photos: Path):
    code, stderr = run_command(
        [*tiny_flags(photos), "--config.refine_edges=False", "--config.batch=3"], tmp_path, TRAIN
    )
    assert code == 2  # for the batch; the line comes first
    assert stderr.startswith("no effect: config.refine_edges, since every region has a mask\n")


def test_a_flag_of_another_run_is_refused_by_the_table():
    with pytest.raises(UserError, match=r"^--compare has no effect on a video with --model; leave it out$"):
        check_flags_apply(Run.VIDEO_MODEL, STYLIZE_FLAGS, ["blend", "compare"])


def test_a_field_that_only_the_users_config_knows_is_its_own_affair():
    given = Given([], ["zoom"], photo.get_config(), masked=False, preset=["zoom"])
    assert describe_inert(Run.PHOTO, STYLIZE_FIELDS, given) == []


class Recorder:
    """Notes which attributes of which objects are read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def watch(self, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
        original: Callable[[Any, str], Any] = kind.__getattribute__

        def noted(instance: Any, name: str) -> Any:
            self.read.add(name)
            return original(instance, name)

        monkeypatch.setattr(kind, "__getattribute__", noted)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder()
    original = ConfigDict.__getattr__

    def noted(config: ConfigDict, name: str) -> Any:
        recorder.read.add(name)
        return original(config, name)

    monkeypatch.setattr(ConfigDict, "__getattr__", noted)
    return recorder


@pytest.mark.slow
def test_a_training_run_reads_every_field_of_its_task(tmp_path: Path, photos: Path, recorder: Recorder):
    config = tiny_config(steps=2)
    recorder.read.clear()
    assert training.run(config, train_job(photos, workdir=tmp_path / "run")) == 0
    # The masks are given.
    assert {field for field, runs in TRAIN_FIELDS.items() if runs & Run.STYLIZER} - recorder.read <= {"refine_edges"}


def test_masks_are_segmented_with_no_other_fields_than_the_table_gives(tmp_path: Path, recorder: Recorder, monkeypatch):
    make_scene(tmp_path)
    from msst_jax.pipelines import export_masks

    seen: set[str] = set()
    original = export_masks.export_masks

    def watched(*arguments: Any, **more: Any) -> None:
        recorder.read.clear()
        for kind in (type(arguments[0]), type(arguments[0].masks)):
            recorder.watch(monkeypatch, kind)
        original(*arguments, **more)
        seen.update(recorder.read)

    monkeypatch.setattr(export_masks, "export_masks", watched)
    assert run_job(quick_config(), MasksJob(str(tmp_path / "photo.png"), tmp_path / "out.png")) == 0
    # Photo, styles and points are those of the job, and the precision acts on all that `run_job` traces.
    of_the_job = {"photo", "styles", "points", "precision"}
    fields = {field for field, runs in STYLIZE_FIELDS.items() if runs & Run.REGIONS} - of_the_job
    named = {"hard" if field == "hard_masks" else field for field in fields}
    assert seen & {"style_scale", "feather", *named} == named


@pytest.mark.parametrize("run", [Run.PHOTO, Run.VIDEO, Run.VIDEO_MODEL], ids=lambda run: run.name)
def test_temporal_and_optimization_fields_are_read_where_the_table_says(
    scene: Path, run: Run, model: Path, left, recorder: Recorder, monkeypatch
):
    """Whatever the pipelines read of the typed options, after these were built from the config."""
    from msst_jax.pipelines import photo as photo_pipeline
    from msst_jax.pipelines import video as video_pipeline

    for pipeline in (photo_pipeline, video_pipeline):
        original = pipeline.build_options

        def build(config: ConfigDict, original: Callable = original) -> StylizationOptions:
            options = original(config)
            for kind in (TemporalOptions, StylizationOptions):
                recorder.watch(monkeypatch, kind)
            recorder.read.clear()
            return options

        monkeypatch.setattr(pipeline, "build_options", build)
    files = {name: str(scene / f"{file}.png") for name, file in (("person", "a"), ("background", "b"))}
    jobs = {
        Run.PHOTO: PhotoJob(str(scene / "photo.png"), files, left, scene / "out.png", [0.2], quiet=True),
        Run.VIDEO: video_job(scene / "in.mp4", scene / "out.mp4", styles=files, masks=left),
        Run.VIDEO_MODEL: video_job(scene / "in.mp4", scene / "out.mp4", model=str(model), masks=left),
    }
    config = quick_config(next_steps=2, segment_every=1)
    assert run_job(config, jobs[run]) == 0
    watched = ("picture_smoothing", "next_steps", "mask_smoothing", "segment_every", "init", "content_weight")
    assert {name for name in watched if name in recorder.read} == {
        name for name in watched if STYLIZE_FIELDS[name] & run
    }
