"""What the README shows works as shown."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(mark: str) -> str:
    """The fenced block that follows a line <!-- mark -->."""
    found = re.search(rf"^<!-- {re.escape(mark)} -->\n```\w+\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no block marked {mark!r}"
    return found.group(1)


def test_the_example_of_an_own_loss_runs_and_lowers_that_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block("test: own loss"), names)
    assert (tmp_path / "outputs" / "warm.png").exists()
    loss = names["outcome"].losses[0]  # type: ignore[attr-defined]
    assert loss["warmth"][-1] < loss["warmth"][0]
    terms = [np.asarray(values) for name, values in loss.items() if name != "total"]
    np.testing.assert_allclose(np.sum(terms, 0), loss["total"], rtol=1e-5)
    assert str(loss["warmth"][0]) in capsys.readouterr().out


def test_the_set_up_commands_are_those_that_ci_runs() -> None:
    ci = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    for mark in ("quickstart", "test"):
        assert "python3 -m venv" in block(f"ci: {mark}")
        assert f"readme {mark}" in ci


def test_every_flag_in_the_table_exists() -> None:
    folder = Path(__file__).parents[2]
    source = (folder / "stylize.py").read_text() + (folder / "train.py").read_text()
    flags = set(re.findall(r"^\| `--([a-z-]+)", README, re.MULTILINE))
    assert flags >= {"style", "mask", "blend", "compare", "config", "seed", "quiet", "segmenter", "regions-only"}
    for flag in flags:
        assert f'"{flag}"' in source
