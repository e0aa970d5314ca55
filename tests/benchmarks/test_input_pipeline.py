"""`python -m benchmarks.speed.input_pipeline`: a figure for each source, and one line for flags that do not fit."""

import re
from pathlib import Path

import pytest

from benchmarks.speed import input_pipeline
from tests.helpers.logging_state import restored_logging
from tests.helpers.training_runs import make_photos


@pytest.mark.parametrize("given", [False, True])
def test_both_sources_are_measured_in_photos_a_second_per_core(tmp_path: Path, capsys, given: bool):
    make_photos(tmp_path, 9)
    places = [f"--photos={tmp_path / 'photos'}", f"--masks={tmp_path / 'masks'}"] if given else []
    with restored_logging():
        assert input_pipeline.main([*places, "--count=8", "--size=16", "--rounds=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8 photos, crops of 16x16, 1280 bytes each"
    for line, name in zip(lines[1:3], ("folder", "packed"), strict=True):
        assert re.fullmatch(rf"{name}: \d+ photos a second per core", line)
    assert lines[3].startswith("packed, times the folder: ")


def test_photos_without_masks_are_refused_in_one_line(tmp_path: Path, capsys):
    with restored_logging():
        assert input_pipeline.main([f"--photos={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "benchmarks.speed.input_pipeline: --photos and --masks belong together; give both, or none\n"
    )
