"""Reads the JSON beside an output as the config of that run, so that `--config out.json` repeats it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msst_jax.errors import UserError

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
    fields = {name: _to_tuple(value) for name, value in config.items()}
    imports = tuple(map(str, record["imports"])) if isinstance(record.get("imports"), list) else ()
    if "task" in fields:
        return RecordedRun(fields, {}, imports)
    fields["photo"] = record.get("photo", fields.get("photo", ""))
    segmenter = record.get("segmenter")
    if not fields.get("segmenter") and isinstance(segmenter, dict):
        fields["segmenter"] = segmenter.get("name", "")  # the one that was the best available then
    return RecordedRun(fields, _flags(record), imports)


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
