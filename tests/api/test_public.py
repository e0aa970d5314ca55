"""The door of the package: what is there, that it is documented, and that looking at it costs nothing."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import msst_jax
from msst_jax.api.pictures import PictureLike
from tests.helpers.pictures import stripe
from tests.helpers.segmenters import animals, colour_segmenter, painted

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


def documented(text: str, section: str) -> list[str]:
    """The names that a section of a docstring explains, in order."""
    found = re.search(rf"^{section}:\n((?:  .*\n|\n)*)", f"{text}\n", re.MULTILINE)
    return re.findall(r"^  (?:\*\*)?(\w+): ", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_documented_arguments_are_those_of_the_function_in_their_order(name: str):
    function: Any = getattr(msst_jax, name)
    signature = inspect.signature(function)
    text = inspect.getdoc(function) or ""
    assert documented(text, "Args") == [*signature.parameters]
    assert ("\nReturns:\n  " in text) == (signature.return_annotation is not None)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_takes_or_returns_pictures_says_their_shape_and_range(name: str):
    signature = inspect.signature(getattr(msst_jax, name))
    kinds = {str(each.annotation) for each in signature.parameters.values()} | {str(signature.return_annotation)}
    if any(str(PictureLike) in kind or "numpy.ndarray" in kind for kind in kinds):
        text = inspect.getdoc(getattr(msst_jax, name)) or ""
        assert "(H, W" in text or "any shape" in text
        assert "[0, 1]" in text or "any shape" in text


def field_documents(kind: type) -> Iterator[str]:
    """The fields of a class that its docstring, or a text below the field, explains."""
    yield from documented(inspect.getdoc(kind) or "", "Attributes")
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield ast.unparse(field.target)


@pytest.mark.parametrize(
    "kind", [msst_jax.Result, msst_jax.Solution, msst_jax.Features], ids=lambda kind: kind.__name__
)
def test_every_field_of_what_comes_back_is_documented(kind: type):
    assert set(kind.__annotations__) <= set(field_documents(kind))


PHOTO = painted(animals())
FORMS = {
    "uint8": PHOTO,
    "floats": PHOTO / np.float32(255),
    "jax": jnp.asarray(PHOTO) / 255,
    "pillow": Image.fromarray(PHOTO),
}


def segmented(photo: Any, folder: Path, model: Path) -> np.ndarray:
    return msst_jax.segment(photo, colour_segmenter())["person"]


def at_once(photo: Any, folder: Path, model: Path) -> np.ndarray:
    return msst_jax.load_stylizer(model)(photo, {"person": stripe(*PHOTO.shape[:2], 0, 0.5)})


def written(photo: Any, folder: Path, model: Path) -> np.ndarray:
    msst_jax.write_image(photo, folder / "a.png")
    return msst_jax.read_image(folder / "a.png")


@pytest.mark.parametrize("call", [segmented, at_once, written], ids=lambda call: call.__name__)
def test_the_other_functions_of_pictures_take_the_same_one_in_any_form(call: Any, tmp_path: Path, model: Path):
    first, *others = (call(form, tmp_path, model) for form in FORMS.values())
    for name, other in zip([*FORMS][1:], others, strict=True):
        np.testing.assert_allclose(other, first, atol=1e-4, err_msg=name)


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
