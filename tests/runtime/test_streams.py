"""Standard streams that are closed, full, or whose reader has gone."""

import os
import subprocess
import sys

import pytest

from msst_jax.runtime.streams import discard, print_text
from tests.helpers.commands import ROOT

PROGRAM = """
import os, sys
from msst_jax.runtime.streams import open_missing_streams
open_missing_streams()
file = os.open("setup.py", os.O_RDONLY)
print("out")
print("err", file=sys.stderr)
sys.exit(10 + file)
"""


@pytest.mark.parametrize(
    ("closed", "seen"),
    [
        ("<&-", ("out\n", "err\n")),
        (">&-", ("", "err\n")),
        ("2>&-", ("out\n", "")),
        ("<&- >&- 2>&-", ("", "")),
    ],
)
def test_a_closed_stream_takes_what_is_printed_and_no_file_takes_its_place(closed: str, seen: tuple[str, str]):
    command = ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == seen
    assert done.returncode > 12


def test_a_reader_that_has_gone_is_no_error_and_the_rest_goes_nowhere():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        print_text("x" * 100_000, stream)
        print_text("more", stream)


def test_a_full_disk_is_an_error():
    with open("/dev/full", "w") as stream:
        with pytest.raises(OSError, match="No space"):
            print_text("x", stream)
        discard(stream)  # closing it would fail, too
