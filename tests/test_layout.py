"""The direction of imports: every room of the package looks down, never up, never across, and never in a circle."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "msst_jax"
FLOORS = (  # from the ground up; rooms on one floor do not import each other
    ("errors",),
    ("ops", "registry"),
    ("io", "runtime"),
    ("models", "optim"),
    ("regions", "losses", "presets"),
    ("transfer",),
    ("video",),
    ("report",),
    ("training",),
    ("pipelines",),
    ("api", "cli"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ABOVE = {  # what stands beside the package, and which of its neighbors each may import
    "msst_jax": {"msst_jax"},
    "configs": {"msst_jax"},
    "examples": {"msst_jax", "examples"},
    "convert_weights": {"msst_jax", "convert_weights"},
    "reference": {"msst_jax", "convert_weights", "examples", "reference"},
    "benchmarks": {"msst_jax", "convert_weights", "examples", "configs", "reference", "benchmarks"},
}
OUTERMOST = {*ABOVE, "tests"}


def imports(file: Path, root: Path = ROOT) -> Iterator[str]:
    """The modules and names that a file imports, dotted and absolute."""
    package = file.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms(file: Path, root: Path = ROOT) -> set[str]:
    """The rooms of the package that a file imports from."""
    return {name.split(".")[1] for name in imports(file, root) if name.startswith("msst_jax.")}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent != PACKAGE or file.stem != "__init__"]


def module_name(file: Path, root: Path = ROOT) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def graph(root: Path, found: list[Path]) -> Mapping[str, set[str]]:
    """Module to the modules of these files that it imports."""
    names = {module_name(file, root) for file in found}
    edges = {}
    for file in found:
        own = module_name(file, root)
        edges[own] = {
            module for name in imports(file, root) for module in (name, name.rpartition(".")[0]) if module in names
        } - {own}
    return edges


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in files()} == set(FLOOR_OF)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_import_runs_up_or_across(file: Path) -> None:
    room = room_of(file)
    others = rooms(file) - {room}
    assert not {other for other in others if FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF[room]}


def test_no_modules_import_each_other_in_a_circle() -> None:
    tuple(TopologicalSorter(graph(ROOT, files())).static_order())


@pytest.mark.parametrize("folder", ABOVE)
def test_the_package_imports_nothing_beside_it_and_benchmarks_nothing_of_the_tests(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        found = {name.split(".")[0] for name in imports(file)} & OUTERMOST
        assert found <= ABOVE[folder], file


def test_relative_imports_and_circles_are_seen(tmp_path: Path) -> None:
    room = tmp_path / "msst_jax" / "ops"
    room.mkdir(parents=True)
    (room / "a.py").write_text("from ..cli import flags\nfrom . import b\n")
    (room / "b.py").write_text("from .a import flags\n")
    assert rooms(room / "a.py", tmp_path) == {"cli", "ops"}
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph(tmp_path, [room / "a.py", room / "b.py"])).static_order())
