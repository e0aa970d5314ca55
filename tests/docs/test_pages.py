"""The pages under docs/: links lead somewhere, names exist in the code, blocks run."""

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import msst_jax
from msst_jax.registry import SEGMENTERS, STYLIZERS, TASKS
from tests.docs.markdown import DOCS, PAGES, README, ROOT, anchors, block, code_spans, links, page_name, table_rows
from tests.test_layout import FLOORS

PYTHON = ROOT / "docs" / "python.md"
INDEX = ROOT / "docs" / "README.md"
PACK = ROOT / "msst_jax" / "training" / "data" / "pack.py"  # a command of its own
FLAG_SOURCES = (*(ROOT / "msst_jax" / "cli").glob("*.py"), ROOT / "stylize.py", ROOT / "train.py", PACK)
TREES = ("benchmarks", "configs", "convert_weights", "docs", "examples", "msst_jax", "reference", "tests")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link}: there is no {target}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


@pytest.mark.parametrize("start", [README, INDEX], ids=page_name)
def test_every_page_is_linked_from_the_readme_and_the_index(start: Path) -> None:
    targets = {(start.parent / link.partition("#")[0]).resolve() for link in links(start.read_text(encoding="utf-8"))}
    assert {page_name(page) for page in DOCS} - {page_name(start)} <= {
        target.relative_to(ROOT).as_posix() for target in targets if target.is_relative_to(ROOT)
    } | {page_name(start)}


def test_every_flag_in_the_tables_exists_and_every_flag_is_in_a_table() -> None:
    first_cells = [row[0] for page in DOCS for row in table_rows(page.read_text(encoding="utf-8"))]
    documented = {flag for cell in first_cells for flag in re.findall(r"`--([a-z]+(?:-[a-z]+)*)", cell)}
    source = "".join(file.read_text(encoding="utf-8") for file in FLAG_SOURCES)
    assert {flag for flag in documented if f'"{flag}"' not in source and f'"--{flag}"' not in source} == set()
    defined = set(re.findall(r'DEFINE_\w+\(\s*"([a-z-]+)"', source))
    assert defined >= {"style", "mask", "blend", "compare", "config", "seed", "quiet", "segmenter", "regions-only"}
    assert defined - documented == set()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_module_and_function_that_a_page_names_exists(page: Path) -> None:
    for name in code_spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(r"msst_jax(\.\w+)+", name):
            assert resolve(name) is not None, name


def resolve(name: str) -> Any:
    """An attribute of a module, or a module. In this order: stylize.py of the clone is on the path of the package."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError):
        return importlib.import_module(name)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_path_and_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in code_spans(text):
        if re.fullmatch(rf"(?:{'|'.join(TREES)})/[\w./]*", name):
            assert (ROOT / name).exists(), name
    for name in re.findall(r"python -m ((?:benchmarks|convert_weights|examples)[\w.]*)", text):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def test_the_rooms_are_those_of_the_package_in_the_direction_of_the_imports() -> None:
    rows = table_rows((ROOT / "docs" / "development.md").read_text(encoding="utf-8"))
    rooms = [set(re.findall(r"`(\w+)`", row[0])) for row in rows]
    top, bottom = (next(i for i, found in enumerate(rooms) if found == set(floor)) for floor in (FLOORS[-1], FLOORS[0]))
    assert rooms[top : bottom + 1] == [set(floor) for floor in reversed(FLOORS)]


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert msst_jax.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes
    assert changes.group(1) == version


@pytest.mark.slow
def test_the_example_of_an_own_loss_runs_and_lowers_that_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: own loss"), names)
    assert (tmp_path / "outputs" / "warm.png").exists()
    loss = names["result"].losses
    assert loss["warmth"][-1] < loss["warmth"][0]
    terms = [np.asarray(values) for name, values in loss.items() if name != "total"]
    np.testing.assert_allclose(np.sum(terms, 0), loss["total"], rtol=1e-5)
    assert str(loss["warmth"]) in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_of_arrays_stylizes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: stylize"), names)
    result = names["result"]
    assert (tmp_path / "out.png").exists()
    assert result.picture.shape == names["photo"].shape
    np.testing.assert_allclose(sum(result.masks.values()), 1, atol=1e-5)


@pytest.mark.slow
def test_the_example_of_an_own_optimizer_in_the_loop_shows_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: adam"), names)
    assert [evaluation for evaluation, _ in names["shown"]] == [5, 10]
    assert names["result"].evaluations == 10
    assert str(names["shown"]) in capsys.readouterr().out


def test_the_example_of_a_fast_model_gives_a_picture() -> None:
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: fast"), names)
    assert names["picture"].shape == names["photo"].shape
    assert "background" in names["masks"]


def test_the_example_of_an_own_optimizer_runs_and_lowers_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: own optimizer"), names)
    solution = names["solution"]
    assert len(solution.losses["total"]) == 200
    assert solution.best_loss < 0.1 * solution.losses["total"][0]
    assert str(solution.best_loss) in capsys.readouterr().out


def test_the_example_of_forward_mode_gives_the_slope_along_a_direction_in_float64() -> None:
    names: dict[str, Any] = {}
    exec(block(PYTHON, "test: forward mode"), names)
    with names["jax"].enable_x64(True):
        gradient = names["jax"].grad(names["loss"])(names["image"])
        along = float((gradient * names["direction"]).sum())
    assert names["slope"].dtype == names["curvature"].dtype == np.float64
    assert float(names["slope"]) == pytest.approx(along, rel=1e-9)


def test_the_example_of_own_networks_registers_what_it_names() -> None:
    exec(block(PYTHON, "test: own networks"), {})
    assert SEGMENTERS["sky"].names == ("background", "sky")
    assert SEGMENTERS["sky"].build()(np.zeros((4, 5, 3), np.float32)).shape == (4, 5, 1)
    network = STYLIZERS["tinted"].build(2, {}, np.float32, nnx.Rngs(0))
    images, masks = np.zeros((3, 16, 20, 3), np.float32), np.zeros((3, 16, 20, 2), np.float32)
    masks[..., 0] = 1
    plain = network(images, masks)
    assert plain.shape == (3, 16, 20, 3)
    np.testing.assert_array_equal(network(images, masks, np.eye(2)), plain)
    np.testing.assert_array_equal(network(images, masks, np.stack([np.eye(2)] * 3)), plain)
    assert not np.array_equal(network(images, masks, np.eye(2)[::-1]), plain)
    assert "edges" in TASKS
