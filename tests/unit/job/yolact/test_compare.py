import numpy as np
import pytest
from pycocotools import mask as coco_mask

from job.yolact.compare import Tolerance, differences
from tests.unit.job.yolact import yolact_reference as reference

MODEL = reference.model(score_threshold=0.3, top_k=4)


def row(score=0.9, category=1, left=10, shift=0, missing=0):
    """A 20 x 20 object at x = left; `missing` of its 400 pixels are not in the mask."""
    mask = np.zeros((50, 80), dtype=np.uint8, order="F")
    mask[10:30, left + shift : left + 20 + shift] = 1
    mask[10, left : left + missing] = 0
    rle = coco_mask.encode(mask)
    return {
        "category_id": category,
        "score": score,
        "bbox": [float(left + shift), 10.0, 20.0, 20.0],
        "area": float(mask.sum()),
        "segmentation": {"size": [50, 80], "counts": rle["counts"].decode()},
    }


def compare(first, second, **tolerance):
    return differences({"a": first}, {"a": second}, model=MODEL, tolerance=Tolerance(**tolerance))


def test_the_same_in_another_order():
    objects = [row(0.9), row(0.8, left=40), row(0.8, category=2)]
    assert compare(objects, objects[::-1]) == []
    assert compare([], []) == []


def test_last_bits_do_not_matter():
    assert compare([row(0.9)], [row(0.90009, missing=4)]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score": 0.9002}, "scores 0.0002 apart"),
        ({"shift": 2}, "box 2 px"),
        ({"missing": 5}, "mask IoU 0.9875"),
    ],
)
def test_an_object_that_differs_is_told_once(change, told):
    (text,) = compare([row()], [row(**change)])
    assert text.startswith("a: category 1: object with score 0.90000 at [10.0, 10.0, 20.0, 20.0]")
    assert told in text


def test_tolerances_can_be_wider():
    second = [row(0.905, missing=7)]
    assert len(compare([row()], second)) == 1
    assert compare([row()], second, score=0.01, iou=0.98) == []


def test_a_box_corner_on_the_other_side_of_a_pixel_is_no_difference():
    wider = row()
    wider["bbox"] = [9.0, 10.0, 22.0, 20.0]
    assert compare([row()], [wider]) == []
    wider["bbox"] = [9.0, 10.0, 23.0, 20.0]
    assert len(compare([row()], [wider])) == 1


def test_images_classes_and_counts():
    first, second = {"a": [], "b": [row()]}, {"b": [row()], "c": []}
    assert differences(first, second, model=MODEL) == [
        "a: only in the first result",
        "c: only in the second result",
    ]
    texts = compare([row(category=1)], [row(category=2)])
    assert [text.split(": ")[1] for text in texts] == ["category 1", "category 2"]
    assert texts[0].endswith("only in the first result")
    assert texts[1].endswith("only in the second result")
    assert len(compare([row(), row()], [row()])) == 1


def test_each_object_meets_its_own_counterpart():
    # By score alone, the objects would be crossed.
    first = [row(0.70004, left=10), row(0.70000, left=40)]
    second = [row(0.70000, left=10), row(0.70004, left=40)]
    assert compare(first, second) == []


def test_identical_masks_are_told_apart_by_their_scores():
    assert compare([row(0.9), row(0.6)], [row(0.6), row(0.9)]) == []


@pytest.mark.parametrize("threshold", [MODEL.conf_threshold, MODEL.score_threshold])
def test_an_object_at_a_threshold_may_be_there_or_not(threshold):
    assert compare([row(0.9), row(threshold + 0.00009, left=40)], [row(0.9)]) == []
    assert len(compare([row(0.9), row(threshold + 0.00011, left=40)], [row(0.9)])) == 1


def test_the_weakest_of_a_full_image_may_be_another():
    strong = [row(0.9), row(0.8, category=2), row(0.7, category=4)]
    first = [*strong, row(0.6, left=40)]
    assert compare(first, [*strong, row(0.60005, category=8)]) == []
    (text,) = compare(first, [*strong, row(0.65, category=8)])
    assert "score 0.65" in text


def test_a_full_image_may_not_lose_its_weakest():
    first = [row(0.9), row(0.8, category=2), row(0.7, category=4), row(0.6, category=8)]
    (text,) = compare(first, first[:3])
    assert "score 0.6" in text


def test_a_full_image_excuses_no_strong_object():
    first = [row(0.9), row(0.8, category=2), row(0.7, category=4), row(0.6, left=40)]
    (text,) = compare(first, [*first[1:], row(0.5, category=2, left=40)])
    assert "score 0.9" in text


def test_one_score_at_a_threshold_does_not_excuse_the_other():
    assert len(compare([row(0.9)], [row(0.30001)])) == 1


def test_two_empty_masks_agree():
    empty = row(missing=0)
    empty["segmentation"] = {
        "size": [50, 80],
        "counts": coco_mask.encode(np.zeros((50, 80), dtype=np.uint8, order="F"))[
            "counts"
        ].decode(),
    }
    assert compare([empty], [dict(empty)]) == []
    assert len(compare([empty], [row()])) == 1


def test_images_of_another_size_differ():
    other = row()
    other["segmentation"] = coco_mask.encode(np.ones((8, 8), dtype=np.uint8, order="F"))
    assert len(compare([row()], [other])) == 1


def test_an_impossible_tolerance_is_refused():
    with pytest.raises(ValueError, match="cannot be met"):
        Tolerance(iou=1.5)
