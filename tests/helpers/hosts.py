"""train.py as the processes of a run on several hosts."""

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.helpers.commands import TRAIN, Script


def start(
    arguments: Sequence[list[str]], folder: Path, devices: int, before: Callable[[], None] = print
) -> list[Script]:
    """Starts train.py as several processes, each with its own arguments and `devices` devices, in one folder."""
    return start_in([folder] * len(arguments), arguments, devices, before)


def start_in(
    folders: Sequence[Path],
    arguments: Sequence[list[str]],
    devices: int,
    before: Callable[[], None] = print,
    environ: Callable[[int], Mapping[str, str]] = lambda _: {},
) -> list[Script]:
    """As `start`, each process in a folder of its own, with what more its environment has."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    scripts = []
    for process, (folder, own) in enumerate(zip(folders, arguments, strict=True)):
        folder.mkdir(exist_ok=True)
        joined = {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(len(arguments)),
            "JAX_PROCESS_ID": str(process),
        }
        more = {**(joined if len(arguments) > 1 else {}), **environ(process)}
        settings = {"jax_num_cpu_devices": devices}
        scripts.append(Script(own, folder, TRAIN, settings=settings, environ=more, before=before))
    return scripts
