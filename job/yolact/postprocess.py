"""From a model's raw outputs for one image to the rows of detections.parquet."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from job.model import Model
from job.yolact.detect import Floats, detect
from job.yolact.masks import assemble, encode, integer_boxes


def postprocess(
    model: Model, priors: Floats, outputs: Mapping[str, Floats], *, height: int, width: int
) -> list[dict[str, Any]]:
    """Objects of one image of ``height`` x ``width`` pixels, best score first.

    ``outputs`` holds loc [1, N, 4], conf [1, N, C + 1], mask [1, N, K] and proto [1, P, P, K];
    ``priors`` [N, 4] are the model's. Each row has category_id, score, bbox [x, y, w, h] in pixels,
    area in pixels and segmentation (compressed COCO RLE). Scores must exceed the model's
    score_threshold; at 0 all are kept.
    """
    detections = detect(
        outputs["loc"][0],
        outputs["conf"][0],
        outputs["mask"][0],
        priors,
        conf_threshold=model.conf_threshold,
        nms_threshold=model.nms_threshold,
        top_k=model.top_k,
    )
    count = len(detections.scores)
    if model.score_threshold > 0:
        count = np.count_nonzero(detections.scores > model.score_threshold)
    boxes = integer_boxes(detections.boxes, height=height, width=width)
    patches = assemble(outputs["proto"][0], detections, height=height, width=width)
    rows = []
    for index, patch in enumerate(islice(patches, count)):
        x1, y1, x2, y2 = boxes[index].tolist()
        rows.append(
            {
                "category_id": model.category_ids[detections.classes[index]],
                "score": float(detections.scores[index]),
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "area": float(patch.area),
                "segmentation": encode(patch, height=height, width=width),
            }
        )
    return rows
