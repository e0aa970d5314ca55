"""What a workdir records of its run, config.json and used_files.json, and how another run differs from it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from msst_jax.errors import UserError, first_line
from msst_jax.io.fingerprint import Fingerprint, changes, is_fingerprint
from msst_jax.presets.renamed import with_present_names

CONFIG_FILE = "config.json"
FILES_FILE = "used_files.json"  # a file of its own: thousands of photos would bury the config
FREE_FIELDS = ("workers", "log_every", "sample_every", "checkpoint_every", "keep_last", "keep_every")
"""Fields that may change when a run continues: they do not affect the result."""
STEPS = "steps"  # may change too, down to the steps that are done
WEIGHTS_FIELDS = ("segmenter", "start")
"""Fields that may name a file of weights, which counts by its content."""
LATER_FIELDS = {
    "architecture": "stylizer",
    "start": "",
    "temporal_weight": 0.0,
    "region_weights": [],
    "segmenter_network": "person_vgg16",
    "classes": ["person"],
    "encoder_rate": 1.0,
    "accumulate": 1,
}
"""Fields that earlier versions did not record, with the values that they had then."""
FOLDERS = ("photos", "masks")
WAYS_OUT = "take another --workdir, or start again with --restart, which deletes its checkpoints and model"


def read_run(workdir: Path) -> dict[str, Any]:
    """The content of config.json, with the fields of the config under the names of today.

    Raises:
      UserError: it is damaged, or not of a run.
    """
    path = workdir / CONFIG_FILE
    try:
        run, reason = json.loads(path.read_text(encoding="utf-8")), "its fields are not those of a run"
    except (OSError, ValueError) as error:
        run, reason = None, first_line(error)
    if _is_run(run):
        return {**run, "config": with_present_names(run["config"])}
    if not (workdir / FILES_FILE).exists():
        raise UserError(f"{path} was not written by train.py, or is damaged ({reason}); take another --workdir")
    raise UserError(f"{path} is damaged ({reason}), so its run cannot go on; {WAYS_OUT}")


def _is_run(content: Any) -> bool:
    types = {"config": dict, "photos": list, "masks": list, "styles": dict}
    return isinstance(content, dict) and all(isinstance(content.get(name), kind) for name, kind in types.items())


def read_files(workdir: Path, run: Mapping[str, Any]) -> dict[str, Fingerprint] | None:
    """The content of used_files.json; None, with a warning, if it is missing or damaged.

    Args:
      workdir: the folder.
      run: the content of config.json.
    """
    path = workdir / FILES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {**content, **{field: _by_relative_names(content[field], run[field]) for field in FOLDERS}}
        if not all(map(is_fingerprint, files.values())):
            raise TypeError
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
        logging.warning("%s %s: photos and masks are taken to be those of the start", path, reason)
        return None
    return files


def _by_relative_names(files: Mapping[str, Any], folders: Sequence[str]) -> Fingerprint:
    """{path: bytes}, as earlier versions recorded files, by names relative to their folders; others unchanged."""
    if not all(isinstance(size, int) for size in files.values()):
        return dict(files)
    roots = [Path(folder).expanduser() for folder in folders]
    return {_relative_name(path, roots): [size, ""] for path, size in files.items()}


def _relative_name(path: str, roots: Sequence[Path]) -> str:
    """As from `relative_names`; what is in none of the folders, such as a dataset, keeps its name."""
    for number, root in enumerate(roots):
        if root in Path(path).parents:
            name = Path(path).relative_to(root).as_posix()
            return f"{number}/{name}" if len(roots) > 1 else name
    return path


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], recorded: Mapping[str, Fingerprint], used: Mapping[str, Fingerprint]
) -> list[str]:
    """The differences between two runs (their config.json and used files), a phrase each."""
    contents = {field for field in used if field in recorded} - {*FOLDERS}
    phrases = _changed_fields(old["config"], new["config"], {*FREE_FIELDS, STEPS, *contents})
    for field in sorted(contents):
        if change := changes(recorded[field], used[field]):
            weights = field in WEIGHTS_FIELDS
            phrases.append(f"the {f'weights of config.{field} are' if weights else f'{field} have changed:'} {change}")
    phrases += _changed_styles(old["styles"], new["styles"])
    return phrases or _changed_files(recorded, used)


def _changed_fields(old: Mapping[str, Any], new: Mapping[str, Any], free: set[str]) -> list[str]:
    old = {**{name: value for name, value in LATER_FIELDS.items() if name in new}, **old}
    fields = sorted({*old, *new} - free)
    return [
        f"config.{field} was {old.get(field)!r}, now {new.get(field)!r}"
        for field in fields
        if old.get(field) != new.get(field)
    ]


def _changed_styles(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    if [*old] != [*new]:
        return [f"the styles were of {', '.join(old) or 'no region'}, now {', '.join(new) or 'none'}"]
    other = [region for region in new if old[region]["sha256"] != new[region]["sha256"]]
    return [f"the style of {', '.join(other)} is another picture"] if other else []


def _changed_files(recorded: Mapping[str, Fingerprint], used: Mapping[str, Fingerprint]) -> list[str]:
    """How photos or masks have changed since the run started: a phrase, or none.

    Masks come and go with their photos, so they are reported only if the photos are the same.
    """
    for field in FOLDERS:
        if change := changes(recorded[field], used[field]):
            return [f"the {field} have changed: {change}"]
    return []
