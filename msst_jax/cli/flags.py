"""The command line of the scripts: flags and the config that they override, read without global state."""

import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from msst_jax.cli.imports import find_imports, import_modules
from msst_jax.errors import UserError, first_line
from msst_jax.io.remote import input_path
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.presets.lookup import preset_path
from msst_jax.presets.recorded import RecordedRun, hint_of_imports, read_recorded_run, recorded_config
from msst_jax.presets.renamed import describe_renamed
from msst_jax.presets.validation import check_fields
from msst_jax.runtime.versions import version_of

DISTRIBUTION = "msst_jax"
HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")
VERSION = ("--version", "-version")


class TextRequested(Exception):
    """The user asks for help, or for the version, which is the message."""


class Command(NamedTuple):
    """A command line that was read."""

    flags: flags.FlagValues
    arguments: list[str]
    """Positional arguments."""
    config: ConfigDict
    """The preset with the overrides of the command line."""
    overrides: dict[str, Any]
    """--config.FIELD=VALUE."""
    preset: str | None
    """The value of --config; None = not given."""
    recorded_flags: Mapping[str, Any]
    """What a JSON given as --config records and the command line does not give, see `RecordedRun`."""
    imports: tuple[str, ...] = ()
    """The modules of --import, which are loaded."""
    missing_imports: tuple[str, ...] = ()
    """Modules that a JSON given as --config records, and --import does not name."""

    @property
    def default(self) -> bool:
        """Whether no --config was given."""
        return self.preset is None

    @property
    def given(self) -> list[str]:
        """The flags on the command line, but for --config and its fields."""
        present = dict.fromkeys(self.flags[name].name for name in self.flags if self.flags[name].present)
        return [name for name in present if name.partition(".")[0] != "config"]

    @property
    def recorded(self) -> bool:
        """Whether the config is that of an earlier run."""
        return (self.preset or "").lower().endswith(".json")


def parse_command(
    argv: Sequence[str],
    usage: str,
    define: Callable[[flags.FlagValues], None],
    presets: Sequence[str],
    template: Callable[[ConfigDict], ConfigDict],
) -> Command:
    """Reads a command line.

    Args:
      argv: the program and its arguments.
      usage: what --help says before the flags; in it, {command} stands for the program.
      define: defines the flags, but for --config.
      presets: those of the command; the first is taken if --config names none.
      template: a config to one with the fields that it must have, or a UserError.

    Raises:
      TextRequested: --help or --version, with the text to print.
      UserError: anything that is wrong with the flags or the config.
    """
    program, *arguments = argv
    if any(argument in VERSION for argument in arguments):
        raise TextRequested(f"{DISTRIBUTION} {version_of(DISTRIBUTION)}")
    values = flags.FlagValues()
    define(values)
    about = f"Preset ({', '.join(presets)}), file, or out.json of a run; --config.FIELD=VALUE overrides a field."
    if any(argument in HELP for argument in arguments):
        config_flags.DEFINE_config_file("config", None, about, values, sys_argv=[program])
        name = Path(program).name
        raise TextRequested(_help(usage.format(command=f"python {name}" if name.endswith(".py") else name), values))
    recorded: Mapping[str, Any] = {}
    missing: tuple[str, ...] = ()
    path = None
    try:
        _check_flag_files(arguments)
        chosen, arguments = _without_preset(values.read_flags_from_files(arguments, force_gnu=False))
        imports = tuple(find_imports(arguments))
        import_modules(imports)  # first: the config may need what they register
        path = preset_path(chosen or presets[0])
        if path.suffix.lower() == ".json":
            run = read_recorded_run(path)
            missing = tuple(name for name in run.imports if name not in imports)
            with hint_of_imports(missing):
                rest, recorded = _parse_recorded(run, values, [program, *arguments], about, template)
        else:
            line = [program, f"--config={path}", *arguments]  # where ml_collections wants it
            config_flags.DEFINE_config_file("config", None, about, values, sys_argv=line)
            _, *rest = values(line)
        config = values["config"].value
        _check_given_values(values)
        check_fields(config, template(config))
    except UserError:
        raise
    except Exception as error:  # a config file is a program and can raise anything
        raise UserError(_describe_config_error(error, path) or describe_error(error)) from error
    overrides = config_flags.get_override_values(values["config"])
    return Command(values, rest, config, overrides, chosen, recorded, imports, missing)


