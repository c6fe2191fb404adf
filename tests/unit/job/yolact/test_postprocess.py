import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from job.yolact.postprocess import postprocess
from tests.unit.job.yolact import yolact_reference as reference


def rows(outputs, priors, *, height=40, width=61, **changes):
    batch = {name: array[None] for name, array in outputs.items()}
    return postprocess(reference.model(**changes), priors, batch, height=height, width=width)


@pytest.mark.parametrize("score_threshold", [0.0, 0.15])
@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 24), (1, 1)])
def test_rows_hold_what_the_steps_written_down_give(height, width, score_threshold):
    outputs, priors = reference.random_outputs(2, kept=10)
    found = rows(
        outputs, priors, height=height, width=width, score_threshold=score_threshold, top_k=9
    )
    expected = reference.detect(outputs, priors, conf_threshold=0.05, nms_threshold=0.5, top_k=9)
    expected = [item for item in expected if not score_threshold or item[1] > score_threshold]
    assert len(found) == len(expected) > 0
    for row, (category, score, box, weights) in zip(found, expected, strict=True):
        assert row["category_id"] == reference.model().category_ids[category]
        assert row["score"] == float(score)
        x1, y1, x2, y2 = reference.pixel_box(box, height, width)
        assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        values = reference.mask_values(outputs["proto"], box, weights, height, width)
        assert np.abs(values - 0.5).min() > 1e-6
        mask = coco_mask.decode(row["segmentation"])
        np.testing.assert_array_equal(mask, values > 0.5)
        assert row["area"] == mask.sum()


def test_without_a_threshold_there_are_top_k_rows_however_low_their_scores():
    outputs, priors = reference.random_outputs(2, kept=10)
    found = rows(outputs, priors, score_threshold=0.0)
    assert len(found) == 20
    assert found[-1]["score"] < 0.05


def test_a_score_at_the_threshold_is_left_out():
    outputs, priors = reference.random_outputs(2, kept=10)
    scores = [row["score"] for row in rows(outputs, priors)]
    threshold = scores[2]
    assert scores[1] > threshold > scores[3]
    assert [r["score"] for r in rows(outputs, priors, score_threshold=threshold)] == scores[:2]


def test_a_zero_score_counts_without_a_threshold():
    outputs, priors = reference.random_outputs(2, kept=1)
    outputs["conf"][outputs["conf"] < 0.05] = 0
    assert [row["score"] for row in rows(outputs, priors, score_threshold=0.0)][1:] == [0] * 4


def test_no_object():
    outputs, priors = reference.random_outputs(2, kept=0)
    assert rows(outputs, priors) == []


def test_rows_are_plain_json():
    outputs, priors = reference.random_outputs(2)
    found = rows(outputs, priors)
    assert json.loads(json.dumps(found)) == found
    row = found[0]
    assert all(type(value) is float for value in [row["score"], row["area"], *row["bbox"]])
    assert type(row["category_id"]) is int
    assert list(row) == ["category_id", "score", "bbox", "area", "segmentation"]
