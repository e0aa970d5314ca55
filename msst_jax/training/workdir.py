"""The folder of a training run: its config and styles; one run a folder."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.io.files import write_atomically, write_json
from msst_jax.models.serialization import MODEL_FILE

CONFIG_FILE = "config.json"
FILES_FILE = "used_files.json"  # beside it: photos in their thousands would bury the config
# What may change when a run goes on: it does not change what is computed.
MUTABLE_FIELDS = ("workers", "log_every", "sample_every", "checkpoint_every", "keep_last", "keep_every")
STYLES = "styles"
RUN_FOLDERS = ("checkpoints", "samples", "masks", STYLES)  # folders of a run


def prepare_workdir(
    workdir: Path,
    config: ConfigDict,
    photos: Sequence[str],
    styles: Mapping[str, str],
    masks: Sequence[str],
    used: Mapping[str, Mapping[str, int]],
    *,
    restart: bool = False,
) -> None:
    """Makes the folder of a run, or checks that it belongs to the same run.

    Writes config.json, used_files.json and a copy of every style picture (styles/REGION.ENDING).

    Args:
      workdir: the folder.
      config: of the run.
      photos: where the photos are.
      styles: {region: file}.
      masks: folders of masks.
      used: {"photos": {file: size}, "masks": {file: size}}; order and crops of a run that goes on depend on them.
      restart: removes what an earlier run left there.

    Raises:
      UserError: the folder belongs to another run (names what differs), or is unwritable.
    """
    _check_outside(workdir, [*photos, *masks, *styles.values()])
    files = {region: {"file": Path(file).name, "sha256": _sha256(Path(file))} for region, file in styles.items()}
    run = {"config": config.to_dict(), "photos": [*photos], "masks": [*masks], "styles": files}
    wanted = json.loads(json.dumps(run))  # tuples become lists, as they will when read back
    place = workdir / CONFIG_FILE
    if restart and place.exists():
        clear_workdir(workdir)
    if place.exists():
        differing = differences(_read(place), wanted) or _changed(workdir / FILES_FILE, used)
        if differing:
            raise UserError(
                f"workdir {workdir} holds another run: {'; '.join(differing)}; take another --workdir, or begin anew "
                "with --restart"
            )
        if not (workdir / FILES_FILE).exists():  # of a version that did not write it: from now on it is known
            write_json({**used}, workdir / FILES_FILE)
        return
    if any(
        (workdir / name).exists() for name in RUN_FOLDERS if name != STYLES
    ):  # a kill may have left the styles alone
        names = ", ".join(name for name in RUN_FOLDERS if (workdir / name).exists())
        raise UserError(f"workdir {workdir} has {names} of its own, where a run would write; take another --workdir")
    for region, file in styles.items():
        target = workdir / STYLES / f"{region}{Path(file).suffix}"
        write_atomically(target, lambda name, file=file: shutil.copyfile(file, name))  # type: ignore[misc]
    write_json({**used}, workdir / FILES_FILE)
    write_json(wanted, place)  # last, since it makes the folder that of a run


def recorded_field(workdir: Path, field: str) -> Any:
    """config.FIELD of the run in a folder; None if there is no run.

    Raises:
      UserError: its config.json cannot be read.
    """
    config = _read(workdir / CONFIG_FILE).get("config") if (workdir / CONFIG_FILE).exists() else None
    return config.get(field) if isinstance(config, dict) else None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What keeps two runs from being one, a phrase each."""
    phrases = []
    old, new = found.get("config", {}), wanted["config"]
    for field in sorted({*old, *new} - {*MUTABLE_FIELDS}):
        if old.get(field) != new.get(field):
            phrases.append(f"config.{field} was {old.get(field)!r}, now {new.get(field)!r}")
    for field in ("photos", "masks"):
        if found.get(field) != wanted[field]:
            phrases.append(f"{field} were {found.get(field)}, now {wanted[field]}")
    was = {region: style["sha256"] for region, style in found.get("styles", {}).items()}
    now = {region: style["sha256"] for region, style in wanted["styles"].items()}
    if list(was.items()) != list(now.items()):
        phrases.append(f"the styles were of {', '.join(was)}, now {', '.join(now)}, or other pictures")
    return phrases


def _changed(place: Path, used: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What has happened to the files of a run since it began: a phrase, or none.

    Masks come and go with their photos, so they are told of only where the photos are the same.
    """
    found = _read(place) if place.exists() else used
    for field, now in used.items():
        was = found.get(field, {})
        lists = {
            "added": [name for name in now if name not in was],
            "removed": [name for name in was if name not in now],
            "of another size": [name for name in now if was.get(name, now[name]) != now[name]],
        }
        told = [f"{len(names)} {what} (the first: {names[0]})" for what, names in lists.items() if names]
        if told:
            return [f"the {field} have changed: {', '.join(told)}"]
    return []


def _check_outside(workdir: Path, inputs: Sequence[str]) -> None:
    """Raises UserError if an input lies where a run writes, and where --restart would remove it."""
    for name in inputs:
        for folder in RUN_FOLDERS:
            if Path(name).resolve().is_relative_to((workdir / folder).resolve()):
                raise UserError(f"{name} lies in {workdir / folder}, which the run writes; take another --workdir")


def clear_workdir(workdir: Path) -> None:
    """Removes what a run wrote, and nothing else.

    Raises:
      UserError: there is no run.
    """
    if not {"config", "photos", "masks", "styles"} <= _read(workdir / CONFIG_FILE).keys():
        raise UserError(
            f"{workdir / CONFIG_FILE} is not of train.py, so nothing there is removed; take another --workdir"
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
