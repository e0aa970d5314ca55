"""What an earlier run of --regions-only left under the same name, and which of its masks hold the work of a user."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from msst_jax.regions.absent import mask_file_name

ABSENT = "not_found"  # the key of the JSON for regions that were asked for, whose masks are empty
BLACK = ((0, 0), (0, 0), (0, 0), (255, 255))  # the extrema of an opaque, empty RGBA picture
EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")  # Pillow's modes whose RGBA loses nothing


class Earlier(NamedTuple):
    """What an earlier run wrote under the same name, by its sidecar."""

    masks: dict[str, str]
    """{region: name of its mask file}."""
    absent: tuple[str, ...]
    """The regions whose masks it wrote empty, to be painted on."""

    def painted(self, output: Path, absent: Collection[str], written: Collection[str]) -> list[str]:
        """The regions whose files hold the work of a user: whatever is there and is neither empty nor a found mask.

        Only a sidecar tells what was found: without one, or with that of another command, the files are the user's.

        Args:
          output: the overlay.
          absent: the regions that are asked for now and not in the photo.
          written: the regions that get a mask now.
        """
        found = {file for name, file in self.masks.items() if name not in self.absent}
        candidates = dict.fromkeys([*absent, *(name for name in self.absent if name in self.masks)])
        return [
            name
            for name in candidates
            if name not in written and (path := mask_path(output, name)).name not in found and is_painted(path)
        ]


def mask_path(output: Path, name: str) -> Path:
    """masks.jpg, "person#1" to masks_person-1.png; masks are stored without loss."""
    return output.with_name(mask_file_name(output.stem, name))


def earlier_run(output: Path, sidecar: Path) -> Earlier:
    """What an earlier run wrote; nothing if there is no such sidecar. Only files that are called as it calls them."""
    try:
        content = json.loads(sidecar.read_text())
        masks = content["masks"].items() if "shares" in content else ()
        absent = tuple(map(str, content.get(ABSENT, ())))
        return Earlier({name: file for name, file in masks if file == mask_path(output, name).name}, absent)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Earlier({}, ())


def is_painted(mask: Path) -> bool:
    """Whether a file exists and is anything but an opaque, black picture; what cannot be read may be of value, too."""
    if not mask.exists():
        return False
    try:
        with Image.open(mask) as picture:
            return picture.mode not in EIGHT_BITS or picture.convert("RGBA").getextrema() != BLACK
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True
