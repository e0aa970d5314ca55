"""benchmarks.parity: every group is measured, injected errors are detected, and the JSON matches the printed table."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from benchmarks.parity import __main__ as parity
from benchmarks.parity import losses
from benchmarks.parity import networks as parity_networks
from benchmarks.parity import steps as parity_steps
from benchmarks.parity.rows import Comparison, Label, Row, WorstError, measure_rows, relative_errors, worst_error
from msst_jax.losses import functional
from msst_jax.models.vgg import VGG, tap_names
from msst_jax.optim.lbfgs import torch_lbfgs
from reference import lbfgs_cases, stylizer_cases
from reference.random_networks import MOBILENET, deeplab_state, vgg_state
from tests.helpers.checkpoints import saved

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def one_precision(monkeypatch: Patch) -> None:
    """Computes once instead of twice: both columns hold the result at the default precision."""

    def rows(group: str, comparison: Comparison) -> list[Row]:
        return measure_rows(group, comparison._replace(start=lambda: functools.cache(comparison.start())))

    monkeypatch.setattr(parity, "measure_rows", rows)


def measure_quickly(*groups: str) -> dict[str, dict[str, Any]]:
    """{what: row}."""
    return {row["what"]: row for row in parity.measure(groups, quick=True)["rows"]}


def failures(rows: dict[str, dict[str, Any]]) -> list[str]:
    return [what for what, row in rows.items() if not row["ok"]]


@pytest.mark.usefixtures("one_precision")
@pytest.mark.slow
def test_quick_run_covers_every_group_and_prints_what_the_json_holds(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(parity_steps, "BATCHES", ())  # compiling its gradient takes as long as everything else
    output = tmp_path / "new" / "parity.json"
    assert parity.main(["--quick", "--output", str(output)]) == 0
    results, printed = json.loads(output.read_text()), capsys.readouterr().out
    assert {row["group"] for row in results["rows"]} == set(parity.GROUPS)
    assert printed == parity.table(results) + "\n"
    assert "**" not in printed
    lines = printed.splitlines()
    assert len(lines) == 2 + len(results["rows"]) + 2
    for row, line in zip(results["rows"], lines[2:], strict=False):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:3] == [row["what"], row["against"], row["shape"]]
        for cell, precision in zip(cells[3:5], ("default", "highest"), strict=True):
            number, _, at = cell.partition(" (")
            assert float(number) == pytest.approx(row[precision]["error"], rel=0.05)
            assert at == (f"{row[precision]['at']})" if row[precision]["at"] else "")
        assert float(cells[5]) == row["limit"]
    for key in ("device", "platform", "jax", "torch", "torchvision", "date"):
        assert results[key] in lines[-1]


@pytest.mark.slow
def test_every_quick_comparison_is_within_its_limit() -> None:
    rows = measure_quickly(*parity.GROUPS)
    assert not failures(rows)
    assert "fast model, 2 styles, worst gradient of a parameter" in rows


# --- injected errors
def test_wrong_loss_is_marked_and_exits_with_1(monkeypatch: Patch, capsys: Capture) -> None:
    gram = functional.gram
    monkeypatch.setattr(functional, "gram", lambda features: 1.001 * gram(features))
    assert parity.main(["--quick", "--only", "losses"]) == 1
    captured = capsys.readouterr()
    bold = [line for line in captured.out.splitlines() if "**" in line]
    assert [line.split("|")[1].strip() for line in bold] == ["**gram, value**", "**gram, gradient**"]
    assert "1e-3" in bold[0]
    assert captured.err.count("\n") == 1
    assert "2 above the limit at the highest precision: gram, value; gram, gradient" in captured.err


@pytest.mark.usefixtures("one_precision")
def test_wrong_kernel_is_detected_at_its_layer(monkeypatch: Patch) -> None:
    load = parity_networks.load_vgg

    def load_wrong(*arguments: Any, **keywords: Any) -> tuple[VGG, Path]:
        model, path = load(*arguments, **keywords)
        model.conv4_3.kernel[...] *= 1.001
        return model, path

    monkeypatch.setattr(parity_networks, "load_vgg", load_wrong)
    (row,) = measure_quickly("vgg").values()
    assert not row["ok"]
    assert row["highest"]["at"] in ("conv4_3", "relu4_3")
    assert 1e-4 < row["highest"]["error"] < 1e-2


def test_wrong_optimizer_is_detected(monkeypatch: Patch) -> None:
    monkeypatch.setattr(lbfgs_cases, "torch_lbfgs", lambda rate, history: torch_lbfgs(0.99 * rate, history))
    (row,) = measure_rows("lbfgs", parity_steps.lbfgs(quick=True)[0])
    assert not row.ok
    assert row.default.error > row.limit


@pytest.mark.usefixtures("one_precision")
def test_wrong_image_of_the_feedforward_model_is_detected(monkeypatch: Patch) -> None:
    monkeypatch.setattr(parity_steps, "BATCHES", ())
    monkeypatch.setattr(stylizer_cases, "stylised", lambda _, images, masks: jnp.full(images.shape, 0.5))
    rows = measure_quickly("fast")
    assert failures(rows) == list(rows) != []


def test_wrong_training_loss_or_gradient_is_detected(monkeypatch: Patch) -> None:
    right = stylizer_cases.torch_training(stylizer_cases.training_case(2, 2, (17, 22), 0))
    gradients = {**right.gradients, "transfer.bias": 1.001 * right.gradients["transfer.bias"]}
    wrong = right._replace(loss=1.001 * right.loss, gradients=gradients)
    monkeypatch.setattr(stylizer_cases, "torch_training", lambda _: right)
    training = parity_steps.feedforward(quick=True)[1]
    monkeypatch.setattr(stylizer_cases, "our_training", lambda *_: right)
    assert all(row.ok for row in measure_rows("fast", training))
    monkeypatch.setattr(stylizer_cases, "our_training", lambda *_: wrong)
    loss, gradient = measure_rows("fast", training)
    assert not loss.ok
    assert not gradient.ok
    assert gradient.highest.at == "transfer.bias, seed 0"


@pytest.mark.usefixtures("one_precision")
def test_wrong_weight_in_the_total_loss_is_detected(monkeypatch: Patch) -> None:
    factors = losses.loss_cases.FACTORS
    evaluate = losses.loss_cases.evaluate
    wrong = factors._replace(blend=1.001 * factors.blend)
    monkeypatch.setattr(losses.loss_cases, "evaluate", lambda vgg, *arguments: evaluate(vgg, *arguments[:-1], wrong))
    rows = measure_quickly("whole_loss")
    assert failures(rows) == list(rows) != []


# --- a checkpoint of the user's
@pytest.fixture(scope="module")
def own_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG-16 of random weights as data-parallel training saves it."""
    state = {f"module.{key}": value for key, value in vgg_state("vgg16").items()}
    return saved(tmp_path_factory.mktemp("own") / "mine.pth", {"state_dict": state, "epoch": 3})


