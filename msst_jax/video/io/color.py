"""From the stored pixels of a clip to RGB the right way up, and back."""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from msst_jax.video.io.types import ColorTags

UNKNOWN = 2
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9
SRGB_TAGS = ColorTags(UNKNOWN, BT709, BT709)  # sRGB has the primaries of BT.709; players take its curve for the same
HDR = {16: "PQ", 18: "HLG"}
# Those that swscale converts (FCC, SMPTE 240M and both forms of BT.2020 beside the usual).
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}
# By swscale's own numbers, which differ from H.273's.
_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Without these flags chroma is repeated instead of interpolated, and colours are off by up to 4 levels.
_FLAGS = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


def infer_matrix(declared: int, width: int, height: int) -> int:
    """The matrix of a clip: what it declares; else BT.709 for HD and BT.601 below, which is what players assume.

    Source of the limits: mpv, mp_csp_guess_colorspace (BT.709 from 1280 columns or above 576 lines).
    """
    if declared in _MATRICES:
        return _MATRICES[declared]
    return BT709 if width >= 1280 or height > 576 else SMPTE170M


class Orientation:
    """How a player turns the stored picture, from a display matrix (MP4's tkhd, FFmpeg's AV_PKT_DATA_DISPLAYMATRIX)."""

    def __init__(self, matrix: bytes | None):
        """Reads nine 32-bit numbers; None = as it is. Turns are taken to the nearest multiple of 90 degrees."""
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist() if matrix is not None else (1, 0, 0, 0, 1)
        self.transposed = abs(b) > abs(a)
        right, down = (c, b) if self.transposed else (a, d)
        self.mirrored, self.upside_down = right < 0, down < 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of what is shown."""
        return (height, width) if self.transposed else (width, height)

    def aspect(self, ratio: Fraction) -> Fraction:
        """The pixel aspect ratio of what is shown."""
        return 1 / ratio if self.transposed else ratio

    def turn(self, image: np.ndarray) -> np.ndarray:
        """The picture (H, W, 3) as it is shown."""
        image = image.swapaxes(0, 1) if self.transposed else image
        image = image[:, ::-1] if self.mirrored else image
        image = image[::-1] if self.upside_down else image
        return np.ascontiguousarray(image)


class RgbDecoder:
    """Decoded frames of any format to RGB; keeps what swscale prepares for a size and format."""

    def __init__(self, width: int, height: int, matrix: int):
        """Frames of other sizes, which a stream may change to, are resized to this one."""
        self.size = {"width": width, "height": height}
        self.matrix = matrix
        self.reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """The frame as uint8 (H, W, 3), not turned; what is transparent is black."""
        if not frame.format.is_rgb:
            frame.colorspace = self.matrix
        form = "rgba" if has_alpha(frame) else "rgb24"
        image = self.reformatter.reformat(frame, format=form, interpolation=_FLAGS, **self.size).to_ndarray()
        if form == "rgb24":
            return image
        covered = image[..., :3].astype(np.uint16) * image[..., 3:] + 127
        return (covered // 255).astype(np.uint8)


def has_alpha(frame: VideoFrame) -> bool:
    """Whether some pixels of a frame may be transparent."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


class RgbEncoder:
    """RGB to the format of an encoder, limited range."""

    def __init__(self, form: str, matrix: int):
        self.form = form
        self.matrix = _SWSCALE[matrix]
        self.reformatter = VideoReformatter()

    def __call__(self, image: np.ndarray) -> VideoFrame:
        """uint8 (H, W, 3) as a frame without a time."""
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        return self.reformatter.reformat(
            frame,
            format=self.form,
            dst_colorspace=self.matrix,
            dst_color_range=ColorRange.MPEG,
            interpolation=_FLAGS,
        )
