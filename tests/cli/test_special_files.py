"""A named pipe in place of any input is a one-line error; opening it would wait forever."""

import os
from pathlib import Path

import pytest

from tests.helpers.commands import run_command
from tests.helpers.pictures import noise, save, stripe
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
