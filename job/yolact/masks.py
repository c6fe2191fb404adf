"""Instance masks at the size of the original image, and their COCO RLE."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from job.yolact.detect import Detections, Floats, Indices


@dataclass(frozen=True, kw_only=True)
class Patch:
    """The part of one object's mask outside of which it is empty.

    ``inside`` [w, h] is bool and indexed [x, y], because COCO RLE runs down the columns; its corner
    lies at ``left``, ``top`` of the image.
    """

    left: int
    top: int
    inside: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.inside.ndim != 2 or min(self.left, self.top) < 0:
            raise ValueError("a patch is [w, h] at a place inside the image")

    @property
    def area(self) -> int:
        """Pixels of the object."""
        return int(np.count_nonzero(self.inside))


def integer_boxes(boxes: Floats, *, height: int, width: int) -> npt.NDArray[np.int64]:
    """Pixel boxes [n, 4] x1, y1, x2, y2 of relative ``boxes`` [n, 4]: cut, not rounded.

    As in the authors' code the lower corner is clamped at 0 only and the upper one at the image's
    size only: a box off the image stays odd.
    """
    low, high = _corners(boxes)
    size = np.array([width, height], dtype=np.float32)
    low = np.maximum(low * size, 0)
    high = np.minimum(high * size, size)
    return np.concatenate([low, high], axis=1).astype(np.int64)


def assemble(proto: Floats, detections: Detections, *, height: int, width: int) -> Iterator[Patch]:
    """One mask per detection, in order, for an image of ``height`` x ``width`` pixels.

    ``proto`` [P, P, K]. Crop to the box and one cell more at the prototypes' size, then bilinear
    with half-pixel centres, then > 0.5 (Bolya et al., ICCV 2019, section 3.3). Each is made when
    asked for, and only where a cell inside the crop reaches.
    """
    rows, columns, _ = proto.shape
    y_axis, x_axis = _Axis.of(rows, height), _Axis.of(columns, width)
    low, high = _corners(detections.boxes)
    cells = np.array([columns, rows], dtype=np.float32)
    first = np.ceil(np.clip(low * cells - 1, 0, cells)).astype(np.intp)
    end = np.ceil(np.clip(high * cells + 1, 0, cells)).astype(np.intp)
    for (x0, y0), (x1, y1), weights in zip(first, end, detections.coefficients, strict=True):
        with np.errstate(over="ignore"):  # exp gives inf, the sigmoid 0
            crop = 1 / (1 + np.exp(-(proto[y0:y1, x0:x1] @ weights)))
        crop = np.pad(crop, 1)  # the nearest of the cells that were cropped away
        top, crop = y_axis.stretch(crop, y0)
        left, crop = x_axis.stretch(crop.T, x0)
        yield Patch(left=left, top=top, inside=crop > 0.5)


def encode(patch: Patch, *, height: int, width: int) -> dict[str, Any]:
    """Compressed COCO RLE (counts as str) of a patch in an image of ``height`` x ``width``."""
    padded = np.pad(patch.inside, ((0, 0), (1, 1)))
    flat = padded.ravel()
    x, y = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), padded.shape[1])
    bounds = (patch.left + x) * height + patch.top + y  # where runs start and end, in turn
    # A run to the foot of a column and one from the head of the next are one run.
    joint = np.flatnonzero(bounds[1:] == bounds[:-1])
    bounds = np.delete(bounds, np.concatenate([joint, joint + 1]))
    counts = np.diff(bounds, prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _corners(boxes: Floats) -> tuple[Floats, Floats]:
    """Lower and upper x, y [n, 2] each; a box may have its corners the wrong way round."""
    return np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Which two cells each pixel along one axis lies between, and how far from the lower one."""

    lower: Indices
    upper: Indices
    fraction: Floats

    @classmethod
    def of(cls, cells: int, pixels: int) -> "_Axis":
        """Half-pixel centres (``align_corners=False``); the outermost cells are repeated."""
        at = np.maximum((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0)
        lower = at.astype(np.intp)
        return cls(
            lower=lower,
            upper=np.minimum(lower + 1, cells - 1),
            fraction=(at - lower).astype(np.float32)[:, None],
        )

    def stretch(self, padded: Floats, first: int) -> tuple[int, Floats]:
        """First pixel that a cell reaches, and the pixels from there on, along axis 0.

        ``padded`` holds cells ``first`` and following, between two of zeros.
        """
        end = first + len(padded) - 2
        begin, stop = np.searchsorted(self.upper, first), np.searchsorted(self.lower, end)
        fraction = self.fraction[begin:stop]
        pixels = padded.take(self.lower[begin:stop] - first + 1, axis=0) * (1 - fraction)
        pixels += padded.take(self.upper[begin:stop] - first + 1, axis=0) * fraction
        return int(begin), pixels
