"""Several processes train like a single one: equal parameters, one writer, and no process hangs."""

import os
import re
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.models.serialization import read_tensors
from msst_jax.runtime.hosts import EXIT_HOST_LOST
from msst_jax.training.checkpoints import open_checkpoints
from tests.helpers.hosts import start, start_in
from tests.helpers.training_runs import curve, tiny_flags, wait_for_step

STEPS = 4


def load_checkpoint(workdir: Path) -> dict[str, np.ndarray]:
    with open_checkpoints(workdir / "checkpoints", keep_last=3, keep_every=0) as saved:
        return saved.load_checkpointables(STEPS, {"state": None})["state"]


def assert_near(one: Any, other: Any, name: str = "") -> None:
    """Relative to the largest value of each array; for a shift, which starts at 0, at least to its scale of 1.

    See ZERO_GRADIENT in test_step.py for what is excluded.
    """
    if isinstance(one, dict | list):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_near(one[key], other[key], f"{name}.{key}")
    elif one is not None and "conv2.shift" not in name:
        largest = max(np.abs(other).max(), 1.0 if ".shift" in name else 0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * largest, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("several", [2, 4])
def test_several_processes_learn_the_parameters_of_one_with_all_devices(tmp_path: Path, photos: Path, several: int):
    arguments = tiny_flags(photos, steps=STEPS, sample_every=2)
    two, one = tmp_path / "two", tmp_path / "one"
    for folder, processes in ((two, several), (one, 1)):
        results = [script.wait() for script in start([arguments] * processes, folder, 4 // processes)]
        assert [code for code, _ in results] == [0] * processes, results
    for field in ("params", "ema"):
        assert_near(load_checkpoint(two / "run")[field], load_checkpoint(one / "run")[field], field)
    first, second = curve(two / "run"), curve(one / "run")
    assert [record["step"] for record in first] == [record["step"] for record in second] == [1, 2, 2, 3, 4, 4]
    for found, wanted in zip(first, second, strict=True):
        assert found.keys() == wanted.keys()
        np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-4)
    models = [read_tensors(folder / "run" / "model.safetensors") for folder in (two, one)]
    assert models[0].keys() == models[1].keys()
    assert len(list((two / "run").glob("events.*"))) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nowhere.png", r"style .*nowhere.png does not exist; check the name"),
        pytest.param("az://c/b.png", r".* az:// needs the package adlfs; install it with pip", marks=pytest.mark.slow),
    ],
)
def test_bad_input_of_one_process_ends_all_processes(tmp_path: Path, photos: Path, wrong: str, message: str):
    good = tiny_flags(photos)
    bad = [re.sub(r"(?<==background=).*", wrong, argument) for argument in good]
    results = [script.wait() for script in start([good, bad], tmp_path, 2)]
    assert [code for code, _ in results] == [2, 2]
    assert results[0][1] == "train.py: another host cannot go on; its message says why\n"
    assert re.fullmatch(rf"train.py: {message}\n", results[1][1])
    assert not (tmp_path / "run").exists()


def test_processes_with_disks_of_their_own_end_in_one_line_and_leave_nothing(tmp_path: Path, photos: Path):
    folders = [tmp_path / name for name in "ab"]
    results = [script.wait() for script in start_in(folders, [tiny_flags(photos)] * 2, 2)]
    line = (
        "train.py: process 1 does not see the workdir of process 0, run; give all hosts a folder on a disk that all "
        "hosts share as --workdir\n"
    )
    assert results == [(2, line)] * 2
    assert not any((folder / "run").exists() for folder in folders)


@pytest.mark.slow
@pytest.mark.parametrize("several", [2, 4])
def test_processes_that_see_other_photos_are_named_in_one_line(tmp_path: Path, photos: Path, several: int):
    shutil.copytree(photos, tmp_path / "other")
    (tmp_path / "other" / "photos" / "00.png").unlink()
    arguments = [tiny_flags(photos)] + [tiny_flags(tmp_path / "other")] * (several - 1)
    results = [script.wait() for script in start(arguments, tmp_path, 4 // several)]
    named = "process 1 has" if several == 2 else "processes 1, 2, 3 have"
    line = (
        f"train.py: {named} other photos, masks, styles or settings than process 0; give all hosts the same command, "
        "and copies of the same files\n"
    )
    assert results == [(2, line)] * several
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_other_with_one_line_that_names_it(tmp_path: Path, photos: Path, killed: int):
    scripts = start([tiny_flags(photos, steps=100_000, checkpoint_every=100_000)] * 2, tmp_path, 2)
    wait_for_step(tmp_path / "run", 2, scripts[0])
    os.kill(scripts[killed].process.pid, signal.SIGKILL)
    results = [script.wait() for script in scripts]
    assert results[killed][0] == -signal.SIGKILL
    code, printed = results[1 - killed]
    assert (code, re.sub(r"^first step after .*\n", "", printed)) == (
        EXIT_HOST_LOST,
        f"train.py: process {killed} ({socket.gethostname()}) has died; start the same command on all hosts: it "
        "continues from the newest checkpoint\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_process_ends_all_processes_with_a_checkpoint(tmp_path: Path, photos: Path, told: int, number):
    """Records are written every second step, so that the processes must agree between them too."""
    scripts = start([tiny_flags(photos, steps=100_000, checkpoint_every=100_000, log_every=2)] * 2, tmp_path, 2)
    wait_for_step(tmp_path / "run", 2, scripts[0])
    os.kill(scripts[told].process.pid, number)
    results = [script.wait() for script in scripts]
    assert [code for code, _ in results] == [128 + number] * 2, results
    for _, printed in results:
        assert re.search(r"interrupted at step \d+: run/model.safetensors\n$", printed), printed
    (step,) = (int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert step >= 2
    records = curve(tmp_path / "run")
    assert records[-1]["step"] in (step, step - 1)  # it ended at once
