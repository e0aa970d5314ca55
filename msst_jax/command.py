"""How the scripts read their command line."""

import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from msst_jax.configuration import check_fields, describe

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
        print(f"{Path(argv[0]).name}: {describe(error)}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