@pytest.mark.usefixtures("one_precision")
def test_an_own_checkpoint_is_compared_with_torch_at_every_layer(
    own_vgg: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "mine.json"
    assert parity.main(["--quick", "--checkpoint", str(own_vgg), "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert (row["group"], row["what"]) == ("checkpoint", "mine.pth as vgg16, worst tap")
    assert row["ok"]
    assert row["highest"]["at"] in tap_names("vgg16")
    assert "mine.pth as vgg16, worst tap" in capsys.readouterr().out


@pytest.mark.usefixtures("one_precision")
def test_a_wrongly_converted_layer_of_an_own_checkpoint_is_named(own_vgg: Path, monkeypatch: Patch) -> None:
    convert = parity_networks.convert

    def convert_wrongly(*arguments: Any, **keywords: Any) -> dict[str, np.ndarray]:
        tensors = convert(*arguments, **keywords)
        return {**tensors, "conv3_2.kernel": tensors["conv3_2.kernel"].swapaxes(0, 1).copy()}

    monkeypatch.setattr(parity_networks, "convert", convert_wrongly)
    (row,) = parity.measure_checkpoint(own_vgg, quick=True)["rows"]
    assert not row["ok"]
    assert tap_names("vgg16").index(row["highest"]["at"]) >= tap_names("vgg16").index("conv3_2")


def test_an_own_segmenter_gives_rows_of_its_blocks_and_logits(tmp_path: Path) -> None:
    path = saved(tmp_path / "segmenter.pth", deeplab_state(MOBILENET))
    (found,) = parity_networks.checkpoint(path, quick=True)
    assert [label.what for label in found.labels.values()] == [
        f"segmenter.pth as {MOBILENET}, {part}" for part in ("worst block", "logits")
    ]


@pytest.mark.slow
def test_an_own_segmenter_is_within_the_limit(tmp_path: Path) -> None:
    path = saved(tmp_path / "segmenter.pth", deeplab_state(MOBILENET))
    rows = {row["what"]: row for row in parity.measure_checkpoint(path, quick=True)["rows"]}
    assert len(rows) == 2
    assert not failures(rows)


def test_a_checkpoint_of_no_known_network_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    path = saved(tmp_path / "other.pth", {"layer.weight": torch.zeros(1)})
    assert parity.main(["--checkpoint", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "other.pth holds no network that is known here: found 1 tensors (layer.weight)" in captured.err


# --- rows, errors and the command line
def comparison(errors: Any, limit: float = 1.0) -> Comparison:
    return Comparison({"a": Label("what", "torch", "2x3", limit)}, lambda: lambda: {"a": errors()})


def test_both_precisions_are_measured_even_with_one_jitted_function() -> None:
    precisions = []

    @jax.jit
    def error(x: jax.Array) -> jax.Array:
        precisions.append(jax.config.jax_default_matmul_precision)
        return x

    (row,) = measure_rows("group", comparison(lambda: {"x": float(error(jnp.float32(0.5)))}))
    assert precisions == [None, "highest"]
    assert row.default == row.highest == WorstError(0.5, "")


def test_limit_applies_to_the_highest_precision_only() -> None:
    def error() -> dict[str, float]:
        return {"x": 0.1 if jax.config.jax_default_matmul_precision == "highest" else 0.9}

    (row,) = measure_rows("group", comparison(error, limit=0.5))
    assert row.ok
    assert (row.default.error, row.highest.error) == (0.9, 0.1)
    assert not row._replace(limit=0.05).ok


def test_worst_tensor_is_named_and_nan_is_the_worst() -> None:
    assert worst_error({"a": 1.0, "b": 3.0, "c": 2.0}) == WorstError(3.0, "b")
    assert worst_error({"a": 1.0, "b": math.nan}) == WorstError(math.inf, "b")


def test_errors_are_relative_to_the_largest_magnitude() -> None:
    theirs = {"a": np.array([-4.0, 1.0]), "b": np.zeros(2), "c": np.ones(3)}
    assert relative_errors({"a": np.array([-4.0, 2.0]), "b": np.zeros(2), "c": np.ones(2)}, theirs) == {
        "a": 0.25,
        "b": 0,
        "c": math.inf,
    }


def test_incomparable_tensors_give_valid_json_and_are_marked() -> None:
    infinite = WorstError(math.inf, "x")
    row = parity.row_to_json(Row("group", "what", "torch", "2", infinite, infinite, 1.0))
    assert not row["ok"]
    results = json.loads(json.dumps({**parity.environment(), "rows": [row]}, allow_nan=False))
    assert (
        "| **what** | **torch** | **2** | **not comparable (x)** | **not comparable (x)** | **1e0** |"
        in parity.table(results)
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "vgg", "resnet"], "invalid choice: 'resnet'"),
        (["--only"], "expected at least one argument"),
        (["--fast"], "unrecognized arguments: --fast"),
        (["--output", "."], "it is a folder"),
        (["--checkpoint", "x.pth", "--only", "vgg"], "not allowed with argument"),
        (["--checkpoint", "none.pth"], "none.pth does not exist"),
    ],
)
def test_bad_flags_exit_with_2_and_one_line(flags: list[str], message: str, capsys: Capture) -> None:
    assert parity.main(flags) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not captured.out
