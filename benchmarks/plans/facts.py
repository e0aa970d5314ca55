"""What a compiled program tells about how a GPU will run it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import jax

# Instructions that the host launches nothing for.
FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "partition-id", "replica-id", "after-all"}
HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
OPERATION = re.compile(r"= (?:\([^=]*?\)|\S+) ([a-z][a-z\-]*)\(")
COMMENT = re.compile(r"/\*.*?\*/")  # within the types of tuples
CALLED = re.compile(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)")
CALLBACKS = ("callback", "infeed", "outfeed", "host_compute")


class Facts(NamedTuple):
    """Of one program."""

    kernels: int
    """Instructions that are launched in one call, those of a loop once for each trip."""
    loops: int
    """`while` instructions."""
    unknown_loops: int
    """Those whose number of trips is not known: before each trip the host waits for the device."""
    select_and_scatter: int
    float64: int
    """Values of that type."""
    callbacks: int
    """Calls of the host."""
    temporary: int
    """Bytes beside arguments and results."""


def facts_of(compiled: jax.stages.Compiled) -> Facts:
    """The facts of a compiled program."""
    text = compiled.as_text() or ""
    analysis = compiled.memory_analysis()
    return facts_of_text(text)._replace(temporary=int(analysis.temp_size_in_bytes) if analysis else 0)


def facts_of_text(text: str) -> Facts:
    """Those that optimized HLO tells; no temporary memory."""
    bodies = dict(computations(text))
    loops = [line for lines in bodies.values() for line in lines if operation(line) == "while"]
    return Facts(
        kernels=_launches(bodies, "ENTRY"),
        loops=len(loops),
        unknown_loops=sum("known_trip_count" not in line for line in loops),
        select_and_scatter=len(re.findall(r" select-and-scatter\(", text)),
        float64=len(re.findall(r"\bf64\[", text)),
        callbacks=sum(any(word in line for word in CALLBACKS) for line in text.splitlines() if "custom-call" in line),
        temporary=0,
    )


def _launches(bodies: dict[str, list[str]], name: str) -> int:
    """Kernels of a computation; those of loops, calls and command buffers within it are counted as they run."""
    total = 0
    for line in bodies.get(name, ()):
        kind = operation(line)
        if kind == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            inner = sum(_launches(bodies, called) for called in CALLED.findall(line))
            total += inner * (int(trips.group(1)) if trips else 1)
        elif kind in ("call", "conditional"):
            total += sum(_launches(bodies, called) for called in CALLED.findall(line))
        elif kind and kind not in FREE:
            total += 1
    return total


def computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """(name, instructions) of every computation; that of the entry is "ENTRY"."""
    name = ""
    lines: list[str] = []
    for line in text.splitlines():
        head = None if line.startswith(" ") else HEAD.match(line.strip())
        if head:
            name, lines = "ENTRY" if head.group(1) else head.group(2), []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name:
            lines.append(COMMENT.sub("", line.strip()))


def operation(line: str) -> str:
    """The kind of an instruction, "" for any other line."""
    match = OPERATION.search(line)
    return match.group(1) if match else ""
