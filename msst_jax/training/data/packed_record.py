"""One record of packed photos: a photo and its masks as files in one string of bytes.

A record is the length of a header in 4 bytes (little-endian), the header in JSON, {"name": the photo's, "photo": bytes,
"masks": {region: bytes}}, and then the files themselves in that order.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

LENGTH = 4


class PackedRecord(NamedTuple):
    """A photo and its masks, encoded as picture files."""

    name: str
    """The file name of the photo without its ending."""
    photo: bytes
    """JPEG or PNG."""
    masks: Mapping[str, bytes]
    """{region: PNG, gray, white inside}, of any size."""

    def to_bytes(self) -> bytes:
        """The record as it is stored."""
        lengths = {"photo": len(self.photo), "masks": {region: len(mask) for region, mask in self.masks.items()}}
        header = json.dumps({"name": self.name, **lengths}).encode()
        return b"".join([len(header).to_bytes(LENGTH, "little"), header, self.photo, *self.masks.values()])


def parse_record(content: bytes) -> PackedRecord:
    """The record that was stored.

    Raises:
      ValueError: it is none.
    """
    start = LENGTH + int.from_bytes(content[:LENGTH], "little")
    try:
        header = json.loads(content[LENGTH:start])
        name, lengths = header["name"], {"": header["photo"], **header["masks"]}
        if sum(lengths.values()) != len(content) - start:
            raise ValueError("its length is not that of its header")
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("its header is not that of a record") from error
    files = {}
    for key, length in lengths.items():
        files[key] = content[start : start + length]
        start += length
    return PackedRecord(name, files.pop(""), files)
