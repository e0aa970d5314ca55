"""How a command ends: its exit code, and one line for everything that goes wrong."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags, logging
from jax.errors import JaxRuntimeError

from msst_jax.cli.flags import TextRequested
from msst_jax.errors import DivergenceError, UserError, first_line
from msst_jax.io.written import describe_written, recorded_writes
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER
from msst_jax.runtime.cluster import await_verdict, is_distributed, take_leave
from msst_jax.runtime.console import print_line
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED, signals_as_interrupts
from msst_jax.runtime.streams import print_text

EXIT_BAD_INPUT = 2
EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h


def run_command(
    argv: Sequence[str], action: Callable[[Sequence[str]], int], *, smaller: str, interrupted: str = ""
) -> int:
    """Runs a command line; what it raises becomes one line on stderr and an exit code.

    Args:
      argv: the program and its arguments.
      action: the command; returns its exit code.
      smaller: what takes less memory, after "lower".
      interrupted: what Ctrl-C prints; "" = which files were written.

    Returns:
      That of the action, 1 if it diverges, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM, 129 after a hang-up,
      70 for a bug. Where a host of several dies, the watch ends the process; see `runtime.hosts`.
    """
    # As absl's app.run does; grain's workers, too, ask for the global flags.
    flags.FLAGS.mark_as_parsed()
    logging.use_absl_handler()
    program = Path(argv[0]).name  # "stylize.py" or "msst-stylize"
    with signals_as_interrupts() as received, recorded_writes() as written:
        try:
            code = _run(argv, action, smaller)
            return received.exit_code if code == EXIT_INTERRUPTED else code
        except UserError as error:
            if _is_of_collective(error):
                await_verdict()
            print_line(program, error)
            return EXIT_NOTHING_BETTER if isinstance(error, DivergenceError) else EXIT_BAD_INPUT
        except (KeyboardInterrupt, Exception) as error:
            # Code that was interrupted may raise something else, or wrap the interrupt.
            if isinstance(error, KeyboardInterrupt) or received.number:
                print_line(program, interrupted or f"interrupted; {describe_written(written)}")
                take_leave(received.exit_code, alone=True)
                return received.exit_code
            await_verdict()
            traceback.print_exc()
            print_line(program, f"this is a bug of the program ({first_line(error)}); please report all these lines")
            take_leave(EXIT_BUG, alone=True)
            return EXIT_BUG


def _is_of_collective(error: BaseException | None) -> bool:
    """Whether an error was raised because another host could not be reached, which the watch explains better."""
    while error is not None:
        if isinstance(error, JaxRuntimeError) or "Gloo" in str(error):
            return is_distributed()
        error = error.__cause__
    return False


def _run(argv: Sequence[str], action: Callable[[Sequence[str]], int], smaller: str) -> int:
    """The exit code; what the system refuses becomes a UserError."""
    try:
        try:
            return action(argv)
        except TextRequested as text:
            print_text(text, sys.stdout)
            return 0
    except (OSError, MemoryError, RuntimeError) as error:
        reason = _reason(error, smaller)
        if reason is None:
            raise
        raise UserError(reason) from error


def _reason(error: Exception, smaller: str) -> str | None:
    """What the user can do about an error that no other place has explained; None if it is a bug."""
    if isinstance(error, MemoryError) or (isinstance(error, JaxRuntimeError) and "out of memory" in str(error).lower()):
        return f"not enough memory; lower {smaller}"
    if isinstance(error, OSError):
        where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        why = error.strerror or first_line(error)
        return f"cannot use {where or 'a file or stream'}: {why}; check it, or give another"
    if str(error).startswith("Symlink loop"):  # Path.resolve, before Python 3.13
        return f"{first_line(error)[0].lower()}{first_line(error)[1:]}: a link that leads to itself; give another file"
    return None
