"""The photos and paintings that a comparison is made on: a table of pairs, one a line."""

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from msst_jax.errors import UserError
from msst_jax.io.paths import user_path

COLUMNS = ("name", "photo", "masks", "styles")


class Pair(NamedTuple):
    """A photo and the painting of each of its regions."""

    name: str
    """Names its files."""
    photo: Path
    masks: dict[str, Path]
    """{region: file}; the others are segmented, or the background."""
    styles: dict[str, Path]
    """{region: file}, in the order of the matrices."""

    def files(self) -> dict[str, Path]:
        """All files by their part: "photo", "mask person", "style person", ..."""
        return {
            "photo": self.photo,
            **{f"mask {region}": path for region, path in self.masks.items()},
            **{f"style {region}": path for region, path in self.styles.items()},
        }


def read_pairs(path: Path) -> list[Pair]:
    """Reads a CSV file with the columns COLUMNS; "masks" and "styles" hold NAME=FILE, separated by spaces.

    Paths are relative to the folder of the file; one with a space stands in quotes: 'person=a b.jpg'.

    Raises:
      UserError: names the line and what is wrong with it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the set {path} cannot be read ({error}); give a CSV file") from error
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"the set {path} has no column {', '.join(missing)}; its first line must name them")
    if not rows:
        raise UserError(f"the set {path} is empty; add a line for each photo")
    pairs: dict[str, Pair] = {}
    for number, row in rows:
        try:
            pair = _pair(row, path.parent)
            if pair.name in pairs:
                raise UserError(f"the name {pair.name!r} is taken; give each line its own")
        except UserError as error:
            raise UserError(f"the set {path}, line {number}: {error}") from None
        pairs[pair.name] = pair
    return list(pairs.values())


def _pair(row: Mapping[str, str | None], folder: Path) -> Pair:
    name, photo = (row["name"] or "").strip(), (row["photo"] or "").strip()
    if not name or Path(name).name != name or name.startswith("."):
        raise UserError(f"the name {name!r} is no file name; use letters and digits")
    if not photo:
        raise UserError("there is no photo; give a file")
    pair = Pair(
        name,
        folder / user_path(photo, "photo"),
        _files(row["masks"] or "", "mask", folder),
        _files(row["styles"] or "", "style", folder),
    )
    if not pair.styles:
        raise UserError("there are no styles; write NAME=FILE for every region")
    for part, file in pair.files().items():
        if not file.is_file():
            raise UserError(f"{part} {file} does not exist; check the name")
    return pair


def _files(cell: str, what: str, folder: Path) -> dict[str, Path]:
    """A cell as {region: file}."""
    try:
        words = shlex.split(cell)
    except ValueError as error:
        raise UserError(f"{what}s {cell!r}: {error}; close the quotes") from None
    files: dict[str, Path] = {}
    for word in words:
        region, _, file = word.partition("=")
        if not (region and file):
            raise UserError(f"{what} {word!r} is not NAME=FILE")
        if region in files:
            raise UserError(f"the region {region!r} has two {what}s; leave one out")
        files[region] = folder / user_path(file, what)
    return files
