"""The command train.py, or msst-train: flags, and how errors end it."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from msst_jax.cli.flags import Command, define_deterministic, define_import, parse_command, resolve_config_paths
from msst_jax.cli.region_styles import parse_single_styles
from msst_jax.cli.run_command import run_command
from msst_jax.errors import UserError
from msst_jax.io.paths import user_path
from msst_jax.io.remote import input_path, is_remote
from msst_jax.pipelines.train import TrainJob, run
from msst_jax.presets.applicability import TRAIN_FIELDS, TRAINING, Given, Run, warn_of_inert
from msst_jax.presets.lookup import load_preset
from msst_jax.presets.recorded import hint_of_imports
from msst_jax.presets.validation import check_task
from msst_jax.registry import TASKS
from msst_jax.runtime.cluster import initialize_distributed
from msst_jax.runtime.compilation import prepare_xla
from msst_jax.runtime.console import configure_logging
from msst_jax.runtime.devices import run_on_all_hosts, start_device
from msst_jax.training.data.photos import photos_place

USAGE = """Trains the feed-forward model, or a segmenter. The same command continues a run.

{command} --workdir runs/x --photos DIR --style person=A.jpg --style background=B.jpg [--masks DIR]
{command} --config person_segmenter --workdir runs/x --photos DIR --masks DIR
"""
PRESETS = ("fast", "fast_pod", "any", "segmenter", "person_segmenter")  # the first is the default
TASK_RUNS = {"stylizer": Run.STYLIZER, "any_stylizer": Run.ANY_STYLIZER, "segmenter": Run.SEGMENTER}


def define_flags(values: flags.FlagValues) -> None:
    """The flags of the command, but for --config."""
    flags.DEFINE_string(
        "workdir", None, "Folder of the run: checkpoints, samples, metrics, the model.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "photos", [], "Folder of photos, also packed, or tfds:NAME; can be repeated.", flag_values=values
    )
    flags.DEFINE_multi_string(
        "masks",
        [],
        "Folder of masks named like the photos; without it, those packed with them, or the segmenter's.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "style", [], "REGION=FILE: the painting that a region takes its style from.", flag_values=values
    )
    define_import(values)
    define_deterministic(values)
    flags.DEFINE_boolean("restart", False, "Remove what an earlier run left in the workdir.", flag_values=values)
    flags.DEFINE_integer(
        "profile",
        0,
        "Traces so many steps into WORKDIR/profile, for TensorBoard's profile page.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_boolean("quiet", False, "No progress bar and no messages but errors.", flag_values=values)


def main(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code, see `run_command`."""
    return run_command(
        argv,
        _run,
        smaller="--config.batch or --config.size",
        interrupted="interrupted; the same command continues the run, from its newest checkpoint if there is one",
    )


def _run(argv: Sequence[str]) -> int:
    command = parse_command(argv, USAGE, define_flags, PRESETS, _template)
    with hint_of_imports(command.missing_imports):
        return _run_command(command)


def _run_command(command: Command) -> int:
    configure_logging(command.flags.quiet)
    if command.arguments:
        raise UserError(f"{' '.join(command.arguments)} belongs to no flag; photos are given with --photos DIR")
    resolve_config_paths(command.config, ("segmenter", "start"))
    kind = TASK_RUNS.get(command.config.task)  # none for a registered one, whose fields are its own
    if kind:
        given = Given(command.given, command.overrides, command.config, masked="masks" in command.given)
        warn_of_inert(kind, TRAIN_FIELDS, given)  # flags that do not act are refused by the task itself
    prepare_xla(deterministic=command.flags.deterministic)
    initialize_distributed()
    start_device()
    return run(command.config, run_on_all_hosts(lambda: _build_job(command)))


def _template(config: ConfigDict) -> ConfigDict:
    """The preset of the same task; for a registered task, its own fields and those that all tasks share."""
    if not hasattr(config, "task"):
        names = f"{', '.join(PRESETS[:-1])} or {PRESETS[-1]}"
        raise UserError(f"the config is not for training: it has no task; derive it from {names}")
    check_task(config)
    if config.task in TASKS:
        return _own_template(config)
    presets = (load_preset(name).get_config() for name in PRESETS)
    return next(preset for preset in presets if preset.task == config.task)


def _own_template(config: ConfigDict) -> ConfigDict:
    shared = {
        name: value
        for name, value in load_preset(PRESETS[0]).get_config().items()
        if name != "start" and TRAIN_FIELDS[name] == TRAINING
    }
    return ConfigDict({**config.to_dict(), **shared, "task": config.task})


def _build_job(command: Command) -> TrainJob:
    values = command.flags
    if not values.workdir:
        raise UserError("no folder for the run was given; add --workdir DIR")
    if not values.photos:
        raise UserError("no photos were given; add --photos DIR")
    bucket = values.workdir if is_remote(values.workdir) else ""
    return TrainJob(
        workdir=Path() if bucket else user_path(values.workdir, "--workdir"),
        bucket=bucket,
        photos=[photos_place(place) for place in values.photos],
        styles=parse_single_styles(values.style),
        masks=[str(input_path(place, "--masks")) for place in values.masks],
        restart=values.restart,
        quiet=values.quiet,
        imports=command.imports,
        profile=values.profile,
    )
