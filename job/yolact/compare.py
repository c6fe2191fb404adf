"""Whether two sets of detections are the same, as far as last bits allow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from job.model import Model

Row = Mapping[str, Any]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far two detections of one object may differ: score, box corner (pixels), mask IoU."""

    score: float = 1e-4
    box: float = 0.5
    iou: float = 0.99

    def __post_init__(self) -> None:
        if self.score < 0 or self.box < 0 or not 0 <= self.iou <= 1:
            raise ValueError(f"{self} cannot be met: score and box from 0, iou from 0 to 1")


def differences(
    first: Mapping[str, Sequence[Row]],
    second: Mapping[str, Sequence[Row]],
    *,
    model: Model,
    tolerance: Tolerance | None = None,
) -> list[str]:
    """What differs between two results of ``model``, in words; nothing if they are the same.

    Both map an image_id to its rows as ``postprocess`` makes them, an image without objects to
    none. Same means: same images, classes and counts, and each object's score, box and mask within
    ``tolerance``. Only an object whose score lies that close to a threshold may differ:
    conf_threshold, score_threshold, or the weakest score of an image that has ``top_k`` objects in
    both. The order of the rows does not matter.
    """
    tolerance = tolerance or Tolerance()
    found = []
    for image in sorted(first.keys() | second.keys()):
        if image not in first or image not in second:
            found.append(f"{image}: only in the {'first' if image in first else 'second'} result")
            continue
        sides = (first[image], second[image])
        thresholds = [t for t in (model.conf_threshold, model.score_threshold) if t > 0]
        if all(len(rows) == model.top_k for rows in sides):
            thresholds.append(min(_scores([*sides[0], *sides[1]])))
        for category in sorted({row["category_id"] for rows in sides for row in rows}):
            a, b = ([row for row in rows if row["category_id"] == category] for rows in sides)
            found += [
                f"{image}: category {category}: {text}"
                for text, scores in _mismatches(a, b, tolerance)
                if not all(any(abs(s - t) <= tolerance.score for t in thresholds) for s in scores)
            ]
    return found


def _mismatches(
    a: Sequence[Row], b: Sequence[Row], tolerance: Tolerance
) -> list[tuple[str, list[float]]]:
    """What differs between objects of one class, best matches first, with the scores concerned."""
    score = np.abs(np.subtract.outer(_scores(a), _scores(b)))
    box = np.abs(_corners(a)[:, None] - _corners(b)[None]).max(axis=2)
    iou = _overlaps(a, b)
    # Boxes are stored cut to whole pixels: 0.5 px apart may read as 1.
    bad = (score > tolerance.score) | (box > math.ceil(tolerance.box)) | (iou < tolerance.iou)

    found = []
    left_a, left_b = set(range(len(a))), set(range(len(b)))
    for flat in np.lexsort([m.ravel() for m in (score, box, -iou, bad)]):
        i, j = divmod(int(flat), len(b))
        if i in left_a and j in left_b:
            left_a.remove(i)
            left_b.remove(j)
            if bad[i, j]:
                text = (
                    f"{_name(a[i])} against {_name(b[j])}: scores {score[i, j]:.2g} apart, "
                    f"box {box[i, j]:g} px, mask IoU {iou[i, j]:.4f}"
                )
                found.append((text, [a[i]["score"], b[j]["score"]]))
    found += [(f"{_name(a[i])} only in the first result", [a[i]["score"]]) for i in sorted(left_a)]
    found += [(f"{_name(b[j])} only in the second result", [b[j]["score"]]) for j in sorted(left_b)]
    return found


def _name(row: Row) -> str:
    return f"object with score {row['score']:.5f} at {[round(v, 1) for v in row['bbox']]}"


def _scores(rows: Sequence[Row]) -> list[float]:
    return [row["score"] for row in rows]


def _corners(rows: Sequence[Row]) -> Matrix:
    """x1, y1, x2, y2 [n, 4] in pixels."""
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _overlaps(a: Sequence[Row], b: Sequence[Row]) -> Matrix:
    """Mask IoU [len(a), len(b)]; two empty masks agree."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    masks_a, masks_b = ([row["segmentation"] for row in rows] for rows in (a, b))
    iou: Matrix = np.array(coco_mask.iou(masks_a, masks_b, [False] * len(b)))
    iou[np.logical_and.outer(coco_mask.area(masks_a) == 0, coco_mask.area(masks_b) == 0)] = 1
    return iou
