"""A workdir in a bucket: what is copied there and back, and that a half-copied checkpoint counts for nothing."""

from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.training.mirror import Mirror, mirrored
from tests.helpers import bucket

URL = "gs://b/run"


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of gs://b/run."""
    monkeypatch.setenv(bucket.FOLDER, str(tmp_path / "objects"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "objects" / "b" / "run"


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_comes_back_from_the_bucket_with_its_newest_checkpoint_only(objects: Path):
    mirror = Mirror(URL)
    run = ("config.json", "metrics.jsonl", "masks/person/a.png", "samples/1.jpg", "checkpoints/5/d/x")
    write(mirror.local, *run, "checkpoints/10/d/y")
    mirror.push()
    assert names(objects) == sorted([*run, "checkpoints/10/d/y", "checkpoints/5.complete", "checkpoints/10.complete"])
    write(mirror.local, "left over")
    with mirrored(URL) as again:
        assert names(again.local) == ["checkpoints/10/d/y", "config.json", "masks/person/a.png", "metrics.jsonl"]


def test_a_checkpoint_whose_copy_was_cut_short_is_not_taken(objects: Path):
    mirror = Mirror(URL)
    write(mirror.local, "config.json", "checkpoints/5/x")
    mirror.push()
    write(objects, "checkpoints/10/x")  # without its marker
    mirror.pull()
    assert names(mirror.local) == ["checkpoints/5/x", "config.json"]


def test_what_is_being_written_and_what_has_not_changed_is_not_copied(objects: Path):
    mirror = Mirror(URL)
    write(
        mirror.local, "config.json", ".config-abc.json", "checkpoints/5.orbax-checkpoint-tmp/x", "checkpoints/4/.zarray"
    )
    mirror.push()
    assert names(objects) == ["checkpoints/4.complete", "checkpoints/4/.zarray", "config.json"]
    write(objects, "config.json")
    before = (objects / "config.json").stat().st_mtime_ns
    mirror.push()
    assert (objects / "config.json").stat().st_mtime_ns == before


def test_checkpoints_that_are_no_longer_kept_go_from_the_bucket(objects: Path):
    mirror = Mirror(URL)
    write(mirror.local, "checkpoints/5/x", "checkpoints/10/x")
    mirror.push()
    (mirror.local / "checkpoints/5/x").unlink()
    mirror.push()
    assert names(objects) == ["checkpoints/10.complete", "checkpoints/10/x"]


def test_a_restart_removes_the_files_of_the_earlier_run_and_no_others(objects: Path):
    write(objects, "samples/1.jpg", "events.out.tfevents.1.host", "metrics.jsonl", "notes.txt")
    mirror = Mirror(URL)
    write(mirror.local, "config.json")
    mirror.remove_others()
    mirror.push()
    assert names(objects) == ["config.json", "notes.txt"]


def test_what_a_block_wrote_is_in_the_bucket_also_after_an_error(objects: Path):
    def run() -> None:
        with mirrored(URL) as mirror:
            write(mirror.local, "metrics.jsonl")
            raise UserError("full")

    with pytest.raises(UserError, match="full"):
        run()
    assert names(objects) == ["metrics.jsonl"]


def test_a_bucket_that_cannot_be_written_ends_the_run_before_its_work(objects: Path):
    with pytest.raises(UserError, match=r"^--workdir gs://readonly/run cannot be used"), mirrored("gs://readonly/run"):
        pytest.fail("the work has begun")


def test_two_runs_of_one_machine_in_a_bucket_are_refused(objects: Path):
    with mirrored(URL), pytest.raises(UserError, match="is in use by process"), mirrored(URL):
        pytest.fail("the work has begun")
