"""A named pipe in place of an input is a one-line error, in a folder it is left out; opening it would wait forever."""

import os
from pathlib import Path

import pytest

from tests.helpers.commands import STYLIZE, TRAIN, run_command
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.training_runs import make_photos, tiny_flags
from tests.helpers.videos import make_video, moving

PHOTO = ("photo.png", "--style=person=style.png", "--style=background=style.png", "--mask=person=mask.png")
VIDEO = ("video.mp4", "--model=builtin", "--mask=person=mask.png", "-o=out.mp4")
ROLES = {
    "photo": ("photo.png", PHOTO, "photo"),
    "style": ("style.png", PHOTO, "style"),
    "mask": ("mask.png", PHOTO, "mask"),
    "regions of a photo": ("photo.png", ("photo.png", "--regions-only"), "photo"),
    "model": ("pipe.safetensors", ("photo.png", "--model=pipe.safetensors"), "--model"),
    "model of a workdir": ("model.safetensors", ("photo.png", "--model=."), "--model"),
    "segmenter": ("pipe.safetensors", ("photo.png", "--regions-only", "--segmenter=pipe.safetensors"), "segmenter"),
    "video": ("video.mp4", VIDEO, "video"),
    "mask of a video": ("mask.png", VIDEO, "mask"),
    "mask video": ("mask.mp4", ("video.mp4", "--model=builtin", "--mask=person=mask.mp4", "-o=out.mp4"), "video"),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_pipe_as_input_is_refused_in_one_line(tmp_path: Path, role: str):
    name, command, what = ROLES[role]
    for picture in ("photo.png", "style.png"):
        save(tmp_path / picture, noise(48, 64))
    save(tmp_path / "mask.png", stripe(48, 64, 0, 0.5))
    make_video(tmp_path / "video.mp4", moving(2))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    code, printed = run_command(command, tmp_path)
    assert (code, printed) == (2, f"stylize.py: {what} {name} is a pipe; give a regular file\n")


FRAMES = ("frames", "--rate=25", "--config.size=32", "-o=out.gif")
IN_FOLDERS = {
    "photos": ("photos", (STYLIZE, ["photos", "--config.size=32", "-o=out"])),
    "frames": ("frames", (STYLIZE, [*FRAMES, "--mask=person=gray/00.png"])),
    "masks of frames": ("gray", (STYLIZE, [*FRAMES, "--mask=person=gray"])),
    "training photos": ("photos", (TRAIN, tiny_flags(Path(), batch=4, steps=2))),
}


@pytest.mark.parametrize("role", IN_FOLDERS)
@pytest.mark.slow
def test_a_run_goes_on_without_a_pipe_among_the_pictures_of_a_folder(model: Path, tmp_path: Path, role: str):
    place, (script, arguments) = IN_FOLDERS[role]
    make_photos(tmp_path, 4)
    for name, picture in {"frames": noise(36, 44), "gray": stripe(36, 44, 0, 0.5)}.items():
        (tmp_path / name).mkdir()
        for index in range(4):
            save(tmp_path / name / f"{index:02d}.png", picture)
    os.mkfifo(tmp_path / place / "04.png")
    arguments = [*arguments, f"--model={model}"] if script == STYLIZE else arguments
    code, printed = run_command(arguments, tmp_path, script)
    assert code == 0, printed
    assert f"{place}: left out pipes, sockets and devices: 1 (04.png)" in printed
