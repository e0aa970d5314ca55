"""python -m benchmarks.quality.sets: the sets on which fast models are compared."""

from pathlib import Path

import pytest

from benchmarks.quality import sets
from benchmarks.quality.comparison import measured_inputs
from benchmarks.quality.pairs import read_pairs
from tests.helpers.pictures import noise, save

PHOTOS = ("00", "01")
PAINTINGS = ("wave", "the scream")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data with what both sets need, and the pictures of two programs."""
    folder = tmp_path / "the data"
    for part, names in {
        "any_style/photos": PHOTOS,
        "any_style/styles": PAINTINGS,
        "voc21/images": PHOTOS,
        "styles": PAINTINGS,
        "peers/one": ("00__wave", "01__the scream", "astronaut__wave"),
        "peers/two": ("00__wave", "00__the scream"),
    }.items():
        (folder / part).mkdir(parents=True)
        for name in names:
            save(folder / part / f"{name}.jpg", noise(20, 24))
    return folder


def write(name: str, data: Path) -> list[str]:
    """The names of the lines of a set that is written and read."""
    output = data.parent / "set.csv"
    assert sets.main([name, "-o", str(output), "--data", str(data)]) == 0
    return [pair.name for pair in read_pairs(output)]


def test_peers_are_the_photos_and_paintings_of_which_a_program_has_a_picture(data: Path) -> None:
    assert write("peers", data) == ["00__the scream", "00__wave", "01__the scream", "astronaut__wave"]
    first, *_, last = read_pairs(data.parent / "set.csv")
    assert first.photo == data / "voc21" / "images" / "00.jpg"
    assert first.styles == {"background": data / "styles" / "the scream.jpg"}
    assert last.photo.parent.name == "examples"


def test_any_style_has_all_paintings_of_a_photo_before_the_next(data: Path) -> None:
    assert write("any_style", data) == ["00__the scream", "00__wave", "01__the scream", "01__wave"]


def test_lines_are_whole_photos_of_one_region(data: Path) -> None:
    write("any_style", data)
    inputs = measured_inputs(read_pairs(data.parent / "set.csv")[0], 24)
    assert inputs.names == ("background",)
    assert inputs.masks.shape == (20, 24, 1)
    assert (inputs.masks == 1).all()


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        ("peers", "peers/one/00__wave.jpg", "there is no gone.jpg in "),
        ("any_style", "any_style/photos", "any_style lacks photos/*.jpg or styles/*.jpg"),
        ("peers", "peers", "peers has no pictures; give the folder that holds peers/PROGRAM as --data"),
    ],
)
def test_data_that_is_missing_is_named_in_one_line_and_writes_nothing(
    name: str, gone: str, message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / gone
    path.rename(path.with_name(f"gone__wave{path.suffix}"))
    assert sets.main([name, "-o", str(data / "set.csv"), "--data", str(data)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmarks.quality.sets: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (data / "set.csv").exists()
