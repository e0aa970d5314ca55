"""Writes the sets on which fast models are compared, for python -m benchmarks.quality --set.

    python -m benchmarks.quality.sets peers -o SET.csv --data DIR
    python -m benchmarks.quality.sets any_style -o SET.csv --data DIR

A line is a whole photo, one region, in one painting; its name is PHOTO__PAINTING, so that pictures of other programs
are found by theirs.

  peers      the photos and paintings of the pictures in DIR/peers/PROGRAM, whose names say which; --pictures
             NAME=DIR/peers/PROGRAM compares with them
  any_style  every photo of DIR/any_style/photos in every painting of DIR/any_style/styles, in the order of their names:
             the first photo in all paintings, then the second, and so on, as one reads "20 photos x 40 paintings"; the
             first 200 lines are five photos in all 40 paintings, and --pairs 200 takes them
"""

import argparse
import csv
import io
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.quality.pairs import COLUMNS
from benchmarks.quality.pictures import SUFFIXES
from msst_jax.configs import quickstart
from msst_jax.errors import UserError
from msst_jax.io.files import write_text
from msst_jax.regions.masks import BACKGROUND
from msst_jax.runtime.console import ArgumentParser, print_line

PROGRAM = "benchmarks.quality.sets"
SEPARATOR = "__"

Lines = list[tuple[Path, Path]]
"""(photo, painting) of each line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a set; returns the exit code: 0 success, 2 bad input."""
    flags = _parse(arguments)
    try:
        lines = SETS[flags.name](flags.data)
        write_text(flags.output, set_text(lines))
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    print(f"wrote {flags.output}: {len(lines)} lines")
    return 0


def peers_lines(data: Path) -> Lines:
    """Those of which a program in `data`/peers has a picture.

    Raises:
      UserError: there is none, or its photo or painting is missing.
    """
    folder = data / "peers"
    names = sorted({path.stem for path in folder.glob("*/*") if path.suffix in SUFFIXES})
    if not names:
        raise UserError(f"{folder} has no pictures; give the folder that holds peers/PROGRAM as --data")
    lines = []
    for name in names:
        photo, _, painting = name.partition(SEPARATOR)
        photos, paintings = (data / "voc21" / "images", quickstart.EXAMPLES), (data / "styles",)
        lines.append((_find(f"{photo}.jpg", photos), _find(f"{painting}.jpg", paintings)))
    return lines


def any_style_lines(data: Path) -> Lines:
    """Every photo in every painting, all paintings of the first photo first.

    Raises:
      UserError: there are none.
    """
    photos, paintings = (sorted((data / "any_style" / part).glob("*.jpg")) for part in ("photos", "styles"))
    if not (photos and paintings):
        raise UserError(f"{data / 'any_style'} lacks photos/*.jpg or styles/*.jpg; give the folder that holds it")
    return [(photo, painting) for photo in photos for painting in paintings]


SETS: dict[str, Callable[[Path], Lines]] = {"peers": peers_lines, "any_style": any_style_lines}


def _find(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"there is no {name} in {' or '.join(map(str, folders))}; give the folder that holds it as --data")


def set_text(lines: Lines) -> str:
    """The CSV, with absolute paths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for photo, painting in lines:
        style = f"{BACKGROUND}={painting.resolve().as_posix()}"
        writer.writerow([f"{photo.stem}{SEPARATOR}{painting.stem}", photo.resolve().as_posix(), "", shlex.quote(style)])
    return text.getvalue()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog=f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=SETS, help="which")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="CSV", help="the file to write")
    parser.add_argument("--data", type=Path, default=Path(), metavar="DIR", help="default: the current folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
