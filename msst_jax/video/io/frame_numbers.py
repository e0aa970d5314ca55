"""The numbers in the names of a folder of frames, which are their times."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

MAX_MISSING = 10  # missing frames for each that is there: numbers with larger gaps are no frame numbers, but times, ids
# A minus is a sign where no letter or digit stands before it: "frame_-1", but not "frame-1" or "2024-01-02".
NUMBER = re.compile(r"((?:(?<![^\W_])-)?\d+)")


class NumberedFile(NamedTuple):
    """A frame of a folder, with its time in frame periods.

    Attributes:
      file: the image.
      position: periods from the first frame.
      periods: how many of them it is shown, more than one before a gap.
      number: in its name; None where the files follow each other in the order of their names.
    """

    file: Path
    position: int
    periods: int
    number: int | None = None


class Numbering(NamedTuple):
    """The frames of a folder.

    Attributes:
      frames: in order.
      remarks: what is odd about their names, a line each.
      missing: a line about numbers that are missing; empty if none is.
    """

    frames: list[NumberedFile]
    remarks: list[str]
    missing: str = ""


def number_files(files: Sequence[Path]) -> Numbering:
    """Numbers the files of a folder by their names.

    The number is the one group of digits that varies; it may be negative, and have any number of digits. Where it is
    missing, the frame before is shown longer. Of several files with one number, the first by name is taken. Numbers in
    equal steps, as of every tenth frame, have no gaps. Where there is no such number, or gaps too large for frames, the
    files follow each other in natural order.
    """
    if len(files) < 2:
        return Numbering([NumberedFile(file, 0, 1) for file in files], [])
    numbers = _frame_numbers(files)
    if numbers is None:
        names = f"{files[0].name}, {files[-1].name}"
        return _in_order(files, f"the names do not differ in one number ({names})")
    first: dict[int, Path] = {}
    for number, file in sorted(zip(numbers, files, strict=True), key=lambda one: (one[0], one[1].name)):
        first.setdefault(number, file)
    doubles = [file for number, file in zip(numbers, files, strict=True) if first[number] != file]
    remarks = [_describe_doubles(doubles, first, numbers, files)] if doubles else []
    ordered = list(first)
    step = _step(ordered)
    missing = (ordered[-1] - ordered[0]) // step + 1 - len(ordered)
    if missing > MAX_MISSING * len(ordered):
        before, after = max(pairwise(ordered), key=lambda pair: pair[1] - pair[0])
        numbering = _in_order(list(first.values()), f"the numbers jump from {before} to {after}")
        return numbering._replace(remarks=[*remarks, *numbering.remarks])
    ends = [*ordered[1:], ordered[-1] + step]
    frames = [
        NumberedFile(first[number], (number - ordered[0]) // step, (end - number) // step, number)
        for number, end in zip(ordered, ends, strict=True)
    ]
    return Numbering(frames, remarks, _describe_missing(ordered, step, missing) if missing else "")


def natural_order(file: Path) -> tuple[list[str | int], str]:
    """Sorts frame 2 before frame 10; text and numbers alternate, so that only values of one type are compared."""
    parts = NUMBER.split(file.stem)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], file.name


def _frame_numbers(files: Sequence[Path]) -> list[int] | None:
    """The number of each file; None if their names differ in text, in several numbers, or in none at all."""
    parts = [NUMBER.split(file.stem) for file in files]
    if len({tuple(text.casefold() for text in split[::2]) for split in parts}) > 1:
        return None
    groups = [[int(number) for number in group] for group in zip(*(split[1::2] for split in parts), strict=True)]
    varying = [group for group in groups if len(set(group)) > 1]
    if len(varying) > 1 or not groups:
        return None
    return varying[0] if varying else groups[-1]  # all of one number


def _step(ordered: Sequence[int]) -> int:
    """The commonest difference of the numbers, if it divides all others; else 1."""
    differences = Counter(after - before for before, after in pairwise(ordered))
    if not differences:
        return 1
    commonest = min(differences, key=lambda difference: (-differences[difference], difference))
    return commonest if all(difference % commonest == 0 for difference in differences) else 1


def _describe_missing(ordered: Sequence[int], step: int, missing: int) -> str:
    absent = next(before + step for before, after in pairwise(ordered) if after - before > step)
    return (
        f"{missing} of {missing + len(ordered)} frames are missing (the first: {absent}); those before are shown longer"
    )


def _describe_doubles(doubles: list[Path], first: dict[int, Path], numbers: list[int], files: Sequence[Path]) -> str:
    example = f"{doubles[0].name}, as {first[numbers[files.index(doubles[0])]].name}"
    return f"{len(doubles)} files have the number of another and are left out (the first: {example})"


def _in_order(files: Sequence[Path], reason: str) -> Numbering:
    frames = [NumberedFile(file, index, 1) for index, file in enumerate(files)]
    return Numbering(frames, [f"{reason}: the frames follow each other in the order of their names"])
