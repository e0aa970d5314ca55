"""Files of a bucket: copied once, refreshed when they change, and refused in one line where there is no access."""

import os
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io.remote import check_writable_url, input_path, is_remote, list_files, remove, upload
from msst_jax.io.written import recorded_writes
from tests.helpers import bucket


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the bucket gs://b; the cache of copies is empty."""
    monkeypatch.setenv(bucket.FOLDER, str(tmp_path / "objects"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "objects" / "b"
    folder.mkdir(parents=True)
    return folder


def later(path: Path) -> None:
    """Gives a file a later time, as another upload would."""
    os.utime(path, (path.stat().st_mtime + 5,) * 2)


def test_a_path_of_this_machine_stays_as_it_is(tmp_path: Path):
    assert not any(map(is_remote, (str(tmp_path), "gs:/b", "https://a/b")))
    assert input_path(tmp_path / "a.jpg", "photo") == tmp_path / "a.jpg"


def test_a_file_is_copied_and_copied_again_only_if_it_has_changed(objects: Path):
    (objects / "a.txt").write_text("one")
    copy = input_path("gs://b/a.txt", "photo")
    assert (copy.name, copy.read_text()) == ("a.txt", "one")
    copy.write_text("own")  # of the same length
    os.utime(copy, (int((objects / "a.txt").stat().st_mtime),) * 2)
    assert input_path("gs://b/a.txt", "photo").read_text() == "own"
    later(objects / "a.txt")
    assert input_path("gs://b/a.txt", "photo").read_text() == "one"


def test_a_folder_is_copied_with_all_below_it_and_what_is_gone_goes(objects: Path):
    for name in ("a.txt", "deep/b.txt"):
        (objects / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (objects / "photos" / name).write_text(name)
    copy = input_path("gs://b/photos/", "--photos")
    assert list_files("gs://b/photos") == ["a.txt", "deep/b.txt"]
    assert (copy / "deep" / "b.txt").read_text() == "deep/b.txt"
    remove("gs://b/photos/a.txt")
    again = input_path("gs://b/photos", "--photos")
    assert again == copy
    assert [path.name for path in again.rglob("*.txt")] == ["b.txt"]


def test_of_a_workdir_only_the_named_file_is_copied(objects: Path):
    (objects / "run").mkdir()
    for name in ("model.safetensors", "metrics.jsonl"):
        (objects / "run" / name).write_text(name)
    copy = input_path("gs://b/run", "--model", file="model.safetensors")
    assert [path.name for path in copy.iterdir()] == ["model.safetensors"]


def test_an_upload_is_what_is_downloaded(objects: Path, tmp_path: Path):
    (tmp_path / "x").write_bytes(b"\0\1" * 10)
    upload(tmp_path / "x", "gs://b/deep/er/x")
    assert (objects / "deep" / "er" / "x").read_bytes() == b"\0\1" * 10


def test_what_is_not_there_is_said_in_one_line(objects: Path):
    with pytest.raises(UserError, match=r"^--photos gs://b/none does not exist; check the name$"):
        input_path("gs://b/none", "--photos")


def test_a_bucket_that_cannot_be_written_is_said_before_any_work(objects: Path):
    with pytest.raises(UserError, match=r"^--workdir gs://readonly/run cannot be used \(.*no permission"):
        check_writable_url("gs://readonly/run", "--workdir")
    check_writable_url("gs://b/run", "--workdir")
    assert not [path for path in objects.rglob("*") if path.is_file()]


def test_a_scheme_without_its_package_names_the_package(objects: Path):
    with pytest.raises(UserError, match=r"^--photos az://c/x: az:// needs the package adlfs; install it with pip$"):
        input_path("az://c/x", "--photos")


def test_a_file_without_a_time_is_copied_every_time(objects: Path):
    """s3:// tells none: a model that was trained again has the size of the former one."""
    (objects / "a.txt").write_text("one")
    os.utime(objects / "a.txt", (0, 0))
    copy = input_path("gs://b/a.txt", "--model")
    (objects / "a.txt").write_text("two")
    os.utime(objects / "a.txt", (0, 0))
    assert input_path("gs://b/a.txt", "--model") == copy
    assert copy.read_text() == "two"


def test_copying_a_folder_spares_the_file_that_another_process_copies_and_is_nothing_written(objects: Path):
    (objects / "photos").mkdir()
    (objects / "photos" / "a.txt").write_text("a")
    with recorded_writes() as written:
        copy = input_path("gs://b/photos", "--photos")
        (copy / ".b.txt-0123").touch()
        input_path("gs://b/photos", "--photos")
    assert sorted(path.name for path in copy.iterdir()) == [".b.txt-0123", "a.txt"]
    assert not written


def test_files_of_other_machines_are_listed_although_the_client_keeps_its_listings(objects: Path, monkeypatch):
    """As gcsfs and s3fs do, for good; so a host would never see the masks that the others have computed meanwhile."""
    kept: dict[str, list[str]] = {}
    listdir = bucket.Bucket.listdir
    monkeypatch.setattr(
        bucket.Bucket, "listdir", lambda self, path, **how: kept.setdefault(str(path), listdir(self, path, **how))
    )
    monkeypatch.setattr(bucket.Bucket, "invalidate_cache", lambda self, path=None: kept.clear())
    (objects / "masks").mkdir()
    (objects / "masks" / "a.png").touch()
    assert list_files("gs://b/masks") == ["a.png"]
    (objects / "masks" / "b.png").touch()
    assert list_files("gs://b/masks") == ["a.png", "b.png"]
