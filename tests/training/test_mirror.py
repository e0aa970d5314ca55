"""A workdir in a bucket: what is copied there and back, and that a half-copied checkpoint counts for nothing."""

import shutil
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io.remote import upload
from msst_jax.training import mirror as mirror_module
from msst_jax.training.mirror import Mirror, mirrored
from msst_jax.training.workdir import RUN_ID
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
    """The files below a folder, but for what tells runs apart."""
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in files if name != RUN_ID)


def test_a_run_comes_back_from_the_bucket_with_all_that_it_reads_again(objects: Path):
    mirror = Mirror(URL)
    run = ("config.json", "metrics.jsonl", "masks/person/a.png", "samples/1.jpg", "checkpoints/5/d/x")
    write(mirror.local, *run, "checkpoints/10/d/y")
    mirror.push()
    assert names(objects) == sorted([*run, "checkpoints/10/d/y", "checkpoints/5.complete", "checkpoints/10.complete"])
    write(mirror.local, "left over")
    with mirrored(URL) as again:
        checkpoints = ["checkpoints/10/d/y", "checkpoints/5/d/x"]
        assert names(again.local) == [*checkpoints, "config.json", "masks/person/a.png", "metrics.jsonl"]


def test_a_call_that_ends_at_once_leaves_the_bucket_as_it_is(objects: Path):
    """Above all the earlier checkpoints, if the newest one turns out to be damaged."""
    mirror = Mirror(URL)
    write(mirror.local, "config.json", "samples/1.jpg", "checkpoints/5/x", "checkpoints/10/x")
    mirror.push()
    before = {name: (objects / name).stat().st_mtime_ns for name in names(objects)}
    with pytest.raises(UserError, match="other photos"), mirrored(URL):
        raise UserError("other photos")
    assert {name: (objects / name).stat().st_mtime_ns for name in names(objects)} == before


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


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing can be written."""

    def fail(source: Path, url: str) -> None:
        raise OSError(5, "connection reset")

    monkeypatch.setattr(mirror_module, "upload", fail)


def leave_unsaved(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose last checkpoint, of step 10, could not be copied; returns its folder on this machine."""

    def run() -> None:
        with mirrored(URL) as mirror:
            write(mirror.local, "checkpoints/5/x", "config.json", "metrics.jsonl")
            mirror.push()
            write(mirror.local, "checkpoints/10/x")
            unreachable(monkeypatch)

    local = Mirror(URL).local
    with pytest.raises(UserError) as caught:
        run()
    monkeypatch.setattr(mirror_module, "upload", upload)
    assert str(caught.value) == (
        "--workdir gs://b/run cannot be used ([Errno 5] connection reset); check its name and your access; "
        f"the same command on this machine goes on from what is in {local}"
    )
    return local


def test_what_could_not_be_copied_at_the_end_is_where_the_next_call_goes_on(objects: Path, monkeypatch):
    local = leave_unsaved(monkeypatch)
    assert not (objects / "checkpoints" / "10.complete").exists()
    with mirrored(URL):
        assert names(local) == ["checkpoints/10/x", "checkpoints/5/x", "config.json", "metrics.jsonl"]
    assert (objects / "checkpoints" / "10.complete").exists()
    write(local, "left over")
    with mirrored(URL):  # all is there, so that the bucket is what counts again
        assert "left over" not in names(local)


def test_what_could_not_be_copied_gives_way_to_a_bucket_that_has_gone_on(objects: Path, monkeypatch):
    local = leave_unsaved(monkeypatch)
    write(objects, "checkpoints/15/x", "checkpoints/15.complete")
    with mirrored(URL):
        assert "checkpoints/15/x" in names(local)
        assert "checkpoints/10/x" not in names(local)


def test_what_could_not_be_copied_gives_way_to_a_run_that_was_begun_anew_there(objects: Path, monkeypatch):
    """On another machine; it has taken fewer steps so far."""
    local = leave_unsaved(monkeypatch)
    (objects / RUN_ID).write_text("the other one")
    for name in ("10", "5"):
        shutil.rmtree(objects / "checkpoints" / name, ignore_errors=True)
    (objects / "checkpoints" / "5.complete").unlink()
    write(objects, "checkpoints/4/x", "checkpoints/4.complete")
    with mirrored(URL):
        assert names(local) == ["checkpoints/4/x", "config.json", "metrics.jsonl"]


