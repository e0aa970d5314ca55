"""Reads the JSON beside an output as the config of that run, so that `--config out.json` repeats it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from msst_jax.errors import UnknownNameError, UserError, first_line
from msst_jax.presets.lookup import load_preset
from msst_jax.presets.renamed import with_present_names
from msst_jax.registry import IMPORT_HINT

DEFAULT, BEFORE_GUIDED = "photo", "photo_separate"  # the default, and that of when configs had no field `guided`
GIVEN_FLAGS = ("metadata", "quality", "subsampling", "rate", "start", "end", "ending", "sweep")


class RecordedRun(NamedTuple):
    """A run as its JSON records it.

    Attributes:
      fields: of its config.
      flags: the flags that the config does not hold, by name; what the command line says takes precedence.
      imports: modules that were imported. They are not imported again by themselves: a JSON runs no code.
    """

    fields: dict[str, Any]
    flags: dict[str, Any]
    imports: tuple[str, ...] = ()


def read_recorded_run(path: Path) -> RecordedRun:
    """The run of a JSON file: that beside a picture or video, or config.json of a workdir of train.py.

    Raises:
      UserError: no JSON, or none of a run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--config {path} cannot be read as JSON ({error}); give the JSON that a run wrote") from error
    config = record.get("config") if isinstance(record, dict) else None
    if not isinstance(config, dict) or not config:
        raise UserError(f"--config {path} is not the JSON of a run: it has no config; give the one beside an output")
    fields = {name: _to_tuple(value) for name, value in with_present_names(config).items()}
    imports = tuple(map(str, record["imports"])) if isinstance(record.get("imports"), list) else ()
    if "task" in fields:
        return RecordedRun(fields, {}, imports)
    fields["photo"] = record.get("photo", fields.get("photo", ""))
    segmenter = record.get("segmenter")
    if not fields.get("segmenter") and isinstance(segmenter, dict):
        fields["segmenter"] = segmenter.get("name", "")  # the one that was the best available then
    return RecordedRun(fields, _flags(record), imports)


def recorded_config(recorded: RecordedRun, template: Callable[[ConfigDict], ConfigDict]) -> ConfigDict:
    """The config of an earlier run; fields that it did not have yet are those of the template.

    Raises:
      UserError: a field that no config has, or a value of another type.
    """
    config = template(ConfigDict(recorded.fields)).copy_and_resolve_references()
    unknown = [name for name in recorded.fields if name not in config]
    if unknown:
        raise UserError(f"the JSON given as --config has a field {unknown[0]!r}, which no config has; remove it")
    try:
        config.update(recorded.fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"the JSON given as --config has a value of another type ({first_line(error)})") from error
    return config


def stylization_template(config: ConfigDict) -> ConfigDict:
    """The preset that a config for photos must have the fields of: the default one, for a JSON that of its time."""
    return load_preset(DEFAULT if hasattr(config, "guided") else BEFORE_GUIDED).get_config()


@contextmanager
def hint_of_imports(missing: Sequence[str]) -> Iterator[None]:
    """Says of names that are unknown within the block which modules the run of a JSON had imported.

    Args:
      missing: of `RecordedRun.imports` those that this process was not told to import.

    Raises:
      UnknownNameError: as in the block.
    """
    try:
        yield
    except UnknownNameError as error:
        if not missing:
            raise
        needed = " ".join(f"--import {name}" for name in missing)
        raise UserError(
            f"{str(error).removesuffix(f'; {IMPORT_HINT}')}; the run of --config had {needed}: add it"
        ) from error


def _flags(record: Mapping[str, Any]) -> dict[str, Any]:
    if "shares" in record:
        return {"regions-only": True}
    model = record.get("model")
    flags = {
        "seed": record.get("seed", 0),
        "model": model.get("name", "") if isinstance(model, dict) else "",
        "blend": _blend(record),
    }
    flags.update(_given_flags(record))
    return {name: value for name, value in flags.items() if value is not None}


def _given_flags(record: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that no other part of the record holds, and the ending of the output that some of them are for."""
    given = record.get("flags")
    return {name: given[name] for name in GIVEN_FLAGS if name in given} if isinstance(given, dict) else {}


def _blend(record: Mapping[str, Any]) -> str | None:
    """The value of --blend: a ratio, several of a photo, or SECONDS:RATIO,... of a video; None if there is none."""
    schedule, ratio = record.get("blend"), record.get("blend_ratio")
    if isinstance(schedule, dict):
        points = [*zip(schedule.get("seconds", ()), schedule.get("ratios", ()), strict=False)]
        if len(points) == 1:  # the same at all times, and so of a photo, too
            return str(points[0][1])
        return ",".join(f"{seconds}:{value}" for seconds, value in points) or None
    ratios = ratio if isinstance(ratio, list) else [ratio]
    return None if ratio is None else ",".join(map(str, ratios))


def _to_tuple(value: Any) -> Any:
    """JSON has lists where a config has tuples."""
    return tuple(map(_to_tuple, value)) if isinstance(value, list) else value
