import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cluster.bench.boundary import Mask, band, boundary_iou


def rectangle(top: int, left: int, bottom: int, right: int, size: int = 300) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def iou(first: Mask, second: Mask) -> float:
    encoded = [coco_mask.encode(np.asfortranarray(mask)) for mask in (first, second)]
    return float(boundary_iou(encoded[:1], encoded[1:])[0, 0])


# 300 x 300: the diagonal is 424.3, 2 % of it 8.49, so a band is 8 pixels wide.
WIDTH = 8


def test_band_is_two_per_cent_of_the_diagonal_wide() -> None:
    expected = rectangle(100, 100, 200, 200) - rectangle(108, 108, 192, 192)
    assert np.array_equal(band(rectangle(100, 100, 200, 200)), expected)


def test_band_is_at_least_a_pixel_wide() -> None:
    mask = rectangle(2, 2, 7, 7, size=9)
    assert np.array_equal(band(mask), mask - rectangle(3, 3, 6, 6, size=9))


def test_the_border_of_the_picture_is_contour() -> None:
    whole = rectangle(0, 0, 300, 300)
    assert np.array_equal(band(whole), whole - rectangle(8, 8, 292, 292))


def test_a_small_object_is_all_band() -> None:
    mask = rectangle(50, 50, 66, 66)
    assert np.array_equal(band(mask), mask)


def test_equal_masks_agree() -> None:
    assert iou(rectangle(10, 20, 200, 150), rectangle(10, 20, 200, 150)) == 1


def test_apart_masks_do_not() -> None:
    assert iou(rectangle(0, 0, 50, 50), rectangle(100, 100, 200, 200)) == 0


def test_a_shift_costs_a_large_object_more_at_its_boundary() -> None:
    # 100 x 100, shifted by 4 to the right.
    first, second = rectangle(100, 100, 200, 200), rectangle(100, 104, 200, 204)
    area = 100**2 - 84**2  # of each band
    # Above and below: 8 rows of 96 common pixels. Left and right of the 84 rows between: 4 each.
    common = 2 * 8 * 96 + 84 * (4 + 4)
    assert iou(first, second) == pytest.approx(common / (2 * area - common))
    assert iou(first, second) < 96 / 104  # mask IoU


def test_mask_iou_bounds_it() -> None:
    # A wide and a thin frame: the thin one is the band of the other, so the boundaries agree.
    solid = rectangle(50, 50, 250, 250)
    frame = solid - rectangle(58, 58, 242, 242)
    assert iou(solid, frame) == pytest.approx((200**2 - 184**2) / 200**2)


def test_rows_are_detections_and_columns_truth() -> None:
    masks = [rectangle(0, 0, 40, 40), rectangle(100, 100, 150, 150), rectangle(200, 0, 240, 90)]
    encoded = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    expected = [[0, 1, 0], [0, 0, 1]]
    assert boundary_iou(encoded[1:], encoded).tolist() == expected
