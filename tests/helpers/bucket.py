"""A bucket for tests: gs:// through fsspec's own interface, kept in the folder that MSST_TEST_BUCKET names.

As a module, `--import bucket.py` gives it to a command.
"""

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

FOLDER = "MSST_TEST_BUCKET"


class Bucket(LocalFileSystem):
    """Objects of gs:// as files of a folder; refuses to write to the bucket "readonly"."""

    protocol = ("gs", "gcs")
    root_marker = ""

    def __init__(self, **options: object):
        """Takes the options of gcsfs, which mean nothing here."""
        super().__init__(auto_mkdir=True)

    @classmethod
    def _strip_protocol(cls, path: object) -> str:
        name = str(path).removeprefix("gs://").removeprefix("gcs://")
        root = os.environ[FOLDER]
        return name if name.startswith(root) else os.path.join(root, name).rstrip("/")

    def open(self, path: str, mode: str = "rb", **options: object) -> object:
        """As of any file system."""
        if "r" not in mode and "/readonly/" in self._strip_protocol(path):
            raise PermissionError(13, "no permission to create objects", path)
        return super().open(path, mode=mode, **options)


fsspec.register_implementation("gcs", Bucket, clobber=True)
