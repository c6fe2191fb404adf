"""Pixels to the network's input."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from job.images.decode import Pixels

Floats = npt.NDArray[np.float32]

LARGE_PIXELS = 4_000_000
"""Above this (a float copy of 48 MB) only the pixels that the result needs become floats."""


def to_tensor(
    bgr: Pixels,
    size: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    out: Floats | None = None,
) -> Floats:
    """Make the input, float32 [1, 3, size, size] RGB, from uint8 [H, W, 3] BGR.

    ``mean`` and ``std`` are levels of blue, green, red. The image becomes float32 first and is then
    squashed bilinearly (half-pixel centres, no antialiasing, no rounding), as YOLACT's
    FastBaseTransform does; a resize of the uint8 image would be off by up to 0.8 levels. ``out``
    receives the result where given (say, the memory of an infer request) and is returned.

    Raises ValueError where ``out`` does not fit.
    """
    if out is None:
        out = np.empty((1, 3, size, size), np.float32)
    elif out.shape != (1, 3, size, size) or out.dtype != np.float32:
        raise ValueError(f"out must be float32 [1, 3, {size}, {size}], not {out.dtype} {out.shape}")
    squashed = _squash(bgr, size)
    for channel in range(3):
        plane = out[0, 2 - channel]
        np.subtract(squashed[:, :, channel], np.float32(mean[channel]), out=plane)
        plane /= np.float32(std[channel])
    return out


def _squash(bgr: Pixels, size: int) -> Floats:
    if bgr.shape[0] * bgr.shape[1] > LARGE_PIXELS:
        return _squash_large(bgr, size)
    squashed: Floats = cv2.resize(
        bgr.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR
    )
    return squashed


def _squash_large(bgr: Pixels, size: int) -> Floats:
    """Do the same sum from the four pixels that each result has, without a float copy of all."""
    top, bottom, down = _neighbours(bgr.shape[0], size)
    left, right, across = _neighbours(bgr.shape[1], size)
    across = np.repeat(across, 3)

    def row_between(rows: npt.NDArray[np.intp]) -> Floats:
        strip = bgr[rows]
        first = strip.take(left, axis=1).reshape(size, -1).astype(np.float32)
        second = strip.take(right, axis=1).reshape(size, -1).astype(np.float32)
        return first + (second - first) * across

    upper, lower = row_between(top), row_between(bottom)
    return (upper + (lower - upper) * down[:, None]).reshape(size, size, 3)


def _neighbours(
    length: int, size: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Give the source pixels before and after each of ``size`` results, and the second's weight."""
    centre = (np.arange(size) + 0.5) * (length / size) - 0.5
    before = np.floor(centre).astype(np.intp)
    weight = (centre - before).astype(np.float32)
    return before.clip(0, length - 1), (before + 1).clip(0, length - 1), weight
