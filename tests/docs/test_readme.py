"""The README is short, its commands are those that CI runs, its code runs, and its figures are the measured ones."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.markdown import README, ROOT, block, table_rows

MAX_LINES = 150
RESULTS = ROOT / "benchmarks" / "results"
SPEED, PARITY = RESULTS / "amd-epyc-2-cores.json", RESULTS / "parity-amd-epyc-2-cores.json"
ORIGINAL = "PyTorch, the original's structure"
QUALITY_PAGES = {  # the pages that hold the whole tables of what is not in benchmarks/results
    "benchmarks.quality.segmentation": ROOT / "docs" / "regions.md",
    "benchmarks.quality --set": ROOT / "docs" / "benchmarks.md",
    "benchmarks.quality.flicker": ROOT / "docs" / "video.md",
}


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def speed_row(group: str, size: str, what: str = "") -> dict[str, Any]:
    (row,) = (row for row in load(SPEED)["groups"][group]["rows"] if row["size"] == size and what in row["what"])
    return dict(row)


def ratio(group: str, size: str, comparative: str, what: str = "", reference: str = ORIGINAL) -> str:
    (values,) = (other["ratio"] for other in speed_row(group, size, what)["references"] if other["name"] == reference)
    median, least, most = (f"{value:.1f}" for value in values)
    return f"{median} times {comparative} ({least} to {most})"


def error(what: str) -> str:
    """The largest error of a comparison over its shapes, at both precisions, as 2.5e-6."""
    rows = [row for row in load(PARITY)["rows"] if row["what"] == what]
    assert rows, f"no result of {what!r}"
    digits, exponent = f"{max(row[key]['error'] for row in rows for key in ('default', 'highest')):.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def measured_figures() -> dict[str, list[str]]:
    """{first cell of a headline: its second and third cells}; None for a third cell that holds no figure."""
    memory = speed_row("memory", "1024x1024")
    (remat,) = (other["memory_gb"] for other in memory["references"] if other["name"] == "msst_jax, config.remat")
    whole = "whole loss, 2 regions"
    original = "the original's structure in PyTorch"
    torchvision = "torchvision in float64"
    return {
        "VGG-16, worst layer": [error("VGG-16, embedded weights, worst tap"), torchvision],
        "DeepLab-V3 ResNet-101, logits": [error("deeplabv3_resnet101, logits"), torchvision],
        "whole loss of 2 regions: value, gradient": [
            f"{error(f'{whole}, value')}, {error(f'{whole}, gradient (norm of the difference)')}",
            "PyTorch, autograd",
        ],
        "L-BFGS, 40 iterations in float64": [error("L-BFGS, 40 iterations, float64"), "`torch.optim.LBFGS`"],
        "feed-forward model, images": [error("fast model, 3 styles, width 16, images"), "a PyTorch twin"],
        "time to the original's loss, 512x512": [ratio("time_to_loss", "512x512", "sooner"), original],
        "an evaluation of loss and gradient, 512x512": [ratio("optimize", "512x512", "faster"), original],
        **{
            f"an evaluation of the default look, {regions} regions, 512x512": [
                ratio("guided", "512x512", "faster", f"{regions} regions", "msst_jax, configs/photo_separate.py"),
                "one image per region, `photo_separate`",
            ]
            for regions in (2, 4)
        },
        "peak memory per megapixel with `config.remat`": [
            f"{remat:.1f} GB",
            f"{memory['memory_gb']:.1f} GB without it",
        ],
    }


def headlines() -> list[list[str]]:
    """The rows of the README that end with the command of a benchmark."""
    return [
        row for row in table_rows(README.read_text(encoding="utf-8")) if row[-1].startswith("`python -m benchmarks")
    ]


def test_the_readme_stays_a_front_door() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_set_up_commands_are_those_that_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for mark in ("quickstart", "test"):
        assert "python3 -m venv" in block(README, f"ci: {mark}")
        assert f"readme {mark}" in ci


def test_the_python_lines_stylize_the_bundled_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block(README, "test: python"), names)
    assert (tmp_path / "out.png").exists()
    assert names["result"].masks.keys() == {"person", "background"}
    assert names["result"].picture.shape == (64, 64, 3)
    total = names["result"].losses["total"]
    assert len(total) == 10
    assert np.min(total) < total[0]
    assert str(total) in capsys.readouterr().out


def test_every_headline_figure_is_the_measured_one() -> None:
    shown = {row[0]: row[1:3] for row in headlines() if "quality" not in row[-1]}
    assert shown == measured_figures()


def test_figures_of_quality_are_those_of_their_page() -> None:
    rows = [row for row in headlines() if "quality" in row[-1]]
    assert {module for row in rows for module in QUALITY_PAGES if module in row[-1]} == set(QUALITY_PAGES)
    for row in rows:
        (page,) = (page.read_text(encoding="utf-8") for module, page in QUALITY_PAGES.items() if module in row[-1])
        figures = re.findall(r"\d+\.\d+%?", f"{row[1]} {row[2]}")
        assert figures
        for figure in figures:
            assert re.search(rf"\| {re.escape(figure)} [|(]", page), f"{figure} is not in a table of the page"
