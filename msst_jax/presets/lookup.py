"""Preset lookup by name or path: the files of configs/, installed as msst_jax.configs."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from msst_jax.errors import UserError, nearest_or_all
from msst_jax.io.paths import user_path

PACKAGE = "msst_jax.configs"
FOLDER = "configs"
CONFIG_SUFFIXES = (".py", ".json")


def preset_folder() -> Path:
    """The folder of the presets: configs/ of a clone, or the package that a wheel installs."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the presets are not beside the package; install msst_jax again")
    return Path(next(iter(spec.submodule_search_locations)))


def preset_names() -> list[str]:
    """The names that `preset_path` accepts."""
    return sorted(path.stem for path in preset_folder().glob("*.py") if not path.stem.startswith("_"))


def preset_path(text: str) -> Path:
    """Resolves "seed", "seed.py" or "configs/seed.py" (from any working directory), or any path, to a config file.

    An existing file at that path takes precedence over a preset, unless `text` is a bare name.

    Raises:
      UserError: neither a preset nor a file, a URL, or a file of another kind than CONFIG_SUFFIXES.
    """
    path = user_path(text, "--config")
    bare = path.name == text and not path.suffix
    if not bare and path.is_file():
        if path.suffix.lower() not in CONFIG_SUFFIXES:
            raise UserError(
                f"--config {text} ends in neither .py nor .json; give a Python file that defines get_config(), or the "
                "JSON that a run wrote"
            )
        return path
    names = preset_names()
    if (bare or path.suffix == ".py") and path.parent in (Path(), Path(FOLDER)) and path.stem in names:
        return preset_folder() / f"{path.stem}.py"
    meant = nearest_or_all(path.stem, names, "give one of {}, or the path of a file")
    raise UserError(f"--config {text!r} is neither a preset nor a file; {meant}")


def load_preset(name: str) -> ModuleType:
    """Imports the module of a preset; its `get_config()` returns the config."""
    return importlib.import_module(f"{PACKAGE}.{name}")
