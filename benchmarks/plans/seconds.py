"""The seconds that a compiled program would take on an H100, reasoned from its instructions: nothing is measured.

Each kernel takes as long as its operations at the rate of its products, or as its bytes at the rate of the memory,
whichever is longer, and at least as long as a launch. A loop of unknown length makes the host wait before each trip.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

from benchmarks.plans.facts import CALLED, FREE, computations, operation

TYPE = re.compile(r"\b(pred|bf16|[sufc]\d+)\[([\d,]*)\]")
INSTRUCTION = re.compile(r"(?:ROOT )?%?([\w.\-]+) = (.*)$")
OPERANDS = re.compile(r"%([\w.\-]+)")
CONVOLUTION, PRODUCT = "__cudnn$conv", "__cublas$"
DERIVED = "jvp("  # in the name of what stems from the loss or its gradient; the optimizer's has none
BYTES = {"pred": 1, "bf16": 2}


class Card(NamedTuple):
    """What a card reaches. Source of its peaks: NVIDIA H100 Tensor Core GPU datasheet, SXM, dense."""

    products: Mapping[str, float]
    """Operations a second by the type of the factors."""
    memory: float
    """Bytes a second."""
    launch: float
    """Least seconds from one kernel to the next."""
    wait: float
    """Seconds that the host needs to see a value and to launch what depends on it."""


REACHED_PRODUCTS, REACHED_MEMORY = 0.5, 0.8  # of the peaks: what good kernels of these sizes usually do
H100 = Card(
    products={name: REACHED_PRODUCTS * peak for name, peak in {"bf16": 989e12, "tf32": 495e12, "f32": 67e12}.items()},
    memory=REACHED_MEMORY * 3.35e12,
    launch=2.5e-6,
    wait=15e-6,
)


class Part(NamedTuple):
    """The kernels of one kind, in one call of the program."""

    kernels: float = 0
    waits: float = 0
    operations: float = 0
    bytes: float = 0
    seconds: float = 0

    def __add__(self, other: "Part") -> "Part":  # type: ignore[override]  # of parts, not of tuples
        """Both, one after the other."""
        return Part(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> "Part":
        """As if it ran several times."""
        return Part(*(factor * value for value in self))


def parts_of_text(text: str, card: Card, *, exact: bool, trips: int) -> dict[str, Part]:
    """{kind of kernels: their sum} of optimized HLO.

    Args:
      text: the program.
      card: the rates.
      exact: products of float32 are computed in float32, not in TF32.
      trips: of every loop of unknown length.
    """
    program = {name: list(_instructions(lines)) for name, lines in computations(text)}
    return dict(_sum(program, "ENTRY", card, exact, trips))


class _Instruction(NamedTuple):
    name: str
    operation: str
    text: str
    result: str
    """Its type."""
    operands: tuple[str, ...]
    """Their types, where they are instructions of the same computation."""


def _instructions(lines: list[str]) -> Iterator[_Instruction]:
    types: dict[str, str] = {}
    for line in lines:
        match, kind = INSTRUCTION.match(line), operation(line)
        if not match or not kind:
            continue
        name, rest = match.groups()
        result, _, arguments = rest.partition(f" {kind}(")
        types[name] = result
        names = OPERANDS.findall(arguments.partition(")")[0])
        yield _Instruction(name, kind, line, result, tuple(types.get(operand, "") for operand in names))


def _sum(program: Mapping[str, list[_Instruction]], name: str, card: Card, exact: bool, trips: int) -> dict[str, Part]:
    total: dict[str, Part] = defaultdict(Part)
    for line in program.get(name, ()):
        called = CALLED.findall(line.text)
        if line.operation in ("while", "call", "conditional"):
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line.text)
            count = 1 if line.operation != "while" else int(known.group(1)) if known else trips
            for inner in called:
                for kind, part in _sum(program, inner, card, exact, trips).items():
                    total[kind] += part.times(count)
            if line.operation == "while" and not known:
                total["waits of the host"] += Part(waits=count, seconds=count * card.wait)
        elif line.operation not in FREE:
            inside = program.get(called[0], []) if called else []
            total[_kind(line.text)] += _kernel(line, inside, card, exact)
    return total


def _kind(text: str) -> str:
    if CONVOLUTION in text:
        return "convolutions"
    if DERIVED not in text:
        return "optimizer"
    return "Gram matrices and their gradient" if PRODUCT in text else "rest of loss and gradient"


def _kernel(line: _Instruction, inside: list[_Instruction], card: Card, exact: bool) -> Part:
    operations = _operations(line)
    moved = _moved(line, inside)
    factors = "bf16" if any(operand.startswith("bf16") for operand in line.operands) else "f32" if exact else "tf32"
    seconds = max(operations / card.products[factors], moved / card.memory, card.launch)
    return Part(1, 0, operations, moved, seconds)


def _moved(line: _Instruction, inside: list[_Instruction]) -> float:
    """Bytes read and written; of an array that is only sliced, or updated in place, those of the slice."""
    sizes = [_bytes(operand) for operand in line.operands]
    results = _bytes(line.result)
    for inner in inside:
        if inner.operation == "dynamic-update-slice":
            whole, update = _bytes(inner.operands[0]), _bytes(inner.operands[1])
            results += update - whole
        elif inner.operation == "dynamic-slice":
            whole, update = _bytes(inner.operands[0]), _bytes(inner.result)
        else:
            continue
        if whole in sizes:
            sizes[sizes.index(whole)] = update if inner.operation == "dynamic-slice" else 0
    return sum(sizes) + max(results, 0)


def _operations(line: _Instruction) -> float:
    """Multiplications and additions of a convolution or product of a library; other kernels are bound by memory."""
    if CONVOLUTION in line.text:
        return _convolution_operations(line)
    if PRODUCT not in line.text:
        return 0
    contracted = re.search(r'"lhs_contracting_dimensions":\["?(\d+)"?\]', line.text)
    if not contracted:
        raise ValueError(f"a product without its contracted dimension: {line.text[:200]}")
    return 2 * prod(_shape(line.result)) * _shape(line.operands[0])[int(contracted.group(1))]


def _convolution_operations(line: _Instruction) -> float:
    """2 x pixels of the output x weights, whichever of the three the call computes."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.text)
    if not labels:
        raise ValueError(f"a convolution without labels: {line.text[:200]}")
    image, kernel, output = _shape(line.operands[0]), _shape(line.operands[1]), _shape(line.result)
    if "BackwardInput" in line.text:
        image, output = output, image
    elif "BackwardFilter" in line.text:
        kernel, output = output, kernel
    pixels = prod(size for size, label in zip(output, labels.group(3), strict=True) if label != "f")
    return 2 * pixels * prod(kernel)


def _shape(text: str) -> tuple[int, ...]:
    match = TYPE.search(text)
    if not match:
        raise ValueError(f"no type of an array: {text[:200]}")
    return tuple(int(size) for size in match.group(2).split(",") if size)


def _bytes(text: str) -> float:
    """Of an array or of all arrays of a tuple, but for the work space of a library (s8, u8 behind the first)."""
    found = [(kind, sizes) for kind, sizes in TYPE.findall(text)]
    arrays = [(kind, sizes) for index, (kind, sizes) in enumerate(found) if index == 0 or kind not in ("s8", "u8")]
    return sum(
        BYTES.get(kind, int(re.sub(r"\D", "", kind) or 8) // 8) * prod(int(size) for size in sizes.split(",") if size)
        for kind, sizes in arrays
    )
