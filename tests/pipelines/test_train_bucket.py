"""A run whose workdir, photos, masks and styles are in a bucket: killed while it copies, it goes on elsewhere."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msst_jax.pipelines import train as train_job
from msst_jax.runtime.hosts import EXIT_HOST_LOST
from msst_jax.training import mirror
from msst_jax.training.data import masks
from tests.helpers import bucket
from tests.helpers.commands import STYLIZE, TRAIN, run_script
from tests.helpers.hosts import start_in
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.training_runs import curve, job, make_photos, tiny_config, tiny_flags

IMPORT = f"--import={bucket.__file__}"


def kill_during_the_second_checkpoint() -> None:
    """Ends this process while it copies the files of a checkpoint to the bucket."""
    upload = mirror.upload

    def dying(source: Path, url: str) -> None:
        if "/checkpoints/4/" in url:
            os.kill(os.getpid(), signal.SIGKILL)
        upload(source, url)

    pytest.MonkeyPatch().setattr(mirror, "upload", dying)


def segment_into_stripes() -> None:
    """In place of the network, which would be compiled for every size of photo."""

    def stripes(*_: Any, **__: Any) -> Callable[[Image.Image, str], dict[str, Image.Image]]:
        return lambda photo, name: {"person": Image.fromarray(stripe(photo.height, photo.width, 0.2, 0.6))}

    pytest.MonkeyPatch().setattr(masks, "photo_segmenter", stripes)


def segment_and_be_killed() -> None:
    segment_into_stripes()
    kill_during_the_second_checkpoint()


def in_the_bucket(flags: list[str], folder: Path) -> list[str]:
    """The same flags of files in gs://b."""
    return [IMPORT, *(flag.replace(f"{folder}/", "gs://b/").replace("=run", "=gs://b/run") for flag in flags)]


def machine(folder: Path, home: str) -> dict[str, str]:
    """The environment of a machine with a home folder of its own."""
    return {bucket.FOLDER: str(folder / "objects"), "HOME": str(folder / home)}


@pytest.mark.slow
def test_a_run_in_a_bucket_killed_while_it_copies_goes_on_on_another_machine_as_if_uninterrupted(tmp_path: Path):
    make_photos(tmp_path)
    flags = tiny_flags(tmp_path)
    assert run_script(flags, tmp_path, TRAIN)[0] == 0
    os.renames(tmp_path / "run", tmp_path / "whole")
    make_photos(tmp_path / "objects" / "b")
    remote = in_the_bucket(flags, tmp_path)
    died = run_script(
        remote, tmp_path, TRAIN, environ=machine(tmp_path, "one"), before=kill_during_the_second_checkpoint
    )
    assert died[0] == -signal.SIGKILL
    code, printed = run_script(remote, tmp_path, TRAIN, environ=machine(tmp_path, "two"))
    assert code == 0, printed
    assert "gs://b/run: its checkpoint of step 2 was copied here\n" in printed
    assert printed.endswith("done at step 6: gs://b/run/model.safetensors\n")
    run = tmp_path / "objects" / "b" / "run"
    assert curve(run) == curve(tmp_path / "whole")
    assert {path.name for path in (run / "checkpoints").glob("*.complete")} == {f"{n}.complete" for n in (2, 4, 6)}

    save(tmp_path / "photo.png", noise(40, 48, 1))
    save(tmp_path / "objects" / "b" / "left.png", np.full((40, 48), 255, np.uint8))
    pictures = {}
    for model, painted in (("whole", "objects/b/left.png"), ("gs://b/run", "gs://b/left.png")):
        command = [IMPORT, "photo.png", f"--model={model}", f"--mask=person={painted}", "-o", "out.png"]
        code, printed = run_script(command, tmp_path, STYLIZE, environ=machine(tmp_path, "three"))
        assert code == 0, printed
        pictures[model] = (tmp_path / "out.png").read_bytes()
    assert len({*pictures.values()}) == 1


@pytest.mark.slow
def test_hosts_without_a_common_disk_train_in_a_bucket_as_on_one_disk_and_go_on_on_others(tmp_path: Path):
    """Each computes the masks of its part of the photos, and gets the others from the bucket."""
    make_photos(tmp_path)
    make_photos(tmp_path / "objects" / "b")
    flags = [flag for flag in tiny_flags(tmp_path) if not flag.startswith("--masks")]
    whole = [script.wait() for script in start_in([tmp_path] * 2, [flags] * 2, 2, segment_into_stripes)]
    assert [code for code, _ in whole] == [0, 0], whole

    def run(names: str, before: Callable[[], None]) -> list[tuple[int | None, str]]:
        remote, folders = in_the_bucket(flags, tmp_path), [tmp_path / name for name in names]
        environ = [machine(tmp_path, name) for name in names]
        return [script.wait() for script in start_in(folders, [remote] * 2, 2, before, environ.__getitem__)]

    died = run("ab", segment_and_be_killed)
    assert died[0][0] == -signal.SIGKILL
    assert died[1][0] == EXIT_HOST_LOST, died
    results = run("cd", segment_into_stripes)
    assert [code for code, _ in results] == [0, 0], results
    assert "gs://b/run: its checkpoint of step 2 was copied here\n" in results[0][1]
    run_folder = tmp_path / "objects" / "b" / "run"
    assert curve(run_folder) == curve(tmp_path / "run")
    for name in ("model.safetensors", "masks/person/03.png"):
        assert (run_folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.slow
def test_hosts_with_workdirs_in_other_buckets_end_in_one_line(tmp_path: Path):
    make_photos(tmp_path / "objects" / "b")
    flags = in_the_bucket(tiny_flags(tmp_path), tmp_path)
    others = [flag.replace("gs://b/run", "gs://b/other") for flag in flags]
    environ = [machine(tmp_path, name) for name in "ab"]
    folders = [tmp_path / name for name in "ab"]
    results = [script.wait() for script in start_in(folders, [flags, others], 2, environ=environ.__getitem__)]
    assert [code for code, _ in results] == [2, 2]
    assert results[0][1] == (
        "train.py: process 1 does not see the workdir of process 0, gs://b/run; give all hosts the same bucket and "
        "folder as --workdir\n"
    )
    assert [path.name for path in (tmp_path / "objects" / "b").rglob(".*")] == []


def test_the_bucket_names_the_run_before_any_mask_is_there(tmp_path: Path, calls, monkeypatch: pytest.MonkeyPatch):
    """A run that is killed before its first checkpoint goes on; masks alone would pass for somebody's own."""
    monkeypatch.setenv(bucket.FOLDER, str(tmp_path / "objects"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_photos(tmp_path, 4)
    found = []

    def generate(*_: Any) -> None:
        found.extend(path.name for path in (tmp_path / "objects" / "b" / "run").glob("*.json"))

    monkeypatch.setattr(train_job, "_generate", generate)
    assert train_job.run(tiny_config(), job(tmp_path, workdir=Path(), bucket="gs://b/run")) == 0
    assert sorted(found) == ["config.json", "used_files.json"]
