"""The paintings of a caller as files, which is what a video is stylized with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from msst_jax.api.pictures import given_path, is_array, take_picture
from msst_jax.api.styles import check_styles, take_style_mix
from msst_jax.errors import UserError
from msst_jax.transfer.style_mix import WeightedFile, format_style_mix


class StyleFiles(NamedTuple):
    """The paintings of all regions.

    Attributes:
      styles: {region: its paintings as `parse_style_mix` reads them}.
      names: {file: what the JSON of the run calls it} of those that were no files.
    """

    styles: dict[str, str]
    names: dict[str, str]


NO_STYLES = StyleFiles({}, {})


@contextmanager
def style_files(styles: Any) -> Iterator[StyleFiles]:
    """The paintings that a caller gave; arrays and Pillow pictures are PNG files, of 8 bits, until the block ends.

    Args:
      styles: as in `stylize`.

    Raises:
      UserError: as `take_style_mix` and `take_picture`; what the block raises about such a file names the argument.
    """
    mixes = {name: take_style_mix(value, name) for name, value in check_styles(styles).items()}
    with TemporaryDirectory(prefix="msst-styles-") as folder:
        arguments: dict[str, str] = {}
        names: dict[str, str] = {}

        def file_of(value: Any, argument: str) -> str:
            if isinstance(value, str | os.PathLike):
                return str(given_path(value, argument))
            file = str(Path(folder) / f"{len(names)}.png")
            take_picture(value, argument).image.save(file, compress_level=1)
            arguments[file] = argument
            names[file] = "array" if is_array(value) else "picture"
            return file

        texts = {
            name: format_style_mix(
                tuple(WeightedFile(file_of(each, f"styles[{name!r}]"), weight) for each, weight in mix)
            )
            for name, mix in mixes.items()
        }
        try:
            yield StyleFiles(texts, names)
        except UserError as error:
            message = str(error)
            for file, argument in arguments.items():
                message = message.replace(f"style {file}", argument).replace(file, argument)
            error.args = (message,)
            raise
