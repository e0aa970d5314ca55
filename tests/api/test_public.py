"""The door of the package: what is there, that it is documented, and that looking at it costs nothing."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import msst_jax

ROOT = Path(__file__).parents[2]
FUNCTIONS = [name for name in msst_jax.__all__ if name[0].islower()]
POSITIONAL = {  # what may be given by its place; all else has a name and a default
    "stylize": ["photo", "styles", "masks"],
    "segment": ["photo", "segmenter"],
    "load_stylizer": ["name", "styles"],
    "load_vgg": ["name", "layers"],
    "minimize": ["loss", "pixels", "transform", "evaluations"],
    "torch_lbfgs": ["learning_rate", "history_size", "max_step", "preconditioner"],
    "read_image": ["path"],
    "register_segmenter": ["name", "build", "classes"],
    "register_stylizer": ["name", "build"],
    "register_task": ["name", "load"],
    "write_image": ["image", "path"],
    "stylize_video": ["video", "output", "styles", "masks"],
}
UNITS = ("[0, 1]", "(H, W", "seconds", "any shape", "factor", "{region: file}")


def test_importing_the_package_imports_no_jax_and_no_numpy():
    heavy = "{'jax', 'numpy', 'flax', 'optax', 'PIL', 'ml_collections'}"
    code = f"import sys, msst_jax; print(sorted({heavy} & {{*sys.modules}}), 'stylize' in dir(msst_jax))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_every_public_name_is_there_and_no_other():
    assert {name for name in msst_jax.__all__ if getattr(msst_jax, name, None) is None} == set()
    assert set(msst_jax.__all__) <= set(dir(msst_jax))
    with pytest.raises(AttributeError, match="no attribute 'stilize'"):
        msst_jax.stilize  # noqa: B018


def test_type_checkers_see_the_same_names_as_the_interpreter():
    tree = ast.parse(Path(msst_jax.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: f"msst_jax.{module}" for name, module in msst_jax._MODULES.items()}
    assert sorted(seen) == sorted(msst_jax.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_documents_its_arguments_shapes_units_and_errors(name: str):
    function: Any = getattr(msst_jax, name)
    text = inspect.getdoc(function) or ""
    assert "Raises:" in text
    assert any(unit in text for unit in UNITS)
    for parameter in inspect.signature(function).parameters.values():
        assert f"{parameter.name}: " in text, f"{name} does not say what {parameter.name} is"
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_given_by_keyword_and_have_defaults(name: str):
    parameters = inspect.signature(getattr(msst_jax, name)).parameters.values()
    assert [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD] == POSITIONAL[name]
    assert all(each.default is not each.empty for each in parameters if each.kind is each.KEYWORD_ONLY)


def test_the_docstring_shows_calls_of_functions_that_are_there():
    shown = [name for name in FUNCTIONS if f"msst_jax.{name}(" in str(msst_jax.__doc__)]
    assert len(shown) >= 5


USER_SCRIPT = """
import numpy as np
import msst_jax

photo = np.zeros((48, 64, 3), np.uint8)
result = msst_jax.stylize(photo, {"background": "a.png"}, steps=3)
reveal_type(result.losses)
reveal_type(result.picture)
masks: dict[str, np.ndarray] = msst_jax.segment(photo)
picture: np.ndarray = msst_jax.load_stylizer("builtin")(photo)
msst_jax.stylize(photo, {"background": "a.png"}, steps="3")
msst_jax.stylise(photo)
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types_in_a_users_script(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(USER_SCRIPT)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", tmp_path, script]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 'Revealed type is "dict[str, list[float]]"' in done.stdout.replace("builtins.", "")
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 2
    assert '"steps"' in errors[0]
    assert '"stylise"' in errors[1]
