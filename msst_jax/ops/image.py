"""Operations on NHWC images: ImageNet normalization, resizing, compositing by masks, conversion to 8 bits."""

import jax
import jax.numpy as jnp

# torchvision.models: the statistics every ImageNet network there was trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: jax.Array) -> jax.Array:
    """ImageNet normalization n(.): images (..., 3) in [0, 1] to zero mean and unit variance.

    Source: torchvision.transforms.Normalize with the statistics of its ImageNet weights.
    """
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype)
    std = jnp.asarray(IMAGENET_STD, images.dtype)
    return (images - mean) / std


def resize(images: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resizing of images (..., H, W, C), antialiased when shrinking.

    Source: torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=True).
    """
    shape = (*images.shape[:-3], height, width, images.shape[-1])
    return jax.image.resize(images, shape, method="linear", antialias=True)


def to_uint8(images: jax.Array) -> jax.Array:
    """Images in [0, 1] (values outside are clipped) as uint8; `io.images.to_picture` does the same on the host."""
    return jnp.round(jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


def composite(pixels: jax.Array, masks: jax.Array) -> jax.Array:
    """R = sum_k m_k I_k: images (K, H, W, 3) and masks (H, W, K) to (H, W, 3)."""
    return jnp.sum(pixels * jnp.moveaxis(masks, -1, 0)[..., None], axis=0)


def halve(images: jax.Array) -> jax.Array:
    """Images (N, H, W, C), H and W even, at half the size: the mean of each 2x2 square."""
    n, height, width, channels = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def upsample(images: jax.Array) -> jax.Array:
    """Images (N, H, W, C) at twice the size, (N, 2H, 2W, C), by the binomial filter of order 5, borders repeated.

    Bilinear upsampling leaves images of the finest patterns, at twice their frequency: after two of them a network has
    drawn a grid of 4 pixels into every flat area. This filter damps them as the square of the bilinear one would.

    Source: torch.nn.functional.conv_transpose2d(stride=2) with the rows of [1, 5, 10, 10, 5, 1] / 16.
    """
    return _double(_double(images, 1), 2)


def _double(images: jax.Array, axis: int) -> jax.Array:
    """Interpolation along an axis: every output lies a quarter of a pixel beside an input."""
    length = images.shape[axis]
    padded = jnp.pad(images, [(1, 1) if index == axis else (0, 0) for index in range(images.ndim)], mode="edge")
    before, here, after = (jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in (0, 1, 2))
    pair = jnp.stack([5 * before + 10 * here + after, before + 10 * here + 5 * after], axis + 1) / 16
    return pair.reshape(*images.shape[:axis], 2 * length, *images.shape[axis + 1 :])
