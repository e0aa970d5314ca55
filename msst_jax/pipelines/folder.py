"""What all runs over a folder of photos share: which photos, their masks and outputs, and those that fail."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.folders import list_pictures
from msst_jax.io.write_options import OUTPUT_SUFFIXES
from msst_jax.pipelines.job import PhotoJob

T = TypeVar("T")


def folder_targets(folder: Path, output: Path) -> dict[Path, Path]:
    """{photo: output} of the photos of a folder, see `list_pictures`; the outputs lie in the folder `output`.

    Raises:
      UserError: a folder without images, or with two of one name.
    """
    listing = list_pictures(folder)
    files = listing.pictures
    if not files:
        raise UserError(
            f"{folder} has no images{listing.describe_nothing()}; give a picture, or a folder that has some"
        )
    listing.warn(folder)
    targets = {file: output / f"{file.stem}.png" for file in files}
    if len(set(targets.values())) < len(files):
        stems = [file.stem for file in files]
        twins = [file.name for file in files if stems.count(file.stem) > 1]
        raise UserError(f"{folder} has pictures that differ in their ending only ({', '.join(twins[:2])}); rename one")
    return targets


def check_folder_job(job: PhotoJob) -> None:
    """Raises UserError for what only makes sense of one photo, and for an output that is no folder."""
    if len(job.blend_ratios) > 1:
        raise UserError("a list of blend ratios makes a strip of one photo; give one photo, or one ratio")
    if job.points:
        raise UserError(f"{job.points[0].flag} is a place in one photo, and {job.photo} is a folder; give one photo")
    if job.output.is_file():
        raise UserError(f"cannot write to {job.output}: it is a file; the pictures of a folder need a folder")
    if job.output.suffix.lower() in OUTPUT_SUFFIXES and not job.output.exists():
        raise UserError(
            f"-o {job.output} is the name of a picture; the pictures of a folder need a folder, such as out"
        )


def mask_files(job: PhotoJob, photo: Path) -> dict[str, Path]:
    """The mask files of one photo.

    Raises:
      UserError: a folder has none for it.
    """
    files = {}
    for name, place in job.masks.items():
        path = Path(place)
        if path.is_dir():
            path = path / f"{photo.stem}.png"
            if not path.exists():
                raise UserError(f"--mask {name}={place}: there is no {path.name} for {photo.name}; add it")
        files[name] = path
    return files


class LeftOut:
    """The photos of a run that could not be stylized, each of which is named in a line."""

    def __init__(self, total: int):
        """Starts without any.

        Args:
          total: photos of the run.
        """
        self._total = total
        self.count = 0

    def attempt(self, photo: Path, action: Callable[[], T]) -> T | None:
        """The result of what is done with a photo; None if it fails, which is logged.

        Raises:
          UserError: the only photo failed, or the last where all others did.
        """
        try:
            return action()
        except UserError as error:
            self.count += 1
            if self._total == 1:
                raise
            text = str(error) if str(photo) in str(error) else f"{photo}: {error}"
            if self.count == self._total:
                raise UserError(text) from error
            logging.warning("left out: %s", text)
            return None

    def warn(self) -> None:
        """Says how many there were, in one line."""
        if self.count:
            logging.warning("%d of %d photos were left out", self.count, self._total)
