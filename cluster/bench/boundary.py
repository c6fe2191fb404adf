"""Boundary IoU and the average precision made with it (Cheng et al., CVPR 2021)."""

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

DILATION_RATIO = 0.02  # of the image's diagonal: the band's width (section 5)

Mask = npt.NDArray[np.uint8]
Rle = dict[str, Any]


def band(mask: Mask) -> Mask:
    """The pixels of MASK (uint8 [h, w] of 0 and 1) near its contour, which the border is part of.

    What lies deeper than 2 % of the diagonal goes, by erosion with a 3x3 square, as in the authors'
    code: the distance is a chessboard's.
    """
    width = max(1, round(DILATION_RATIO * math.hypot(*mask.shape)))
    square = np.ones((3, 3), np.uint8)
    inner: Mask = cv2.erode(
        mask, square, iterations=width, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return mask - inner


def boundary_iou(detections: list[Rle], truth: list[Rle]) -> npt.NDArray[np.float64]:
    """Min of mask IoU and boundary IoU (section 6) [len(detections), len(truth)], of COCO RLE."""
    crowd = [0] * len(truth)
    of_masks = coco_mask.iou(detections, truth, crowd)
    bands = [[_encoded_band(rle) for rle in side] for side in (detections, truth)]
    least: npt.NDArray[np.float64] = np.minimum(of_masks, coco_mask.iou(*bands, crowd))
    return least


def _encoded_band(rle: Rle) -> Rle:
    encoded: Rle = coco_mask.encode(np.asfortranarray(band(coco_mask.decode(rle))))
    return encoded


class BoundaryEval(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """COCO's evaluation with boundary IoU in the place of mask IoU; no crowds."""

    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802, N803  pycocotools' names
        """IoU of one picture's objects of a class, detections by falling score."""
        truth = self._gts[imgId, catId]
        found = sorted(self._dts[imgId, catId], key=lambda row: -row["score"])
        found = found[: self.params.maxDets[-1]]
        if not truth or not found:
            return []
        return boundary_iou(*([row["segmentation"] for row in rows] for rows in (found, truth)))