def define_import(values: flags.FlagValues) -> None:
    """Defines --import, which `parse_command` acts on."""
    flags.DEFINE_multi_string(
        "import",
        [],
        "Module on sys.path, or .py file, that is loaded first: it may register segmenters, tasks and stylizers.",
        flag_values=values,
    )


def define_deterministic(values: flags.FlagValues) -> None:
    """Defines --deterministic, see `prepare_xla`."""
    flags.DEFINE_boolean(
        "deterministic",
        False,
        "On a GPU only kernels that repeat their results bit for bit, none chosen by speed; a CPU does so anyway.",
        flag_values=values,
    )


def _check_flag_files(arguments: Sequence[str]) -> None:
    """Raises UserError for --flagfile without a name, which absl leaves out."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name in ("-flagfile", "--flagfile") and not (value if equals else following).strip():
            raise UserError("--flagfile has no value; give the path of a file of flags")


def _check_given_values(values: flags.FlagValues) -> None:
    """Raises UserError for a flag that is given with an empty text, such as of a variable that is not set.

    A field of the config may be one, for its default; but not the photo, for which the bundled example would be taken.
    """
    given = {f"--{values[name].name}": values[name].value for name in values if values[name].present}
    given["--config.photo"] = config_flags.get_override_values(values["config"]).get("photo")
    for name, value in given.items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise UserError(f"{name} has no value; give one, or leave it out")


def _parse_recorded(
    recorded: RecordedRun,
    values: flags.FlagValues,
    line: Sequence[str],
    about: str,
    template: Callable[[ConfigDict], ConfigDict],
) -> tuple[list[str], dict[str, Any]]:
    """Parses a command line that repeats an earlier run: the positional arguments, and the recorded flags.

    Raises:
      UserError: a recorded value that the flag cannot have.
    """
    config_flags.DEFINE_config_dict("config", recorded_config(recorded, template), about, values, sys_argv=[*line])
    _, *rest = values(line)
    given = {name: value for name, value in recorded.flags.items() if name not in values or not values[name].present}
    try:
        return rest, {
            name: _parse_value(values[name], value) if name in values else value for name, value in given.items()
        }
    except (ValueError, TypeError) as error:
        raise UserError(f"the JSON given as --config has a flag with a wrong value ({first_line(error)})") from error


def _parse_value(flag: flags.Flag, value: Any) -> Any:
    """A recorded value as the command line gives it: a list of a flag that may be repeated."""
    if not isinstance(flag, flags.MultiFlag):
        return flag.parser.parse(value)
    if not isinstance(value, list):
        raise TypeError(f"--{flag.name} takes a list, found {value!r}")
    return [flag.parser.parse(part) for part in value]


def _without_preset(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The last value of --config, None without one, and the other arguments."""
    others: list[str] = []
    chosen = None
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if name in ("-config", "--config"):
            chosen = value if equals else next(remaining, "")
            if not chosen:
                raise UserError("--config has no value; give the name of a preset or the path of a file")
        else:
            others.append(argument)
    return chosen, others


def _help(usage: str, values: flags.FlagValues) -> str:
    """The usage and every flag, in the order of their definition."""
    lines = [usage.strip(), ""]
    for name in dict.fromkeys(flag.name for module in values.flags_by_module_dict().values() for flag in module):
        flag = values[name]
        short = f"-{flag.short_name}, " if flag.short_name else ""
        text = " ".join(str(flag.help).split()).replace(
            ".; repeat this option to specify a list of values", "; repeatable."
        )
        lines.append(f"  {short}--{name}\n      {text}")
    return "\n".join(lines)


