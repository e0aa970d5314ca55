"""What a path given by the user means: ~, -, URLs, and names that only look like them."""

from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io.paths import STANDARD_STREAM, user_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("~", "{home}"),
        ("~/a b.jpg", "{home}/a b.jpg"),
        ("a/~/b", "a/~/b"),
        ("./~/a", "{here}/~/a"),
        ("~draft.png", "{here}/~draft.png"),
        ("./-", "{here}/-"),
        ("./gs:/b.png", "{here}/gs:/b.png"),
        ("a:b.mp4", "a:b.mp4"),
        ("C:/a.jpg", "C:/a.jpg"),
        ("tfds:coco", "tfds:coco"),
        ("-a.png", "-a.png"),
        ("", "."),
    ],
)
def test_a_path_means(home: Path, text: str, meant: str):
    path = user_path(text, "photo")
    assert str(path) == meant.format(home=home, here=home.parent)
    assert user_path(path, "photo") == path


@pytest.mark.parametrize(("text", "meant"), [("keep", "keep"), ("./keep", "{here}/keep"), ("keep.png", "keep.png")])
def test_a_word_is_no_path_and_a_file_of_its_name_is(home: Path, text: str, meant: str):
    path = user_path(text, "--style", words=("keep",))
    assert str(path) == meant.format(here=home.parent)
    assert user_path(path, "--style", words=("keep",)) == path


@pytest.mark.parametrize(
    "text", ["gs://b/x.mp4", "gs:/b", "s3:/b/x.png", "s3://b/x", "https://a.org/x.jpg", "HTTP://a", "data+x://y"]
)
def test_a_url_is_refused(text: str):
    with pytest.raises(
        UserError, match=r"^photo \S+ is a URL, and only files of this machine can be used; give a path$"
    ):
        user_path(text, "photo")


@pytest.mark.parametrize("text", ["file:///a/b%20c.jpg", "file:/a/b%20c.jpg"])
def test_a_file_url_is_refused_with_the_path_in_it(text: str):
    with pytest.raises(UserError, match=r"is a URL, .*; give a path, such as /a/b c.jpg$"):
        user_path(text, "photo")


def test_the_folder_of_nobody_is_refused():
    with pytest.raises(
        UserError, match=r"^--output ~nobody-here/a.png: there is no home folder ~nobody-here; give the"
    ):
        user_path("~nobody-here/a.png", "--output")


def test_a_stream_stands_only_where_it_can_be_used():
    assert user_path("-", "photo", stream=True) == STANDARD_STREAM
    with pytest.raises(UserError, match=r"^--style cat -: only a photo can be read from standard input, and only"):
        user_path("-", "--style cat")
