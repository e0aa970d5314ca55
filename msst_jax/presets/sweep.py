"""Numbers of a config that take several values, and the config of every picture that these make."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from msst_jax.errors import UserError, nearest_or_all
from msst_jax.presets.applicability import STYLIZE_FIELDS, STYLIZE_FLAGS
from msst_jax.presets.validation import INTEGERS, MINIMUMS, VIDEO_MINIMUMS, check_blend, check_config

MAX_FIELDS = 2  # the directions of a sheet
MAX_CELLS = 36  # that a sheet shows so that one can still compare them
EXAMPLE = "--sweep content_weight=0.3,1"


class SweptField(NamedTuple):
    """A number of the config and the values that it takes."""

    name: str
    values: tuple[float, ...]
    """int for a field that counts."""

    def __str__(self) -> str:
        """As the user writes it: "content_weight=0.3,1"."""
        return f"{self.name}={','.join(map(str, self.values))}"


class Cell(NamedTuple):
    """One picture of a sweep."""

    values: dict[str, float]
    """Of the swept fields, in the order in which they were given."""
    config: ConfigDict

    @property
    def label(self) -> str:
        """What stands above the picture, a line for each field."""
        return "\n".join(f"{name} {describe_value(value)}" for name, value in self.values.items())

    @property
    def suffix(self) -> str:
        """Of the file's name: "content_weight0.3_size256"."""
        return "_".join(f"{name}{describe_value(value)}" for name, value in self.values.items())


def describe_value(value: float) -> str:
    """Short, for names of files and captions."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def parse_sweep(texts: Sequence[str], config: ConfigDict) -> tuple[SweptField, ...]:
    """["content_weight=0.3,1", "size=256,512"] to fields; none for none.

    Args:
      texts: FIELD=VALUE,VALUE,... each.
      config: has the fields.

    Raises:
      UserError: no such field, one that is no number or named twice, more fields than MAX_FIELDS, more pictures than
        MAX_CELLS, or values that are no numbers or named twice. `swept_cells` checks their ranges.
    """
    fields = [_parse_field(text, config) for text in texts]
    names = [field.name for field in fields]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--sweep names the field {repeated[0]} twice; give all of its values at once")
    if len(fields) > MAX_FIELDS:
        raise UserError(
            f"--sweep has {len(fields)} fields ({', '.join(names)}), and a sheet two sides; give one or two"
        )
    count = 1
    for field in fields:
        count *= len(field.values)
    if count > MAX_CELLS:
        raise UserError(f"--sweep asks for {count} pictures; give values for at most {MAX_CELLS}")
    return tuple(fields)


def _parse_field(text: str, config: ConfigDict) -> SweptField:
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("config.")
    if not (name and equals):
        raise UserError(f"--sweep {text!r} is not FIELD=VALUE,VALUE,...; write for example {EXAMPLE}")
    _check_name(name, config)
    parsed = tuple(_parse_value(name, value.strip()) for value in values.split(","))
    shown = [describe_value(value) for value in parsed]
    if repeated := [value for value in shown if shown.count(value) > 1]:
        raise UserError(f"--sweep {text} has the value {repeated[0]} twice; leave one out")
    return SweptField(name, parsed)


def _check_name(name: str, config: ConfigDict) -> None:
    numbers = [field for field, value in config.items() if type(value) in (int, float)]
    if name in numbers:  # whether it acts is said by `check_swept`, which knows why not
        return
    offered = [field for field in numbers if field in STYLIZE_FIELDS and STYLIZE_FIELDS[field] & STYLIZE_FLAGS["sweep"]]
    if name in config:
        raise UserError(f"--sweep {name}: config.{name} is {config[name]!r}, no number; sweep one of {_join(offered)}")
    raise UserError(f"--sweep {name}: the config has no such field; {nearest_or_all(name, offered)}")


def _join(names: Sequence[str]) -> str:
    return ", ".join(names)


def _parse_value(name: str, text: str) -> float:
    whole = name in (*INTEGERS, *MINIMUMS, *VIDEO_MINIMUMS)
    try:
        return int(text) if whole else float(text)
    except ValueError:
        wanted = "whole numbers" if whole else "numbers"
        raise UserError(
            f"--sweep {name} has {text!r}; give {wanted} with commas between them, as in {EXAMPLE}"
        ) from None


def swept_cells(config: ConfigDict, fields: Sequence[SweptField]) -> list[Cell]:
    """The pictures in reading order: the values of the first field from left to right, of the second downward.

    Args:
      config: a valid one, see `check_config`.
      fields: one or two.

    Raises:
      UserError: a value that the config cannot have.
    """
    cells = []
    for combination in itertools.product(*(field.values for field in reversed(fields))):
        values = {field.name: value for field, value in zip(fields, reversed(combination), strict=True)}
        changed = config.copy_and_resolve_references()
        with changed.ignore_type():  # 0.5 for a number that a config of the user's gives as 1
            changed.update(values)
        cell = Cell(values, changed)
        _check_cell(cell)
        cells.append(cell)
    return cells


def _check_cell(cell: Cell) -> None:
    try:
        check_config(cell.config)
        check_blend(cell.config, cell.config.blend_ratio)
    except UserError as error:
        shown = ", ".join(f"{name}={describe_value(value)}" for name, value in cell.values.items())
        raise UserError(f"--sweep {shown}: {error}") from error
