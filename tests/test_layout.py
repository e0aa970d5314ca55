"""The direction of imports: every room of the package looks down, never up, and never across."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "msst_jax"
FLOORS = (  # from the ground up; rooms on one floor do not import each other
    ("errors",),
    ("ops",),
    ("io", "runtime"),
    ("models", "optim"),
    ("regions", "losses", "presets"),
    ("transfer",),
    ("video",),
    ("report",),
    ("training",),
    ("pipelines",),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def arrows(file: Path) -> Iterator[str]:
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "msst_jax":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("msst_jax."))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent != PACKAGE or file.stem != "__init__"]


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in files()} == set(FLOOR_OF)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_import_runs_up_or_across(file: Path) -> None:
    room = room_of(file)
    wrong = {other for other in arrows(file) if other != room and FLOOR_OF[other] >= FLOOR_OF[room]}
    assert not wrong
