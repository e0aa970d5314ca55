"""What is measured, in the order of importance: the parts, their shares of the time, and the processes of each.

Every step is a process of its own, so that a crash, a full memory or a hang ends only that step, and the peak of the
device's memory is that of one program.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from msst_jax.runtime.compilation import SWITCH

MEASURE = "benchmarks.gpu.measure"


class Step(NamedTuple):
    """A process that prints a JSON object as its last line, or writes a file of its own."""

    name: str
    arguments: tuple[str, ...]
    """Of Python."""
    environment: Mapping[str, str] = MappingProxyType({})
    """Beside that of the parent."""
    emptied: tuple[str, ...] = ()
    """Folders that are removed first."""


class Part(NamedTuple):
    """Steps that answer one question."""

    name: str
    share: float
    """Of the time, relative to the other parts."""
    steps: tuple[Step, ...]


def parts(quick: bool, folder: str) -> tuple[Part, ...]:
    """All parts; quick ones are tiny, to see that everything runs.

    Args:
      quick: tiny inputs.
      folder: for what steps write.
    """
    side = 64 if quick else 512
    sides = (64,) if quick else (1024, 2048, 4096)
    frames = ("--frames", "4") if quick else ("--frames", "64")
    sizes = (64,) if quick else (1280, 1920)
    tiny = ("--quick",) if quick else ()
    precisions = ("highest", "default", "bfloat16")
    return (
        Part("rates", 1, (_measure("rates", *tiny),)),
        Part(
            "evaluation",
            3,
            (
                _measure("evaluation", f"--size={side}", "--form=loops"),
                *(_measure("evaluation", f"--size={side}", f"--precision={name}") for name in precisions),
                _measure("evaluation", f"--size={side}", "--precision=bfloat16", "--history-dtype=bfloat16"),
            ),
        ),
        Part("end to end", 4, (_measure("whole", f"--size={side}", *tiny), *_torch(side, quick))),
        Part("parity", 3, (_parity(folder),)),
        Part("training", 3, (_measure("training", *tiny),)),
        Part(
            "memory",
            3,
            tuple(
                _measure("evaluation", f"--size={length}", "--history=4", *flags)
                for length in sides
                for flags in ((), ("--remat",), ("--tiles=8",))
            ),
        ),
        Part(
            "video",
            3,
            tuple(
                Step(f"video {length}", ("-m", "benchmarks.speed.video", *frames, "--size", str(length)))
                for length in sizes
            ),
        ),
        Part("start", 2, _starts(folder, quick)),
    )


def _measure(name: str, *flags: str) -> Step:
    return Step(" ".join((name, *flags)), ("-m", MEASURE, name, *flags))


def _torch(side: int, quick: bool) -> Sequence[Step]:
    """The same evaluations by PyTorch: as it is, and with all that it offers for speed."""
    tiny = ("--quick",) if quick else ()
    modes = ((), ("--channels-last",), ("--channels-last", "--amp"), ("--compile",))
    return [_measure("torch", f"--size={side}", *tiny, *mode) for mode in (modes[:3] if quick else modes)]


def _parity(folder: str) -> Step:
    return Step("parity --quick", ("-m", "benchmarks.parity", "--quick", "--output", f"{folder}/parity.json"))


def _starts(folder: str, quick: bool) -> tuple[Step, ...]:
    """The quickstart twice: both take the same folder of compiled programs, which is empty at first."""
    compiled = f"{folder}/compiled"
    short, title = (("--config.size=64", "--config.steps=20"), ", quick") if quick else ((), "")
    return tuple(
        Step(
            f"quickstart, {name}{title}",
            ("stylize.py", "--quiet", "-o", f"{folder}/{name}.jpg", *short),
            {SWITCH: compiled},
            (compiled,) if name == "cold" else (),
        )
        for name in ("cold", "cached")
    )
