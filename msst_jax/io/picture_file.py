"""Opens picture files of every format that Pillow knows, and says in one line why one cannot be read."""

import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from msst_jax.errors import UserError
from msst_jax.io import png_chunks
from msst_jax.io.camera_raw import is_camera_raw
from msst_jax.io.exif import apply_orientation
from msst_jax.io.files import check_regular_file
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.picture_formats import register_heif
from msst_jax.io.sample_range import check_planes, to_8_bit, unsupported_samples
from msst_jax.io.streams import read_input
from msst_jax.io.tiff_directories import HEIGHT, WIDTH, Directory, is_tiff, read_pages

MAX_PIXELS = 178_000_000  # just under Pillow's own limit for decompression bombs
HEAD = 32  # bytes that tell the format
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")


def decode_picture(path: str | Path, what: str = "picture", content: bytes | None = None) -> Image.Image:
    """Reads a picture file: 8 bits a sample, turned upright, in its own color mode, with its profile in `info`.

    Args:
      path: the file.
      what: the role of the image, named in errors ("photo", "style", "mask").
      content: of the file, which is not opened then.

    Raises:
      UserError: missing file, folder, not an image, a camera's raw file, samples without a known range, damaged, or
        larger than MAX_PIXELS.
    """
    label = f"{what} {path}"
    with open_picture(path, what, content) as opened:
        check_planes(opened, label)
        layout = png_chunks.sample_layout(opened)
        opened.load()
        png_chunks.correct_transparent_color(opened, layout)
        return apply_orientation(to_8_bit(opened, label), opened, label)


def read_stored(path: str | Path, what: str = "picture") -> Image.Image:
    """Reads a picture file upright, with the numbers and the mode that it is stored in.

    For files whose numbers are no colors, such as masks. Arguments and errors as of `decode_picture`.
    """
    with open_picture(path, what) as opened:
        opened.load()
        return apply_orientation(opened, opened, f"{what} {path}")


@contextmanager
def open_picture(path: str | Path, what: str = "picture", content: bytes | None = None) -> Iterator[Image.Image]:
    """A picture file as Pillow opens it, not loaded yet; errors of the block are converted too.

    Args:
      path: the file.
      what: as in `decode_picture`.
      content: as in `decode_picture`.

    Raises:
      UserError: as `decode_picture`.
    """
    path = Path(path)
    label = f"{what} {path}"
    try:
        with warnings.catch_warnings(), ExitStack() as files:
            warnings.simplefilter("ignore")  # Pillow warns about large images and odd metadata
            stream = _stream(path, what) if content is None else io.BytesIO(content)
            yield _open(files.enter_context(stream), path, label, files)
    except Image.DecompressionBombError:
        raise UserError(f"{label} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller") from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged data
        raise UserError(f"{label} is damaged or cannot be read ({error}); give another copy") from error


def _stream(path: Path, what: str) -> IO[bytes]:
    """The content of the file, or of standard input; UserError if there is none."""
    if path == STANDARD_STREAM:
        return io.BytesIO(read_input(what))
    check_picture_file(path, what)
    return path.open("rb")


def check_picture_file(path: Path, what: str) -> None:
    """Raises UserError if there is no file to read at `path`, see `decode_picture`; standard input is there."""
    if path == STANDARD_STREAM:
        return
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder; give a picture file")
    if not path.exists():
        problem = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
        raise UserError(f"{what} {path} {problem}; check the name")
    check_regular_file(path, what)


def _open(stream: IO[bytes], path: Path, label: str, files: ExitStack) -> Image.Image:
    """Opens the picture, the page of it that is not a thumbnail; `files` closes it.

    Raises:
      UserError: not a picture, or none that can be read.
      DecompressionBombError: larger than MAX_PIXELS.
    """
    head = stream.read(HEAD)
    pages, below = read_pages(stream, head) if is_tiff(head) else ([], [])
    if is_camera_raw(path, head, [*pages, *below]):
        raise UserError(
            f"{label} is a raw file of a camera, which opens as a thumbnail at best; develop it to TIFF, PNG or JPEG"
        )
    stream.seek(0)
    profile = None
    if head.startswith(png_chunks.SIGNATURE):
        stream, profile = png_chunks.readable_png(stream)
    try:
        opened = _open_heif(stream, label) if _is_heif(head) else Image.open(stream)
    except UnidentifiedImageError:
        raise UserError(_why_unidentified(label, head, pages)) from None
    files.enter_context(opened)
    if profile:
        opened.info["icc_profile"] = profile
    if pages:
        opened.seek(_full_page(pages, below, label))
    if opened.width * opened.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return opened


def _why_unidentified(label: str, head: bytes, pages: list[Directory]) -> str:
    if not head:
        return f"{label} is empty; give a PNG, JPEG, WebP or TIFF file"
    if pages and pages[0].pixels:
        return unsupported_samples(label, pages[0])
    return f"{label} is not a picture that Pillow can read; give a PNG, JPEG, WebP or TIFF file"


def _full_page(pages: list[Directory], below: list[Directory], label: str) -> int:
    """The index of the first page of a TIFF file that is not a smaller version of another.

    Raises:
      UserError: the larger version lies where Pillow does not look.
    """
    full = next((index for index, page in enumerate(pages) if page.pixels and not page.reduced), 0)
    hidden = max(below, key=lambda page: page.pixels, default=pages[full])
    if pages[full].reduced and hidden.pixels > pages[full].pixels:
        size = f"{hidden.number(WIDTH)}x{hidden.number(HEIGHT)}"
        raise UserError(
            f"{label} opens as a thumbnail, and its picture of {size} pixels cannot be read; save it as PNG or JPEG"
        )
    return full


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _open_heif(stream: IO[bytes], label: str) -> Image.Image:
    """Opens a HEIC file, if pillow-heif is installed.

    Raises:
      UserError: it is not.
    """
    if not register_heif():
        raise UserError(
            f"{label} is a HEIC picture; install what reads it with `pip install pillow-heif`, or save it as JPEG"
        )
    return Image.open(stream)
