"""The pictures of a folder: what counts as one, and what is left out, by name.

Hidden files (.DS_Store, ._a.jpg) never count, and neither do files that are no pictures by their names. Pipes, sockets
and devices are never opened, whatever they are called.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.files import is_special_file
from msst_jax.io.picture_formats import ALL_SUFFIXES, IMAGE_SUFFIXES, readable_suffixes
from msst_jax.io.sidecar_files import exported_masks, read_sidecar

SHEETS = ("inputs", "comparison")  # NAME_inputs.png, which lies beside NAME.png


class Listing(NamedTuple):
    """The pictures of a folder, sorted by path."""

    pictures: list[Path]
    left_out: dict[str, list[Path]]
    """{reason: entries that one might take for pictures of the folder}."""

    def describe_left_out(self) -> str:
        """ "outputs of earlier runs: 3 (a.png, ...); subfolders: 1 (old)"; empty if nothing was left out."""
        return "; ".join(
            f"{reason}: {len(entries)} ({entries[0].name}{', ...' if len(entries) > 1 else ''})"
            for reason, entries in self.left_out.items()
        )

    def describe_nothing(self) -> str:
        """What an error says of a folder without pictures: the endings looked for, or what was left out."""
        return f" ({self.describe_left_out() or ', '.join(IMAGE_SUFFIXES)})"

    def warn(self, folder: Path) -> None:
        """Logs what was left out, in one line."""
        if self.left_out:
            logging.warning("%s: left out %s", folder, self.describe_left_out())


class _Contents(NamedTuple):
    """The visible entries of one folder."""

    folder: Path
    subfolders: list[Path]
    files: list[Path]


def list_pictures(folder: Path, *, deep: bool = False) -> Listing:
    """The pictures of a folder that can be read here; links are followed.

    An output of an earlier run is left out if the photo that it was made of lies in the same folder, and so are the
    sheets beside any output.

    Args:
      folder: the folder.
      deep: of its subfolders, too, each of which is entered once.

    Raises:
      UserError: the folder cannot be opened.
    """
    pictures: list[Path] = []
    left_out: dict[str, list[Path]] = {}

    def leave_out(reason: str, entries: Sequence[Path]) -> None:
        if entries:
            left_out.setdefault(reason, []).extend(entries)

    unopened: list[Path] = []
    for found in _walk(folder, deep, unopened):
        named = [file for file in found.files if file.suffix.lower() in ALL_SUFFIXES]
        special = {file for file in named if is_special_file(file)}
        broken = {file for file in named if not os.path.exists(file)}
        named = [file for file in named if file not in special | broken]
        readable = [file for file in named if file.suffix.lower() in readable_suffixes()]
        outputs = _outputs(readable, {file.name for file in found.files})
        leave_out(
            "formats that cannot be read", [file for file in named if file.suffix.lower() not in readable_suffixes()]
        )
        leave_out("pipes, sockets and devices", sorted(special))
        leave_out("links that lead nowhere", sorted(broken))
        leave_out("outputs of earlier runs", [file for file in readable if file.name in outputs])
        if not deep:
            leave_out("subfolders", found.subfolders)
        pictures += [file for file in readable if file.name not in outputs]
    leave_out("subfolders that cannot be opened", unopened)
    return Listing(sorted(pictures), left_out)


def _walk(folder: Path, deep: bool, unopened: list[Path]) -> Iterator[_Contents]:
    """The folder and, if deep, those below it, in the order of their names; adds to `unopened`."""

    def failed(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise UserError(f"{folder} cannot be opened ({error.strerror}); check its permissions") from error
        unopened.append(Path(error.filename))

    entered = {os.path.realpath(folder)}
    for place, subfolders, files in os.walk(folder, onerror=failed, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(place)
        visible = [here / name for name in sorted(files) if not name.startswith(".")]
        yield _Contents(here, [here / name for name in subfolders], visible)
        if not deep:
            return
        subfolders[:] = [name for name in subfolders if _enter(here / name, entered)]


def _enter(folder: Path, entered: set[str]) -> bool:
    """Whether a folder was not entered yet, under this or another name; adds it."""
    place = os.path.realpath(folder)
    new = place not in entered
    entered.add(place)
    return new


def _outputs(pictures: Sequence[Path], names: set[str]) -> set[str]:
    """The names of those pictures of one folder that earlier runs wrote, by the JSON files among its `names`."""
    outputs: set[str] = set()
    for picture in pictures:
        sidecar = read_sidecar(picture) if f"{picture.stem}.json" in names else {}
        if not sidecar:
            continue
        source = Path(str(sidecar.get("photo", ""))).name
        if source == picture.name:  # the photo itself, whose output has another ending
            continue
        outputs.update(f"{picture.stem}_{sheet}{picture.suffix}" for sheet in SHEETS)
        ratios = sidecar.get("blend_ratio")
        if isinstance(ratios, list):
            outputs.update(f"{picture.stem}_blend{ratio:g}{picture.suffix}" for ratio in ratios)
        if source in names:
            outputs.update([picture.name, *exported_masks(sidecar)])
    return outputs
