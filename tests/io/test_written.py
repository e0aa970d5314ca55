"""What an interrupted run says that it has written: what is there, and nothing else."""

from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io.files import atomic_path, write_text
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.written import MOST_NAMES, describe_written, record_written, recorded_writes


def test_files_that_are_there_are_named_once_in_their_order(tmp_path: Path):
    with recorded_writes() as written:
        assert describe_written(written) == "nothing was written"
        for name in ("b", "a", "b", "gone"):
            write_text(tmp_path / name, name)
        record_written(STANDARD_STREAM)
    (tmp_path / "gone").unlink()
    assert describe_written(written) == f"all that was written: {tmp_path / 'b'}, {tmp_path / 'a'}, -"


def test_of_many_files_the_last_is_named(tmp_path: Path):
    with recorded_writes() as written:
        for number in range(MOST_NAMES + 1):
            write_text(tmp_path / str(number), "")
    assert describe_written(written) == f"{MOST_NAMES + 1} files were written, the last of them {tmp_path / '4'}"


def test_what_fails_or_is_written_outside_is_not_named(tmp_path: Path):
    write_text(tmp_path / "before", "")
    with recorded_writes() as written:
        with pytest.raises(UserError):
            write_text(tmp_path / "before" / "a", "")
        with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "b"):
            raise KeyboardInterrupt
    write_text(tmp_path / "after", "")
    assert describe_written(written) == "nothing was written"
