"""The stylized picture of a photo: its metadata, quality and subsampling, by optimization, by model, for a folder."""

from pathlib import Path

import pytest
from PIL import Image, JpegImagePlugin

from msst_jax.cli.stylize_job import StylizeFlags, check_flags
from msst_jax.errors import UserError
from msst_jax.io.write_options import WriteOptions
from msst_jax.pipelines.job import PhotoJob
from msst_jax.pipelines.run import run_job
from tests.helpers.commands import run_command
from tests.helpers.metadata import BASE, GPS, save_photo
from tests.helpers.pictures import make_scene, quick_config, stripe
from tests.helpers.pictures import save as save_image


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def has_metadata(path: Path) -> bool:
    """Whether a picture has all that is kept of the photo's metadata; it must have all of it, or nothing."""
    picture = opened(path)
    exif = picture.getexif()
    found = {
        exif.get(BASE.Make) == "Camera & Co",
        bool(exif.get_ifd(GPS)),
        "icc_profile" in picture.info,
        round(picture.info.get("dpi", (0, 0))[0]) == 300,
    }
    assert len(found) == 1
    assert BASE.Orientation not in exif
    return found.pop()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    make_scene(tmp_path)
    save_photo(tmp_path / "photo.jpg")
    return tmp_path


@pytest.fixture
def by_model(model: Path, scene: Path) -> list[str]:
    """Arguments that stylize the photo with a model, its one region given."""
    save_image(scene / "person.png", stripe(32, 24, 0, 0.5))
    return ["photo.jpg", f"--model={model}", "--mask=person=person.png", "--config.size=0"]


@pytest.mark.parametrize("keep", [True, False])
def test_an_optimized_picture_has_the_metadata_and_sheets_have_none(scene: Path, keep: bool) -> None:
    job = PhotoJob(
        photo=str(scene / "photo.jpg"),
        styles={"background": str(scene / "a.png")},
        masks={},
        output=scene / "out" / "out.png",
        blend_ratios=[0.0, 0.2],
        writing=WriteOptions(keep_metadata=keep),
    )
    assert run_job(quick_config(), job) == 0
    found = {path.name: has_metadata(path) for path in job.output.parent.glob("*.png")}
    assert found == {"out_blend0.png": keep, "out_blend0.2.png": keep, "out.png": False, "out_inputs.png": False}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_picture_by_a_model_has_the_metadata(scene: Path, by_model: list[str], suffix: str) -> None:
    for flag, keep in (("--metadata=keep", True), ("--metadata=none", False)):
        output = scene / f"out.{suffix}"
        assert run_command([*by_model, flag, "-o", str(output)], scene)[0] == 0
        assert has_metadata(output) == keep


def test_of_a_list_of_blend_ratios_by_a_model_the_pictures_have_the_metadata(scene: Path, by_model: list[str]) -> None:
    assert run_command([*by_model, "--blend=0,0.3", "-o", "out.png"], scene)[0] == 0
    names = ("out_blend0.png", "out_blend0.3.png", "out.png")
    assert [has_metadata(scene / name) for name in names] == [True, True, False]


def test_each_photo_of_a_folder_keeps_its_own_metadata(scene: Path, model: Path) -> None:
    (scene / "in").mkdir()
    save_photo(scene / "in" / "with.jpg")
    save_image(scene / "in" / "without.jpg", stripe(32, 24, 0, 0.5))
    save_image(scene / "person.png", stripe(32, 24, 0, 0.5))
    arguments = ["in", f"--model={model}", "--mask=person=person.png", "--config.size=0", "-o", "out"]
    assert run_command(arguments, scene)[0] == 0
    assert has_metadata(scene / "out" / "with.png")
    assert not has_metadata(scene / "out" / "without.png")


def test_quality_and_subsampling_reach_the_file(scene: Path, by_model: list[str]) -> None:
    sizes = {}
    for quality in (20, 90):
        flags = [f"--quality={quality}", "--subsampling=4:2:0", "-o", f"{quality}.jpg"]
        assert run_command([*by_model, *flags], scene)[0] == 0
        assert JpegImagePlugin.get_sampling(opened(scene / f"{quality}.jpg")) == 2
        sizes[quality] = (scene / f"{quality}.jpg").stat().st_size
    assert sizes[20] < sizes[90]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quality=80", "-o", "out.png"], "the quality is 80, but out.png has none; leave it out, or write .jpg or"),
        (["--quality=0", "-o", "out.jpg"], "the quality is 0; give 1 to 100 (best) for .jpg"),
        (["--subsampling=4:2:0", "-o", "out.webp"], "the subsampling is 4:2:0, but out.webp has none; leave it out"),
    ],
)
@pytest.mark.parametrize("way", ["by optimization", "by a model"])
def test_what_the_format_does_not_have_is_refused_before_any_work(
    scene: Path, by_model: list[str], way: str, flags: list[str], message: str
) -> None:
    arguments = by_model if way == "by a model" else ["photo.jpg", "--style=background=a.png"]
    before = set(scene.iterdir())
    code, printed = run_command([*arguments, *flags], scene)
    assert (code, printed.count("\n")) == (2, 1)
    assert printed.startswith(f"stylize.py: {message}")
    assert set(scene.iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "photo", "message"),
    [
        (StylizeFlags(subsampling="4:2:0"), "a.mp4", "--subsampling is for the stylized picture of a photo; leave it"),
        (StylizeFlags(metadata="none"), "a.mp4", "--metadata is for the stylized picture of a photo; leave it out"),
        (StylizeFlags(regions_only=True, quality=80), "a.jpg", "--quality is for stylized pictures and videos; leave"),
        (StylizeFlags(regions_only=True, subsampling="4:4:4"), "a.jpg", "--subsampling is for stylized pictures and"),
    ],
)
def test_flags_of_pictures_are_refused_where_there_is_none(flags: StylizeFlags, photo: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        check_flags(flags, [photo])