def test_an_error_of_the_run_is_not_hidden_by_a_bucket_that_fails_after_it(objects: Path, monkeypatch, caplog):
    def run() -> None:
        with mirrored(URL) as mirror:
            write(mirror.local, "metrics.jsonl")
            unreachable(monkeypatch)
            raise UserError("diverged")

    with pytest.raises(UserError, match=r"^diverged$"):
        run()
    assert "cannot be used" in caplog.text


def test_what_is_left_of_a_checkpoint_cut_short_goes_when_its_step_is_saved_again(objects: Path):
    write(objects, "checkpoints/5/stale")
    mirror = Mirror(URL)
    write(mirror.local, "checkpoints/5/x")
    mirror.push()
    assert names(objects) == ["checkpoints/5.complete", "checkpoints/5/x"]


def test_hosts_get_each_others_masks_and_only_the_first_ones_run_goes_to_the_bucket(objects: Path):
    """Their copies are apart, also where they share a home folder."""
    with mirrored(URL) as first, mirrored(URL, 1) as second:
        assert first.local != second.local
        write(first.local, "config.json", "masks/person/a.png")
        write(second.local, "metrics.jsonl", "masks/person/b.png", "checkpoints/5/x")
        for mirror in (first, second):
            mirror.push_masks()
        assert names(objects) == ["masks/person/a.png", "masks/person/b.png"]
        for mirror in (first, second):
            mirror.pull_masks()
            assert names(mirror.local / "masks") == ["person/a.png", "person/b.png"]
    assert names(objects) == ["config.json", "masks/person/a.png", "masks/person/b.png"]


def test_a_host_after_the_first_begins_with_the_run_in_the_bucket_or_with_nothing_if_it_begins_anew(objects: Path):
    write(objects, "config.json", "masks/person/a.png", "checkpoints/5/x", "checkpoints/5.complete")
    with mirrored(URL, 1) as second:
        assert names(second.local) == ["checkpoints/5/x", "config.json", "masks/person/a.png"]
    with mirrored(URL, 1, anew=True) as second:
        assert names(second.local) == []


def test_checkpoints_without_markers_stay_in_the_bucket(objects: Path):
    """Those of a run that was copied there by hand, or that wrote into the mounted bucket."""
    write(objects, "config.json", "checkpoints/1000/x")
    with mirrored(URL) as mirror:
        write(mirror.local, "checkpoints/5/x")
    assert names(objects) == ["checkpoints/1000/x", "checkpoints/5.complete", "checkpoints/5/x", "config.json"]


@pytest.mark.parametrize("anew", [False, True])
def test_a_folder_of_a_bucket_that_is_no_runs_is_refused_and_left_as_it_is(objects: Path, anew: bool):
    write(objects, "checkpoints/7/weights.bin", "samples/mine.jpg", "styles/wave.jpg")
    with (
        pytest.raises(UserError, match=r"^--workdir gs://b/run has checkpoints, samples of its own, where a run would"),
        mirrored(URL, anew=anew),
    ):
        pytest.fail("the work has begun")
    assert names(objects) == ["checkpoints/7/weights.bin", "samples/mine.jpg", "styles/wave.jpg"]


def test_a_bucket_that_has_failed_is_not_tried_again_at_the_end(objects: Path, monkeypatch):
    """Clients try for minutes before they give up, in which the other hosts end this one, without its message."""
    tried = []

    def fail(source: Path, url: str) -> None:
        tried.append(url)
        raise OSError(5, "connection reset")

    def run() -> None:
        with mirrored(URL) as mirror:
            write(mirror.local, "metrics.jsonl")
            monkeypatch.setattr(mirror_module, "upload", fail)
            mirror.push()

    with pytest.raises(UserError, match="connection reset"):
        run()
    assert len(tried) == 1
