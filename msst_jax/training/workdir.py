"""The workdir of a training run: records its config, styles and input files, and checks that a resumed run matches."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msst_jax.errors import UserError
from msst_jax.io.files import write_atomically, write_json
from msst_jax.models.serialization import MODEL_FILE

CONFIG_FILE = "config.json"
FILES_FILE = "used_files.json"  # a file of its own: thousands of photos would bury the config
# Fields that may change when a run continues: they do not affect the result.
MUTABLE_FIELDS = ("workers", "log_every", "sample_every", "checkpoint_every", "keep_last", "keep_every")
STYLES = "styles"
RUN_FOLDERS = ("checkpoints", "samples", "masks", STYLES)


def prepare_workdir(
    workdir: Path,
    config: Mapping[str, Any],
    photos: Sequence[str],
    styles: Mapping[str, str],
    masks: Sequence[str],
    used: Mapping[str, Mapping[str, int]],
    *,
    restart: bool = False,
) -> None:
    """Creates the workdir of a run, or checks that it belongs to the same run.

    Writes config.json, used_files.json and a copy of every style image (styles/REGION.ENDING).

    Args:
      workdir: the folder.
      config: of the run.
      photos: folders of photos, or tfds:NAME.
      styles: {region: file}.
      masks: folders of masks.
      used: {"photos": {file: size}, "masks": {file: size}}; the order and crops of a resumed run depend on them.
      restart: first remove the files of an earlier run.

    Raises:
      UserError: the folder belongs to another run (names what differs), or is unwritable.
    """
    _check_outside(workdir, [*photos, *masks, *styles.values()])
    files = {region: {"file": Path(file).name, "sha256": _sha256(Path(file))} for region, file in styles.items()}
    record = {"config": dict(config), "photos": [*photos], "masks": [*masks], "styles": files}
    run = json.loads(json.dumps(record))  # tuples become lists, as they will when read back
    if restart and (workdir / CONFIG_FILE).exists():
        clear_workdir(workdir)
    if (workdir / CONFIG_FILE).exists():
        _check_same_run(workdir, run, used)
    else:
        _create(workdir, run, styles, used)


def _check_same_run(workdir: Path, run: Mapping[str, Any], used: Mapping[str, Mapping[str, int]]) -> None:
    """Raises UserError if the run in the workdir is another one, or its files have changed."""
    changes = differences(_read(workdir / CONFIG_FILE), run) or _changed_files(workdir / FILES_FILE, used)
    if changes:
        raise UserError(
            f"workdir {workdir} holds another run: {'; '.join(changes)}; take another --workdir, or start again "
            "with --restart"
        )
    if not (workdir / FILES_FILE).exists():  # the run is of a version that did not write it
        write_json({**used}, workdir / FILES_FILE)


def _create(
    workdir: Path, run: Mapping[str, Any], styles: Mapping[str, str], used: Mapping[str, Mapping[str, int]]
) -> None:
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
      UserError: its config.json cannot be read.
    """
    config = _read(workdir / CONFIG_FILE).get("config") if (workdir / CONFIG_FILE).exists() else None
    return config.get(field) if isinstance(config, dict) else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences between two runs (contents of CONFIG_FILE), a phrase each."""
    phrases = []
    old_config, new_config = old.get("config", {}), new["config"]
    for field in sorted({*old_config, *new_config} - {*MUTABLE_FIELDS}):
        if old_config.get(field) != new_config.get(field):
            phrases.append(f"config.{field} was {old_config.get(field)!r}, now {new_config.get(field)!r}")
    for field in ("photos", "masks"):
        if old.get(field) != new[field]:
            phrases.append(f"{field} were {old.get(field)}, now {new[field]}")
    old_styles = {region: style["sha256"] for region, style in old.get("styles", {}).items()}
    new_styles = {region: style["sha256"] for region, style in new["styles"].items()}
    if list(old_styles.items()) != list(new_styles.items()):
        phrases.append(f"the styles were of {', '.join(old_styles)}, now {', '.join(new_styles)}, or other images")
    return phrases


def _changed_files(record: Path, used: Mapping[str, Mapping[str, int]]) -> list[str]:
    """How the files of a run have changed since it started: a phrase, or none.

    Masks come and go with their photos, so they are reported only if the photos are the same.
    """
    recorded = _read(record) if record.exists() else used
    for field, new in used.items():
        old = recorded.get(field, {})
        lists = {
            "added": [name for name in new if name not in old],
            "removed": [name for name in old if name not in new],
            "of another size": [name for name in new if old.get(name, new[name]) != new[name]],
        }
        changes = [f"{len(names)} {change} (the first: {names[0]})" for change, names in lists.items() if names]
        if changes:
            return [f"the {field} have changed: {', '.join(changes)}"]
    return []


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
    if not {"config", "photos", "masks", "styles"} <= _read(workdir / CONFIG_FILE).keys():
        raise UserError(
            f"{workdir / CONFIG_FILE} was not written by train.py, so nothing is removed; take another --workdir"
        )
    for name in RUN_FOLDERS:
        shutil.rmtree(workdir / name, ignore_errors=True)
    for pattern in (CONFIG_FILE, FILES_FILE, "metrics.jsonl", MODEL_FILE, "events.out.tfevents.*"):
        for path in workdir.glob(pattern):
            path.unlink()


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"style {path} cannot be read ({error.strerror}); check the name") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); take another --workdir, or use --restart") from error
