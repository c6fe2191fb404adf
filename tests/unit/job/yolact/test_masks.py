import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from job.yolact.detect import Detections
from job.yolact.masks import Patch, assemble, encode, integer_boxes
from tests.unit.job.yolact import yolact_reference as reference

SIZES = [(16, 16), (64, 64), (37, 90), (90, 37), (1, 1), (5, 9), (1, 50), (16, 15)]
BOXES = {
    "inside": (0.31, 0.24, 0.72, 0.55),
    "whole image": (0.0, 0.0, 1.0, 1.0),
    "over every edge": (-0.4, -0.2, 1.3, 1.7),
    "over the lower edge": (0.6, 0.7, 1.4, 1.2),
    "narrower than a cell": (0.501, 0.1, 0.502, 0.9),
    "wrong way round": (0.7, 0.8, 0.2, 0.3),
    "off to the right": (1.5, 0.2, 1.8, 0.6),
    "off to the left": (-0.9, -0.8, -0.5, -0.4),
}


def detections(boxes, coefficients):
    count = len(boxes)
    return Detections(
        classes=np.zeros(count, dtype=np.intp),
        scores=np.ones(count, dtype=np.float32),
        boxes=np.array(boxes, dtype=np.float32),
        coefficients=np.array(coefficients, dtype=np.float32),
    )


def scene(seed=0, cells=16, count=8):
    rng = np.random.default_rng(seed)
    proto = rng.normal(size=(cells, cells, 6)).astype(np.float32)
    return proto, rng.normal(size=(count, 6)).astype(np.float32)


def full(patch, height, width):
    mask = np.zeros((height, width), dtype=bool)
    w, h = patch.inside.shape
    mask[patch.top : patch.top + h, patch.left : patch.left + w] = patch.inside.T
    return mask


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_pixel_is_that_of_the_whole_map_upsampled(height, width):
    proto, coefficients = scene()
    found = detections(list(BOXES.values()), coefficients)
    patches = list(assemble(proto, found, height=height, width=width))
    assert len(patches) == len(BOXES)
    for patch, box, weights in zip(patches, found.boxes, coefficients, strict=True):
        values = reference.mask_values(proto, box, weights, height, width)
        mask = full(patch, height, width)
        clear = np.abs(values - 0.5) > 1e-5  # nearer to the threshold rounding decides
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(mask[clear], values[clear] > 0.5)
        assert patch.area == mask.sum()


@pytest.mark.parametrize(("height", "width"), [(427, 640), (640, 427), (138, 138), (100, 61)])
def test_agrees_with_opencv_at_the_published_size(height, width):
    proto, coefficients = scene(seed=1, cells=138)
    found = detections(list(BOXES.values()), coefficients)
    for patch, box, weights in zip(
        assemble(proto, found, height=height, width=width), found.boxes, coefficients, strict=True
    ):
        x1, x2 = sorted((box[0] * np.float32(138), box[2] * np.float32(138)))
        y1, y2 = sorted((box[1] * np.float32(138), box[3] * np.float32(138)))
        at = np.arange(138)
        columns = (at >= max(x1 - 1, 0)) & (at < min(x2 + 1, 138))
        rows = (at >= max(y1 - 1, 0)) & (at < min(y2 + 1, 138))
        small = 1 / (1 + np.exp(-(proto @ weights))) * rows[:, None] * columns
        values = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        clear = np.abs(values - 0.5) > 1e-4
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(full(patch, height, width)[clear], values[clear] > 0.5)


def test_boxes_do_give_masks_here():
    proto, coefficients = scene()
    found = detections(list(BOXES.values()), coefficients)
    areas = [patch.area for patch in assemble(proto, found, height=64, width=64)]
    filled = [area > 0 for area in areas]
    assert filled == [not name.startswith("off") for name in BOXES]


def test_a_patch_is_not_the_whole_image():
    proto, coefficients = scene(cells=138, count=1)
    found = detections([BOXES["inside"]], coefficients)
    (patch,) = assemble(proto, found, height=1600, width=1600)
    assert patch.inside.size < 0.25 * 1600 * 1600


def test_extreme_coefficients_make_full_and_empty_masks_without_warnings(recwarn):
    proto = np.ones((4, 4, 1), dtype=np.float32)
    found = detections([BOXES["whole image"]] * 2, [[1000], [-1000]])
    on, off = assemble(proto, found, height=9, width=7)
    assert (on.area, off.area) == (63, 0)
    assert not recwarn.list


def test_where_no_prototype_answers_there_is_no_object():
    # The sigmoid is exactly 0.5 there, which rounding must not lift.
    found = detections(list(BOXES.values()), np.ones((len(BOXES), 6)))
    proto = np.zeros((16, 16, 6), dtype=np.float32)
    for size in (16, 50, 77, 301):
        assert [p.area for p in assemble(proto, found, height=size, width=size + 3)] == [0] * 8


def test_pixel_boxes_are_cut_and_those_off_the_image_stay_odd():
    boxes = np.array(list(BOXES.values()), dtype=np.float32)
    found = integer_boxes(boxes, height=37, width=90)
    assert found.tolist() == [list(reference.pixel_box(box, 37, 90)) for box in boxes]
    odd = dict(zip(BOXES, found.tolist(), strict=True))
    assert odd["off to the right"] == [135, 7, 90, 22]
    assert odd["off to the left"] == [0, 0, -45, -14]


def masks_to_encode():
    rng = np.random.default_rng(0)
    yield np.zeros((6, 5), dtype=bool)
    yield np.ones((6, 5), dtype=bool)
    yield np.ones((1, 1), dtype=bool)
    for _ in range(50):
        yield rng.random(rng.integers(1, 9, size=2)) < rng.choice([0.2, 0.5, 0.9])


def test_rle_is_that_of_the_whole_mask():
    for mask in masks_to_encode():
        for above, left, below, right in [(0, 0, 0, 0), (1, 0, 0, 2), (0, 3, 1, 0), (2, 1, 0, 0)]:
            image = np.pad(mask, ((above, below), (left, right)))
            height, width = image.shape
            patch = Patch(left=left, top=above, inside=mask.T)
            rle = encode(patch, height=height, width=width)
            expected = coco_mask.encode(np.asfortranarray(image, dtype=np.uint8))
            assert rle == {"size": [height, width], "counts": expected["counts"].decode()}


def test_an_empty_patch_is_an_empty_mask():
    patch = Patch(left=0, top=0, inside=np.zeros((0, 3), dtype=bool))
    assert coco_mask.decode(encode(patch, height=3, width=4)).tolist() == [[0] * 4] * 3


def test_a_patch_off_the_image_is_refused():
    with pytest.raises(ValueError, match="inside the image"):
        Patch(left=-1, top=0, inside=np.zeros((2, 2), dtype=bool))
