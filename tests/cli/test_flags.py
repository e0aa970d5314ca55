"""What the commands read: presets, overrides in any order, help; twice in one process."""

from pathlib import Path
from types import ModuleType

import pytest
from absl.flags import FlagValues

from msst_jax.cli import stylize, train
from msst_jax.cli.flags import Command, TextRequested, parse_command
from msst_jax.configs import photo
from msst_jax.errors import UserError
from msst_jax.presets.lookup import preset_names
from tests.helpers.commands import ROOT, STYLIZE, TRAIN, run_command

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # how ml_collections reads files


def parse(*arguments: str) -> Command:
    return parse_command(
        ["stylize.py", *arguments], stylize.USAGE, stylize.define_flags, stylize.PRESETS, lambda _: photo.get_config()
    )


def test_without_config_it_is_the_default_preset() -> None:
    command = parse("photo.jpg")
    assert command.default
    assert command.config == photo.get_config()
    assert command.arguments == ["photo.jpg"]


@pytest.mark.parametrize("given", [["--config=seed"], ["--config", "seed"], [f"--config={ROOT}/configs/seed.py"]])
def test_a_preset_is_taken_by_name_or_path(given: list[str]) -> None:
    command = parse(*given, "photo.jpg")
    assert not command.default
    assert command.config.steps_multiple == 20
    assert command.arguments == ["photo.jpg"]


@pytest.mark.parametrize("arguments", [["--config=seed", "--config.steps=7"], ["--config.steps=7", "--config=seed"]])
def test_overrides_may_come_before_the_preset(arguments: list[str]) -> None:
    command = parse(*arguments)
    assert command.config.steps == 7
    assert command.config.steps_multiple == 20
    assert command.overrides == {"steps": 7}


def test_one_command_line_leaves_nothing_for_the_next() -> None:
    assert parse("--config.steps=7", "--seed=3").flags.seed == 3
    command = parse()
    assert command.flags.seed == 0
    assert command.config == photo.get_config()


def test_a_preset_that_is_none_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--config 'nowhere' is neither a preset nor a file"):
        parse("--config=nowhere")


EMPTY = {  # what says so of itself, because more is wrong with it
    "seed": "--seed=: invalid literal for int",
    "quality": "--quality=: invalid literal for int",
    "preview-every": "--preview-every=: invalid literal for int",
    "profile": "--profile=: invalid literal for int",
    "stroke-size": "--stroke-size=: could not convert string to float",
    "subsampling": "--subsampling=: value should be one of <4:4:4|",
    "metadata": "--metadata=: value should be one of <keep|none>",
    **{
        name: f"flag --{name}=: " for name in ("regions-only", "compare", "resume", "deterministic", "quiet", "restart")
    },
    "flagfile": "--flagfile has no value; give the path of a file of flags",
    "config": "--config has no value; give the name of a preset or the path of a file",
}


def flag_names(command: ModuleType) -> list[str]:
    values = FlagValues()
    command.define_flags(values)
    return sorted({*(values[name].name for name in values), "config", "config.photo", "flagfile"})


@pytest.mark.parametrize(
    ("script", "name"),
    [(STYLIZE, name) for name in flag_names(stylize)]
    + [(TRAIN, name) for name in flag_names(train) if name != "config.photo"],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
@pytest.mark.parametrize("form", ["--{}=", "-{}="])
def test_a_flag_without_a_value_is_one_line_and_nothing_runs(
    tmp_path: Path, script: Path, name: str, form: str
) -> None:
    code, stderr = run_command([form.format(name)], tmp_path, script)
    assert code == 2
    assert len(stderr.splitlines()) == 1
    assert EMPTY.get(name, f"{script.name}: --{name} has no value; give one, or leave it out") in stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("output", ["-o", ""]),
        ("output", ["-o="]),
        ("model", ["--model", ""]),
        ("flagfile", ["--flagfile", ""]),
        ("flagfile", ["--flagfile"]),
        ("flagfile", ["--flagfile= "]),
    ],
    ids=str,
)
def test_an_empty_text_as_an_argument_of_its_own_is_no_value(tmp_path: Path, name: str, arguments: list[str]) -> None:
    code, stderr = run_command(arguments, tmp_path)
    assert code == 2
    assert stderr.startswith(f"stylize.py: --{name} has no value; give ")
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize(("script", "command"), [(STYLIZE, stylize), (TRAIN, train)])
def test_help_names_every_flag_and_preset(script: Path, command, tmp_path: Path, capsys) -> None:
    with pytest.raises(TextRequested, match="--config"):
        parse("--help")
    assert run_command(["--help"], tmp_path, script) == (0, "")
    text = capsys.readouterr().out
    assert text.startswith(command.USAGE.splitlines()[0])
    values = FlagValues()
    command.define_flags(values)
    assert all(f"--{name}" in text for name in values)
    assert all(name in text for name in command.PRESETS)
    assert f"python {script.name} " in text


def test_every_preset_is_of_one_command() -> None:
    assert sorted([*stylize.PRESETS, *train.PRESETS]) == preset_names()
