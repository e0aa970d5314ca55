"""Which masks the training photos have: an index of mask folders, from one listing of each.

A look-up asks no file system: on network disks a question per photo and region takes longer than to read the photo.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msst_jax.errors import UserError
from msst_jax.regions.masks import foreground

MASK_SUFFIX = ".png"


class _Listing(NamedTuple):
    """The masks of one region in one folder."""

    region: str
    folder: Path
    stems: frozenset[str]


class MaskIndex:
    """The mask files of photos: FOLDER/REGION/STEM.png, or FOLDER/STEM.png for the only foreground region.

    It knows the files that are there when it is built; of two files for one mask the one of the later folder counts.
    """

    def __init__(self, folders: Sequence[Path], names: Sequence[str]):
        """Lists the folders of masks for the regions `names`; a folder that is not there has none.

        Raises:
          UserError: a folder cannot be opened.
        """
        regions = foreground(names)
        self.folders = folders
        self._listings = [
            _Listing(region, place, _list_stems(place))
            for folder in folders
            for region in regions
            for place in ([folder / region, folder] if len(regions) == 1 else [folder / region])
        ]

    def files(self, stem: str) -> dict[str, Path]:
        """{region: file} of a photo's masks; a region without a file is left out."""
        return {region: folder / f"{stem}{MASK_SUFFIX}" for region, folder, stems in self._listings if stem in stems}


def _list_stems(folder: Path) -> frozenset[str]:
    """The names of the masks in a folder, without their ending; links that lead nowhere are none."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                entry.name.removesuffix(MASK_SUFFIX)
                for entry in entries
                if entry.name.endswith(MASK_SUFFIX) and not (entry.is_symlink() and not os.path.exists(entry.path))
            )
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise UserError(f"masks {folder} cannot be opened ({error.strerror}); check its permissions") from error
