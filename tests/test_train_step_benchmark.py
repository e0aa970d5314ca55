"""The benchmark of the training step: it runs, and it refuses bad flags in one line."""

import os
from typing import Any

import pytest

from benchmarks import train_step
from configs import fast

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_xla_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark sets them for its process, which is that of all tests here."""
    monkeypatch.setenv("XLA_FLAGS", "")


def test_it_compares_both_programs_and_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    config = fast.get_config()
    with config.unlocked():
        config.blocks = 1
        config.style_layers, config.style_layer_weights = ("relu1_1",), (1.0,)
        config.content_layers = ("relu1_2",)
    monkeypatch.setattr(train_step.fast_config, "get_config", lambda: config)
    assert train_step.main(["--size", "32", "--width", "4", "--batch", "2", "--pairs", "1"]) == 0
    told = capsys.readouterr().out
    assert "| ours |" in told
    assert "| torch |" in told
    assert "2 photos of 32x32, width 4" in told
    assert "load average before" in told


def test_the_kernels_are_those_of_train_py_from_the_first_computation_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def compute(*_: Any) -> None:
        assert "--xla_gpu_deterministic_ops=true" in os.environ["XLA_FLAGS"]
        raise Reached

    monkeypatch.setattr(train_step, "make_problem", compute)
    with pytest.raises(Reached):
        train_step.main([])


def test_programs_that_disagree_are_not_timed() -> None:
    with pytest.raises(RuntimeError, match="do not compute the same loss"):
        train_step.measure({"ours": lambda: 1.0, "torch": lambda: 1.01}, 1)


def test_a_ratio_is_of_the_two_turns_of_a_pair() -> None:
    ours, torch = train_step.rows({"ours": [1.0, 2.0, 1.0], "torch": [2.0, 2.0, 1.5]}, 4)
    assert ours == "| ours | 1.000 | 4.00 | 1 |"
    assert torch == "| torch | 2.000 | 2.00 | 1.50 (1.00 to 2.00) |"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--size", "16"], "--size 16 must be 32 at least"),
        (["--batch", "0"], "argument --batch: 0 is less than 1"),
        (["--pairs", "many"], "argument --pairs"),
    ],
)
def test_bad_flags_end_with_2_and_one_line(flags: list[str], told: str, capsys: Capture) -> None:
    try:
        code: object = train_step.main(flags)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    captured = capsys.readouterr()
    assert told in captured.err.splitlines()[-1]
    assert not captured.out
