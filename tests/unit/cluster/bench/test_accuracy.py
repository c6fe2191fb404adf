from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cluster.bench.accuracy import average_precision, measure
from cluster.model.scenes import coco
from job.host import host_facts

TRUTH = coco(range(6))


def rows(score: float = 0.9, shrink: int = 0) -> list[dict[str, Any]]:
    """The truth as detections, SHRINK pixels taken from every contour."""
    found = []
    for row in TRUTH["annotations"]:
        mask = coco_mask.decode(row["segmentation"])
        if shrink:
            mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=shrink)
        encoded = coco_mask.encode(np.asfortranarray(mask))
        encoded["counts"] = encoded["counts"].decode()
        found.append(
            {
                "image_id": row["image_id"],
                "category_id": row["category_id"],
                "score": score,
                "bbox": row["bbox"],
                "area": float(mask.sum()),
                "segmentation": encoded,
            }
        )
    return found


def test_the_truth_scores_one() -> None:
    assert average_precision(TRUTH, rows()) == {"mask_ap": 1, "mask_ap50": 1, "boundary_ap": 1}


def test_nothing_found_scores_zero() -> None:
    assert set(average_precision(TRUTH, []).values()) == {0.0}


def test_wrong_classes_score_zero() -> None:
    wrong = [{**row, "category_id": row["category_id"] % 6 + 1} for row in rows()]
    assert average_precision(TRUTH, wrong)["mask_ap50"] < 0.2


def test_thin_masks_lose_more_at_the_boundary() -> None:
    scores = average_precision(TRUTH, rows(shrink=2))
    assert scores["mask_ap50"] > 0.95
    assert scores["boundary_ap"] < scores["mask_ap"] < 1


def test_half_of_the_objects_found_is_half_the_precision() -> None:
    scores = average_precision(TRUTH, rows()[::2])
    assert scores["mask_ap"] == pytest.approx(0.5, abs=0.15)


def test_the_shipped_models_reach_their_targets() -> None:
    result = measure(scenes=24)
    assert not result.missed()
    assert {row["weights"] for row in result.rows} == {"fp32", "fp16"}
    names = {"mask_ap", "mask_ap50", "boundary_ap"}
    suffixes = {"fp32", "fp16", *(("bf16",) if host_facts().bf16 else ())}
    assert set(result.figures) == {f"{name}_{suffix}" for name in names for suffix in suffixes}
    # FP16 weights cost next to nothing.
    assert result.figures["mask_ap_fp16"] == pytest.approx(result.figures["mask_ap_fp32"], abs=0.02)
