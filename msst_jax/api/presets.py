"""From a preset and keyword arguments to the config of a run, by the rules of the command line."""

import importlib.util
import inspect
import os
from collections.abc import Collection, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from msst_jax.errors import UserError, first_line, nearest_or_all
from msst_jax.presets.applicability import STYLIZE_FIELDS, Given, Run, describe_inert
from msst_jax.presets.lookup import load_preset, preset_folder, preset_path
from msst_jax.presets.recorded import hint_of_imports, read_recorded_run, recorded_config, stylization_template
from msst_jax.presets.renamed import describe_renamed
from msst_jax.presets.validation import check_config, check_fields
from msst_jax.video.blend_schedule import BlendSchedule, parse_blend_schedule

INPUTS = ("photo", "styles", "masks", "points")
"""Fields of a config that the arguments of the functions take the place of."""
PresetLike: TypeAlias = str | os.PathLike[str] | ConfigDict
"""The name of a preset, the path of a Python file with get_config() or of the JSON of a run, or a derived config."""


class Preset(NamedTuple):
    """What a caller gave as preset.

    Attributes:
      config: as it was given.
      recorded: whether it is that of an earlier run; the rest is what its JSON has beside the config.
      seed: of the random start.
      blend: as --blend takes it; empty = that of the config.
      imports: modules of the user's that the run had imported.
    """

    config: ConfigDict
    recorded: bool = False
    seed: int = 0
    blend: str = ""
    imports: tuple[str, ...] = ()


def read_preset(preset: PresetLike) -> Preset:
    """Reads a preset.

    Raises:
      UserError: an unknown preset, a file that is none or fails, or a config for training.
    """
    read = _load(preset)
    if "task" in read.config:
        raise UserError(f"preset {preset!r} is for training; give one for photos, such as 'photo'")
    return read


def build_config(preset: Preset, overrides: Mapping[str, Any], function: str) -> ConfigDict:
    """The config of a preset with some of its numbers replaced.

    Args:
      preset: see `read_preset`.
      overrides: {field: value}.
      function: what the caller called, named in errors.

    Raises:
      UserError: an unknown field, a partial config, a value of another type, out of range or no choice.
    """
    default = load_preset("photo").get_config()
    check_fields(preset.config, default)
    for name in preset.config:
        if name not in default:
            meant = describe_renamed(name) or nearest_or_all(name, [*default])
            raise UserError(f"the preset has a field {name!r}, which has no effect; {meant}")
    config = preset.config.copy_and_resolve_references()
    for name, value in overrides.items():
        _check_name(name, default, function)
        config[name] = _like(name, value, default[name])
    with hint_of_imports(preset.imports):
        check_config(config)
    return config


def check_inert(
    run: Run, overrides: Mapping[str, Any], config: ConfigDict, *, masked: bool, kept: Collection[str]
) -> None:
    """Raises UserError for overrides that do not act in a run of this kind; see `describe_inert`."""
    phrases = describe_inert(run, STYLIZE_FIELDS, Given([], overrides, config, masked, kept=kept))
    if phrases:
        raise UserError(f"no effect: {'; '.join(phrases)}; leave it out")


def recorded_blend(preset: Preset, blend: Any, overrides: Mapping[str, Any], *, video: bool) -> BlendSchedule | None:
    """The blend that the JSON of a run has beside its config, if the caller gives none; of a photo it is one ratio.

    Several ratios, and in a photo a schedule, are left out in one line, as on the command line.

    Raises:
      UserError: the caller gives both the argument `blend` and the field that it stands for.
    """
    if blend is not None and "blend_ratio" in overrides:
        raise UserError("blend and blend_ratio both say what it is; leave one out")
    if blend is not None or "blend_ratio" in overrides or not preset.blend:
        return None
    if "," in preset.blend and not (video and ":" in preset.blend):
        logging.warning("blend %s of the preset is left out, since it does not fit this run", preset.blend)
        return None
    return parse_blend_schedule(preset.blend)


def _load(preset: PresetLike) -> Preset:
    if isinstance(preset, ConfigDict):
        return Preset(preset)
    if not isinstance(preset, str | os.PathLike) or not os.fspath(preset):
        raise UserError(f"preset is {preset!r}; give a name such as 'photo', the path of a file, or a config")
    path = preset_path(os.fspath(preset))
    if path.parent == preset_folder():
        return Preset(load_preset(path.stem).get_config())
    if path.suffix.lower() == ".json":
        return _read_recorded(path)
    return Preset(_run_file(path))


def _read_recorded(path: Path) -> Preset:
    """The preset that the JSON of a run is."""
    run = read_recorded_run(path)
    if "task" in run.fields:
        return Preset(ConfigDict(run.fields))
    config = recorded_config(run, stylization_template)
    return Preset(config, True, run.flags.get("seed", 0), str(run.flags.get("blend", "")), run.imports)


def _run_file(path: Path) -> ConfigDict:
    """The config that a Python file of the user's returns."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"preset {path} defines no get_config(); let it return a config, as configs/photo.py does")
    config = module.get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(f"preset {path} returns {type(config).__name__} from get_config(); let it return a ConfigDict")
    return config


def _check_name(name: str, default: ConfigDict, function: str) -> None:
    fields = [field for field in default if field not in INPUTS]
    if name not in fields:
        meant = describe_renamed(name) or nearest_or_all(name, fields, "its numbers are the fields of configs/photo.py")
        raise UserError(f"{function} has no argument {name!r}; {meant}")


def _like(name: str, value: Any, default: Any) -> Any:
    """The value as the field has it: a tuple of what is a list, a number of Python of one of NumPy's.

    A field that says "auto" takes numbers too, as text.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if default == "auto" and type(value) is int:
        value = str(value)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    matching = isinstance(value, Real) and not isinstance(value, bool) if _is_number(default) else True
    if not matching or (not _is_number(default) and type(value) is not type(default)):
        raise UserError(f"{name} is {value!r}; it must be like {default!r}")
    if type(default) is int and type(value) is not int:
        raise UserError(f"{name} is {value!r}; it must be an integer")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def positive_integer(value: Any, what: str, least: int = 1, most: int = 2**31 - 1) -> int:
    """An argument that counts; UserError unless it is an integer from `least` to `most`."""
    number = value.item() if isinstance(value, np.generic) else value
    if type(number) is not int or not least <= number <= most:
        raise UserError(f"{what} is {value!r}; give an integer of at least {least}, and at most {most}")
    return number


def check_callable(value: Any, what: str, arguments: str) -> None:
    """Raises UserError unless `value` can be called with positional `arguments`, named with commas between them."""
    if not callable(value):
        raise UserError(f"{what} is of the type {type(value).__name__}; give a function of ({arguments})")
    try:
        inspect.signature(value).bind(*arguments.split(", "))
    except ValueError:  # a function without a signature
        return
    except TypeError as error:
        raise UserError(f"{what} is called with ({arguments}): {first_line(error)}") from None
