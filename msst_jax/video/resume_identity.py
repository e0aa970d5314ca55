"""The record of the run that a resume folder is of, and what differs between it and another one."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from msst_jax.io.fingerprint import SINGLE, Fingerprint, changes, is_fingerprint
from msst_jax.presets.renamed import with_present_names

RUN_FILE = "run.json"
PLAN = "plan"
"""The field of RUN_FILE that has the `ChunkPlan`."""
SEGMENTER_WEIGHTS = "weights of the segmenter"
FILES, NAMED_FILES = ("clip", SEGMENTER_WEIGHTS), ("styles", "masks")
"""The fields of RUN_FILE that are fingerprints, and those that have one for each region."""
PART = "part"
"""The field that says which part of the clip is stylized."""
MAX_PHRASE = 60  # characters of a change that is spelled out
LATER_FIELDS = {
    "config.remat": False,
    "config.precondition": 0.0,
    "config.history_dtype": "float32",
    "config.tiles": "auto",
    "config.devices": 1,
}
"""Fields that earlier versions did not record, with the values that they had then."""


def read_run(folder: Path) -> dict[str, Any]:
    """The content of RUN_FILE, with what earlier versions did not record.

    Raises:
      OSError, ValueError, TypeError: it is missing or damaged.
    """
    content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    return {**LATER_FIELDS, **with_present_names(content, "config.")}


def recorded_batch(folder: Path) -> int | None:
    """The frames of a batch of the run that a resume folder is of; None if there is none, or it is damaged."""
    try:
        batch = read_run(folder)[PLAN]["batch"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return batch if type(batch) is int and batch > 0 else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two runs (contents of RUN_FILE): names, with what changed where that is short."""
    return [f"{name}{detail}" for name in new if (detail := _difference(name, old.get(name), new[name])) is not None]


def _difference(name: str, old: Any, new: Any) -> str | None:
    """None if there is none."""
    if name in FILES:
        change = changes(_by_name(old, new), new) if old is not None else ""  # as of an earlier version
        return f" ({change})" if change else None
    if name in NAMED_FILES and isinstance(old, dict):
        if [*old] != [*new]:  # the order is that of the regions
            return ""
        found = [(region, changes(_by_name(old[region], files), files)) for region, files in new.items()]
        phrases = [f"{region} {change}" for region, change in found if change]
        return f" ({', '.join(phrases)})" if phrases else None
    if old == new:
        return None
    if name == PART:
        return f" ({_describe_part(old)}, now {_describe_part(new)})"
    phrase = f" ({old!r}, now {new!r})"
    return phrase if len(phrase) < MAX_PHRASE else ""


def _describe_part(part: Any) -> str:
    """What RUN_FILE says of a part, [start, end] as texts, in words."""
    if part is None:
        return "the whole"
    try:
        start, end = (None if side == "None" else float(Fraction(side)) for side in part)
    except (TypeError, ValueError):
        return "another"
    return f"from {start or 0:g} s to {'the end' if end is None else f'{end:g} s'}"


def _by_name(old: Any, new: Fingerprint) -> Fingerprint:
    """A fingerprint, also of an earlier version: [[name, bytes, time of change], ...], of which the time is dropped."""
    if is_fingerprint(old):
        return dict(old)
    entries = [entry for entry in old if isinstance(entry, list)] if isinstance(old, list) else []
    files = {name: [size, ""] for name, size, *_ in entries}
    return dict(zip(new, files.values(), strict=True)) if [*new] == [SINGLE] and len(files) == 1 else files
