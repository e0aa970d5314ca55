"""The bundled example as a newcomer runs it, at its real size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "stylize.py"


@pytest.mark.slow
def test_the_quickstart_makes_the_same_good_picture_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        command = [sys.executable, str(SCRIPT), "-o", str(tmp_path / f"{name}.png")]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        assert f"wrote {tmp_path / name}.png" in done.stderr
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("first", "second"))
    assert first["segmenter"]["name"] == "person_vgg16"
    assert first["loss"] == second["loss"]
    assert first["loss"]["style"][-1] < 0.3 * first["loss"]["style"][0]
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.size == tuple(first["size"])
