"""The JSON file that the program writes beside a picture, read back: which pictures are its outputs."""

import json
from pathlib import Path
from typing import Any

from msst_jax.io.files import is_special_file


def read_sidecar(picture: Path) -> dict[str, Any]:
    """The content of the JSON file beside a picture; empty if there is none, or if another program wrote it."""
    path = picture.with_suffix(".json")
    if is_special_file(path):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if "msst_jax" in content["versions"] else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def exported_masks(sidecar: dict[str, Any]) -> list[str]:
    """The names of the mask files beside an overlay of --regions-only, by its sidecar; none for other pictures."""
    masks = sidecar.get("masks")
    return [*map(str, masks.values())] if "shares" in sidecar and isinstance(masks, dict) else []
