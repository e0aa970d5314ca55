"""A program run in a process of its own."""

import subprocess
from collections.abc import Sequence

from msst_jax.errors import UserError

NO_MESSAGE = "killed, possibly out of memory"


def run_child(command: Sequence[str], failure: str) -> str:
    """Runs a command to its end; returns what it printed.

    Args:
      command: the program and its arguments.
      failure: begins the error, "{code}" in it stands for the exit code.

    Raises:
      UserError: it failed; contains the last line of its stderr.
    """
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [NO_MESSAGE]
        raise UserError(f"{failure.replace('{code}', str(process.returncode))}: {lines[-1]}")
    return process.stdout
