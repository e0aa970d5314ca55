"""Packs photos and their masks into a few large files, from which train.py reads them like a folder of photos.

    python -m msst_jax.training.data.pack --photos DIR --masks DIR --regions person,background --out PACKED
    python train.py --photos PACKED --workdir runs/x --style person=A.jpg --style background=B.jpg

JPEG and PNG files are packed as they are, so that a training sees what it sees of the folders, bit for bit. --size N
makes larger photos smaller, to N pixels on the shorter side: for crops of half that side in full detail twice
config.size. Without --masks the segmenter computes the masks of the --regions, and without --regions only photos are
packed. Damaged photos are left out with a warning.
"""

import argparse
import sys
from collections.abc import Sequence

from absl import flags, logging
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.paths import user_path
from msst_jax.io.remote import input_path
from msst_jax.regions.masks import foreground
from msst_jax.regions.segmenter import best_available
from msst_jax.runtime.compilation import prepare_xla
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.cores import available_cores
from msst_jax.runtime.interrupt import signals_as_interrupts
from msst_jax.training.data.masks import check_names, load_segmenter_if_needed, open_masks, photo_segmenter
from msst_jax.training.data.packing import PackOptions, ReadMasks, pack_photos
from msst_jax.training.data.photos import Photos, find_photos, photos_place

PROGRAM = "msst_jax.training.data.pack"
PHOTOS_PER_SHARD = 8192


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs; returns the exit code: 0 success, 2 bad input, 130 interrupted, 143 after SIGTERM."""
    with signals_as_interrupts() as received:
        try:
            args = _parse(arguments)
            flags.FLAGS.mark_as_parsed()  # else absl and array_record say that they are not
            logging.use_absl_handler()
            configure_logging(args.quiet)
            _pack(args)
        except UserError as error:
            print_line(PROGRAM, error)
            return 2
        except KeyboardInterrupt:
            print_line(PROGRAM, "interrupted; nothing was written")
            return received.exit_code
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog=f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photos", action="append", required=True, help="folder of photos, or tfds:NAME; can be repeated"
    )
    parser.add_argument(
        "--masks",
        action="append",
        default=[],
        help="folder of masks; without it the segmenter's",
    )
    parser.add_argument("--regions", default="", metavar="A,B", help="of the masks, such as person,background")
    parser.add_argument("--out", required=True, help="the folder to write")
    parser.add_argument("--size", type=int, default=0, metavar="N", help="pixels of the shorter side, at most; 0 = all")
    parser.add_argument("--shards", type=int, default=0, metavar="M", help=f"files; 0 = one for {PHOTOS_PER_SHARD}")
    parser.add_argument("--segmenter", default="", help="computes the masks; default: the best one available")
    parser.add_argument("--leave-out", default="", metavar="COLUMN", help="of an index.csv: leave out photos with a 1")
    parser.add_argument("--allow-missing", action="store_true", help="photos may lack masks, see config.without_mask")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no messages but errors")
    return parser.parse_args(arguments)


def _pack(args: argparse.Namespace) -> None:
    names = [name for name in args.regions.split(",") if name]
    if args.masks and not foreground(names):
        raise UserError("--masks needs --regions, the names of the masks, such as person,background")
    if args.size < 0 or args.shards < 0:
        raise UserError(f"--size is {args.size} and --shards {args.shards}; neither can be below 0")
    folder = user_path(args.out, "--out")
    photos = find_photos([photos_place(place) for place in args.photos], args.leave_out)
    check_names(photos, names)
    shards = args.shards or -(-len(photos) // PHOTOS_PER_SHARD)
    if shards > len(photos):
        raise UserError(f"--shards is {shards}, and there are {len(photos)} photos; give at most as many")
    segmented = bool(foreground(names)) and not args.masks
    options = PackOptions(
        regions=foreground(names),
        size=args.size,
        shards=shards,
        leave_out=args.leave_out,
        workers=1 if segmented else available_cores(),
        quiet=args.quiet,
    )
    index = pack_photos(photos, _mask_reader(args, photos, names), folder, options)
    logging.info("wrote %s: %d photos, %.1f MB", folder, len(index.names), sum(index.shards.values()) / 1e6)


def _mask_reader(args: argparse.Namespace, photos: Photos, names: Sequence[str]) -> ReadMasks:
    """The masks of --masks, or of the segmenter; of no region, none."""
    regions = foreground(names)
    if not regions:
        return lambda index, photo: {}
    if args.masks:
        folders = [input_path(place, "--masks") for place in args.masks]
        masks = open_masks(photos, folders, names, all_needed=not args.allow_missing, advice="give --allow-missing")
        return lambda index, photo: masks.read(index)
    prepare_xla()
    segmenter = load_segmenter_if_needed(args.segmenter or best_available(), photos, None, names)
    assert segmenter  # there are regions, and no folder of masks that they might lie in
    segment = photo_segmenter(segmenter, regions, refine=True)

    def read(index: int, photo: Image.Image) -> dict[str, Image.Image]:
        return segment(photo, photos.name(index))

    return read


if __name__ == "__main__":
    sys.exit(main())
