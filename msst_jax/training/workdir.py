"""The workdir of a training run: creates it, checks that a resumed run is the same, and clears it."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.files import remove_temporary_files, write_atomically, write_json
from msst_jax.io.fingerprint import Fingerprint
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.training.metrics import METRICS_FILE
from msst_jax.training.run_record import CONFIG_FILE, FILES_FILE, STEPS, WAYS_OUT, differences, read_files, read_run

STYLES = "styles"
MASKS = "masks"
CHECKPOINTS = "checkpoints"
PROFILE = "profile"
EVENTS = "events.out.tfevents."
RUN_ID = "run_id.txt"  # of a run in a bucket: tells it from a later one in the same place
RUN_FILES = (CONFIG_FILE, FILES_FILE, METRICS_FILE, MODEL_FILE, RUN_ID)
RUN_FOLDERS = (CHECKPOINTS, "samples", MASKS, STYLES, PROFILE)


def prepare_workdir(
    workdir: Path,
    config: Mapping[str, Any],
    photos: Sequence[str],
    styles: Mapping[str, str],
    masks: Sequence[str],
    used: Mapping[str, Fingerprint],
    *,
    restart: bool = False,
    imports: Sequence[str] = (),
) -> None:
    """Creates the workdir of a run, or checks that it belongs to the same run.

    Writes config.json, used_files.json and a copy of every style image (styles/REGION.ENDING). What counts is the
    content of files, not where they lie.

    Args:
      workdir: the folder.
      config: of the run.
      photos: folders of photos, or tfds:NAME.
      styles: {region: file}.
      masks: folders of masks.
      used: the fingerprints of "photos" and "masks", on which order and crops depend, and of the weights that
        config.segmenter and config.start name.
      restart: first remove the files of an earlier run.
      imports: modules of the user's that were imported; they are recorded, and may change.

    Raises:
      UserError: the folder belongs to another run (names what differs), is damaged or unwritable, or config.steps are
        fewer than those done.
    """
    _check_outside(workdir, [*photos, *masks, *styles.values()])
    record = {"config": dict(config), "photos": [*photos], "masks": [*masks], "styles": style_files(styles)}
    if imports:
        record["imports"] = [*imports]
    run = json.loads(json.dumps(record))  # tuples become lists, as they will when read back
    if restart and any((workdir / name).exists() for name in (CONFIG_FILE, FILES_FILE)):
        clear_workdir(workdir)
    if (workdir / CONFIG_FILE).exists():
        _continue(workdir, run, used)
    else:
        _create(workdir, run, styles, used)


def style_files(styles: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """{region: name and content of its painting}, JSON; UserError if one cannot be read."""
    return {region: {"file": Path(file).name, "sha256": _sha256(Path(file))} for region, file in styles.items()}


def _continue(workdir: Path, run: dict[str, Any], used: Mapping[str, Fingerprint]) -> None:
    """Records what may change; UserError if the run in the workdir is another one, or its files have changed."""
    old = read_run(workdir)
    recorded = read_files(workdir, old)
    if found := differences(old, run, recorded or used, used):
        raise UserError(f"workdir {workdir} holds another run: {'; '.join(found)}; {WAYS_OUT}")
    _check_steps(workdir, old["config"][STEPS], run["config"][STEPS])
    if recorded != used:  # those of an earlier version are without contents
        write_json({**used}, workdir / FILES_FILE)
    if old != run:
        write_json(run, workdir / CONFIG_FILE)
    _remove_temporary_files(workdir)


def _remove_temporary_files(workdir: Path) -> None:
    """Removes what a killed run has left of files that it was writing."""
    for name in RUN_FILES:
        remove_temporary_files(workdir, name)
    for name in RUN_FOLDERS:
        if name != CHECKPOINTS:  # they have a way of their own
            for folder in (workdir / name, *(path for path in (workdir / name).glob("*") if path.is_dir())):
                remove_temporary_files(folder)


def _check_steps(workdir: Path, before: int, steps: int) -> None:
    """Says that the steps have changed; UserError if the run has taken more already."""
    done = newest_checkpoint(workdir)
    if steps < done:
        raise UserError(
            f"config.steps is {steps}, but the run in {workdir} has taken {done}; give at least {done}, or another "
            "--workdir"
        )
    if steps != before:
        logging.info("config.steps was %d, now %d: from here on the learning rate falls to 0 there", before, steps)


def newest_checkpoint(workdir: Path) -> int:
    """The step of the newest checkpoint of a run; 0 if there is none."""
    folder = workdir / CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _create(workdir: Path, run: Mapping[str, Any], styles: Mapping[str, str], used: Mapping[str, Fingerprint]) -> None:
    """Writes the files of a new run; UserError if the folder holds files where it would write."""
    if any((workdir / name).exists() for name in RUN_FOLDERS if name != STYLES):  # a killed run may have left styles
        names = ", ".join(name for name in RUN_FOLDERS if (workdir / name).exists())
        raise UserError(f"workdir {workdir} has {names} of its own, where a run would write; take another --workdir")
    for region, file in styles.items():
        target = workdir / STYLES / f"{region}{Path(file).suffix}"
        write_atomically(target, lambda name, file=file: shutil.copyfile(file, name))  # type: ignore[misc]
    write_json({**used}, workdir / FILES_FILE)
    write_json({**run}, workdir / CONFIG_FILE)  # last, since it marks the folder as a run's


def recorded_field(workdir: Path, field: str) -> Any:
    """config.FIELD of the run in a workdir; None if there is no run.

    Raises:
      UserError: its config.json is damaged, or not of a run.
    """
    return read_run(workdir)["config"].get(field) if (workdir / CONFIG_FILE).exists() else None


def _check_outside(workdir: Path, inputs: Sequence[str]) -> None:
    """Raises UserError if an input lies in a folder that a run writes, and that --restart would remove."""
    for name in inputs:
        for folder in RUN_FOLDERS:
            if Path(name).resolve().is_relative_to((workdir / folder).resolve()):
                raise UserError(f"{name} lies in {workdir / folder}, which the run writes; take another --workdir")


def clear_workdir(workdir: Path) -> None:
    """Removes the files that a run wrote, and nothing else.

    Raises:
      UserError: there is no run.
    """
    if not (workdir / FILES_FILE).exists():  # beside it, a damaged config.json too is that of a run
        read_run(workdir)
    _remove_temporary_files(workdir)
    for name in RUN_FOLDERS:
        shutil.rmtree(workdir / name, ignore_errors=True)
        if (workdir / name).is_file():
            (workdir / name).unlink()
    for pattern in (*RUN_FILES, f"{EVENTS}*"):
        for path in workdir.glob(pattern):
            path.unlink()


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"style {path} cannot be read ({error.strerror}); check the name") from error
