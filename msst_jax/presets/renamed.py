"""Fields that configs of earlier versions had under another name: records of runs go on, new commands are told."""

from collections.abc import Mapping
from typing import Any

from msst_jax.models.precision import PRECISIONS

RENAMED = {"dtype": "precision"}
VALUES: Mapping[str, Mapping[Any, Any]] = {"dtype": {"float32": "default"}}
"""{earlier name: {earlier value: that of today}}; other values are the same."""
CHOICES = {"precision": tuple(PRECISIONS)}


def with_present_names(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields that a run of any version has recorded, as today's; a field that has both names is left alone.

    Args:
      fields: {name: value}.
      prefix: of the names.
    """
    present = dict(fields)
    for old, new in RENAMED.items():
        if prefix + old in present and prefix + new not in present:
            value = present.pop(prefix + old)
            known = isinstance(value, str) and value in VALUES[old]
            present[prefix + new] = VALUES[old][value] if known else value
    return present


def describe_renamed(name: str) -> str:
    """What a field of an earlier version is called today, for an error; "" for any other name."""
    new = RENAMED.get(name)
    return f"config.{name} is now config.{new}; use one of {', '.join(CHOICES[new])}" if new else ""
