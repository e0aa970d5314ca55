"""Color conversion between decoded frames and RGB (swscale, ITU-T H.273 matrices), and display rotation."""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from msst_jax.video.io.tone_mapping import HDR_TRANSFERS, tone_map
from msst_jax.video.io.types import ColorTags

# Code points of ITU-T H.273.
UNSPECIFIED = 2
BT709, BT470BG, SMPTE170M, BT2020 = 1, 5, 6, 9
BT709_TAGS = ColorTags(BT709, BT709, BT709)
SRGB_TAGS = ColorTags(UNSPECIFIED, BT709, BT709)  # sRGB has BT.709 primaries; players treat the two curves alike
WHITE, BLACK = "white", "black"
BACKDROPS = {WHITE: 255, BLACK: 0}
"""Gray levels behind transparent pixels: white for pictures, as for photos; black for masks, outside of them."""
# Matrices that swscale supports: beside the usual ones FCC, SMPTE 240M and both forms of BT.2020.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}
# H.273 matrices as swscale's SWS_CS_* numbers, which differ.
_SWSCALE_COLORSPACES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
# Without these flags swscale repeats chroma instead of interpolating it, and colors are off by up to 4 levels.
_SWSCALE_FLAGS = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


def infer_matrix(declared: int, width: int, height: int) -> int:
    """The color matrix of a video: the declared one, or else BT.709 for HD and BT.601 for SD, as players assume.

    Source of the limits: mpv, mp_csp_guess_colorspace (BT.709 from 1280 columns or above 576 lines).

    Args:
      declared: H.273 code point; unspecified and unsupported ones are replaced.
      width: pixels, as stored.
      height: pixels, as stored.
    """
    if declared in _MATRICES:
        return _MATRICES[declared]
    return BT709 if width >= 1280 or height > 576 else SMPTE170M


class Orientation:
    """Display rotation and mirroring, from a display matrix (MP4's tkhd, FFmpeg's AV_PKT_DATA_DISPLAYMATRIX)."""

    def __init__(self, matrix: bytes | None):
        """Parses nine 32-bit integers; None = identity. Rotations are rounded to the nearest multiple of 90 degrees."""
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist() if matrix is not None else (1, 0, 0, 0, 1)
        self._transposed = abs(b) > abs(a)
        x_scale, y_scale = (c, b) if self._transposed else (a, d)
        self._flip_x, self._flip_y = x_scale < 0, y_scale < 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) as displayed, of a stored frame."""
        return (height, width) if self._transposed else (width, height)

    def pixel_aspect(self, ratio: Fraction) -> Fraction:
        """The pixel aspect ratio as displayed, from the stored one."""
        return 1 / ratio if self._transposed else ratio

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, ...) as displayed, contiguous."""
        image = image.swapaxes(0, 1) if self._transposed else image
        image = image[:, ::-1] if self._flip_x else image
        image = image[::-1] if self._flip_y else image
        return np.ascontiguousarray(image)


class RgbDecoder:
    """Converts decoded frames of any pixel format to RGB; reuses the swscale context between frames."""

    def __init__(self, width: int, height: int, colors: ColorTags, backdrop: str = WHITE):
        """Sets how frames are converted.

        Args:
          width: of the output; frames of a stream that changes its size are resized.
          height: of the output.
          colors: of the frames; those with an HDR transfer function are tone-mapped to SDR.
          backdrop: the color behind transparent pixels, one of BACKDROPS.
        """
        self._size = {"width": width, "height": height}
        self._colors = colors
        self._backdrop = BACKDROPS[backdrop]
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame as stored (not rotated): uint8 (H, W, 3) over the backdrop, and its alpha uint8 (H, W), if any."""
        if not frame.format.is_rgb:
            frame.colorspace = self._colors.matrix
        transparent, hdr = has_alpha(frame), self._colors.transfer in HDR_TRANSFERS
        rgb_format = ("rgba64le" if hdr else "rgba") if transparent else ("rgb48le" if hdr else "rgb24")
        image = self._reformatter.reformat(
            frame, format=rgb_format, interpolation=_SWSCALE_FLAGS, **self._size
        ).to_ndarray()
        alpha = image[..., 3] if transparent else None
        if hdr:
            image = tone_map(image[..., :3], self._colors.transfer)
            alpha = None if alpha is None else (np.asarray(alpha, np.uint16) >> 8).astype(np.uint8)
        if alpha is None:
            return image, None
        return composite(image[..., :3], alpha, self._backdrop), np.ascontiguousarray(alpha)


def composite(image: np.ndarray, alpha: np.ndarray, backdrop: int) -> np.ndarray:
    """uint8 (H, W, 3), not premultiplied, over a gray level, by its alpha uint8 (H, W): uint8 (H, W, 3)."""
    weight = alpha[..., None].astype(np.uint16)
    return ((image * weight + backdrop * (255 - weight) + 127) // 255).astype(np.uint8)


def has_alpha(frame: VideoFrame) -> bool:
    """Whether the pixel format of a frame has transparency."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


class RgbEncoder:
    """Converts RGB to the pixel format of an encoder, limited range."""

    def __init__(self, pixel_format: str, matrix: int):
        """Takes FFmpeg's name of a pixel format and the H.273 code point of a color matrix."""
        self._pixel_format = pixel_format
        self._colorspace = _SWSCALE_COLORSPACES[matrix]
        self._reformatter = VideoReformatter()

    def __call__(self, image: np.ndarray) -> VideoFrame:
        """Converts uint8 (H, W, 3), or (H, W, 4) with alpha, to a frame without timestamp."""
        frame = VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
        return self._reformatter.reformat(
            frame,
            format=self._pixel_format,
            dst_colorspace=self._colorspace,
            dst_color_range=ColorRange.MPEG,
            interpolation=_SWSCALE_FLAGS,
        )