def _describe_config_error(error: Exception, path: Path | None) -> str:
    """One line for what a Python file given as --config raises, or lacks; "" for any other error."""
    if isinstance(error, AttributeError) and str(error).endswith("no attribute 'get_config'"):
        return f"--config {path} defines no get_config(); let it return a config, as configs/photo.py does"
    raised: BaseException | None = error
    while raised:  # absl and ml_collections wrap errors of some types
        frames = traceback.walk_tb(raised.__traceback__)
        if lines := [line for frame, line in frames if Path(frame.f_code.co_filename) == path]:
            return f"--config {path} fails in line {lines[-1]} ({describe_error(error)}); mend it"
        raised = raised.__context__
    return ""


def describe_error(error: Exception) -> str:
    """One line for what absl and ml_collections raise when a flag or a config file cannot be used."""
    reason: object = error
    while isinstance(reason, AttributeError | KeyError):  # ml_collections wraps one in the other
        reason = reason.args[0] if reason.args else type(reason).__name__
    text = " ".join(str(reason).split())
    if isinstance(error, OSError | flags.Error) and text:  # of several lines, the last tells the cause
        last = str(error).strip().splitlines()[-1]
        text = last.rpartition("failure to load: ")[-1].removeprefix("ERROR:: ").strip()
    if isinstance(error, OSError):
        return f"the config file cannot be read ({text}); check --config"
    if renamed := describe_renamed(_missing_field(text)):
        return renamed
    return f"the config has no field {text}" if text.startswith("'") else text or type(error).__name__


def _missing_field(text: str) -> str:
    """The name in what ml_collections says of a field that a config lacks; "" in anything else."""
    found = re.match(r"'(\w+)'|Key \"(\w+)\" does not exist", text)
    return (found[1] or found[2]) if found else ""


def define_names_or_all(values: flags.FlagValues, name: str, about: str) -> None:
    """Defines a flag that is given without a value or with some: "true", "false" after --noNAME, or the text."""
    parser: flags.ArgumentParser[str] = flags.ArgumentParser()
    flag = flags.Flag(parser, flags.ArgumentSerializer(), name, None, about, boolean=True)
    flags.DEFINE_flag(flag, values)


def parse_region_files(pairs: Iterable[str], flag: str) -> dict[str, str]:
    """As `split_region_files`, with the paths resolved by `input_path`.

    Raises:
      UserError: as there, or a path that cannot be used.
    """
    files = split_region_files(pairs, flag)
    return {name: str(input_path(file, f"--{flag} {name}")) for name, file in files.items()}


def split_region_files(pairs: Iterable[str], flag: str, value: str = "FILE") -> dict[str, str]:
    """["person=a.jpg", ...] to {"person": "a.jpg", ...}.

    Args:
      pairs: NAME=FILE each.
      flag: where they are from.
      value: what it takes in place of FILE.

    Raises:
      UserError: not NAME=FILE, or a region named twice.
    """
    files: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise UserError(f"--{flag} {pair!r} is not NAME={value}; write for example --{flag} person={value}")
        if name in files:
            raise UserError(f"--{flag} names the region {name!r} twice ({files[name]} and {file}); leave one out")
        files[name] = file
    return files


def resolve_config_paths(
    config: ConfigDict, fields: Iterable[str], words: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> None:
    """Gives the fields of a config that name files their meaning, see `input_path`; those that it lacks are ignored.

    Args:
      config: changed in place.
      fields: those that name files.
      words: {field: what may stand in place of a file}.

    Raises:
      UserError: a path that cannot be used.
    """
    for field in fields:
        if config.get(field):
            meaning = {"stream": field == "photo", "words": words.get(field, ())}
            config[field] = str(input_path(config[field], f"config.{field}", file=MODEL_FILE, **meaning))
