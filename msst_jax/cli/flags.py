"""How the scripts read their command line."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.presets.validation import check_fields, describe_error

EXIT_BAD_INPUT = 2


def parse_flags(argv: list[str], default_config: Path, template: Callable[[ConfigDict], ConfigDict]) -> list[str]:
    """Reads flags into flags.FLAGS; ends the program with one line and exit code 2 for anything wrong with them.

    Args:
      argv: the command line.
      default_config: file of the config if --config names none.
      template: a config to one with the fields that it must have.

    Returns:
      What is no flag.
    """
    if not any(arg in ("--config", "-config") or arg.startswith(("--config=", "-config=")) for arg in argv):
        argv.insert(1, f"--config={default_config}")
    try:
        rest = flags.FLAGS(argv)
        config = flags.FLAGS["config"].value
        check_fields(config, template(config))
        return list(rest)
    except Exception as error:  # a config file is a program and can raise anything
        print(f"{Path(argv[0]).name}: {describe_error(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


def parse_region_files(pairs: Iterable[str], flag: str) -> dict[str, str]:
    """["person=a.jpg", ...] to {"person": "a.jpg", ...}.

    Raises:
      UserError: not NAME=FILE, or a region named twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise UserError(f"--{flag} {pair!r} is not NAME=FILE; write for example --{flag} person=FILE")
        if name in found:
            raise UserError(f"--{flag} names the region {name!r} twice ({found[name]} and {file}); leave one out")
        found[name] = file
    return found
