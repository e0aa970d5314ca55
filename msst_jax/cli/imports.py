"""--import: loads the user's modules, which may register segmenters, tasks and stylizers, before all else is read."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from msst_jax.errors import UserError, first_line
from msst_jax.io.paths import user_path

FLAG = "import"
SUFFIX = ".py"


def find_imports(arguments: Sequence[str]) -> list[str]:
    """The values of --import on a command line, in order."""
    found = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in (f"-{FLAG}", f"--{FLAG}"):
            found.append(value if equals else following)
    return found


def import_modules(names: Sequence[str]) -> None:
    """Imports modules, each once in a process: names on sys.path, or .py files.

    Raises:
      UserError: one that is not there, or that fails; names the line.
    """
    for name in names:
        if not name:
            raise UserError(f"--{FLAG} has no value; give one, or leave it out")
        if name.endswith(SUFFIX):
            _import_file(name)
        else:
            _import_name(name)


def _import_name(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # a module is a program and can raise anything
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            file = Path(*name.split(".")).with_suffix(SUFFIX)
            meant = f"did you mean --{FLAG} {file}?" if file.is_file() else f"correct the name, or give a {SUFFIX} file"
            raise UserError(f"--{FLAG} {name}: there is no module {error.name!r} on sys.path; {meant}") from error
        raise UserError(_describe(name, _file_of(name), error)) from error


def _file_of(name: str) -> str | None:
    """The file of a module that failed; None if it cannot be told."""
    with suppress(Exception):  # one above it failed
        spec = importlib.util.find_spec(name)
        return spec.origin if spec else None
    return None


def _import_file(name: str) -> None:
    """Imports a file under a name of its own, so that it hides no other module; its neighbors can be imported."""
    path = user_path(name, f"--{FLAG}").resolve()
    if not path.is_file():
        raise UserError(f"--{FLAG} {name}: there is no such file; correct the name, or give a module on sys.path")
    module_name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = _module_of(path, module_name)
    sys.modules[module_name] = module
    try:
        assert module.__spec__ is not None
        assert module.__spec__.loader is not None
        module.__spec__.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserError(_describe(name, str(path), error)) from error


def _module_of(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # of a file that ends in .py
    return importlib.util.module_from_spec(spec)


def _describe(name: str, file: str | None, error: Exception) -> str:
    """One line for what a module raises, with its own last line that was reached."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
        lines = [error.lineno]
    where = f" in line {lines[-1]}" if lines else ""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
    return f"--{FLAG} {name} fails{where} ({reason}); mend it"
