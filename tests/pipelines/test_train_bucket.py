"""A run whose workdir, photos, masks and styles are in a bucket: killed while it copies, it goes on elsewhere."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from msst_jax.training import mirror
from tests.helpers import bucket
from tests.helpers.commands import STYLIZE, TRAIN, run_script
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import curve, make_photos, tiny_flags

IMPORT = f"--import={bucket.__file__}"


def kill_during_the_second_checkpoint() -> None:
    """Ends this process while it copies the files of a checkpoint to the bucket."""
    upload = mirror.upload

    def dying(source: Path, url: str) -> None:
        if "/checkpoints/4/" in url:
            os.kill(os.getpid(), signal.SIGKILL)
        upload(source, url)

    pytest.MonkeyPatch().setattr(mirror, "upload", dying)


@pytest.mark.slow
def test_a_run_in_a_bucket_killed_while_it_copies_goes_on_on_another_machine_as_if_uninterrupted(tmp_path: Path):
    make_photos(tmp_path)
    flags = tiny_flags(tmp_path)
    assert run_script(flags, tmp_path, TRAIN)[0] == 0
    os.renames(tmp_path / "run", tmp_path / "whole")
    make_photos(tmp_path / "objects" / "b")
    remote = [IMPORT, *(flag.replace(f"{tmp_path}/", "gs://b/").replace("=run", "=gs://b/run") for flag in flags)]

    def environ(machine: str) -> dict[str, str]:
        return {bucket.FOLDER: str(tmp_path / "objects"), "HOME": str(tmp_path / machine)}

    died = run_script(remote, tmp_path, TRAIN, environ=environ("one"), before=kill_during_the_second_checkpoint)
    assert died[0] == -signal.SIGKILL
    code, printed = run_script(remote, tmp_path, TRAIN, environ=environ("two"))
    assert code == 0, printed
    assert "gs://b/run: its checkpoint of step 2 was copied here\n" in printed
    assert printed.endswith("done at step 6: gs://b/run/model.safetensors\n")
    run = tmp_path / "objects" / "b" / "run"
    assert curve(run) == curve(tmp_path / "whole")
    assert {path.name for path in (run / "checkpoints").glob("*.complete")} == {f"{n}.complete" for n in (2, 4, 6)}

    save(tmp_path / "photo.png", noise(40, 48, 1))
    save(tmp_path / "objects" / "b" / "left.png", np.full((40, 48), 255, np.uint8))
    pictures = {}
    for model, mask in (("whole", "objects/b/left.png"), ("gs://b/run", "gs://b/left.png")):
        command = [IMPORT, "photo.png", f"--model={model}", f"--mask=person={mask}", "-o", "out.png"]
        code, printed = run_script(command, tmp_path, STYLIZE, environ=environ("three"))
        assert code == 0, printed
        pictures[model] = (tmp_path / "out.png").read_bytes()
    assert len({*pictures.values()}) == 1
