import math

import cv2
import numpy as np
import pytest

from job.images import preprocess
from job.images.preprocess import to_tensor
from tests.unit.job.images.image_files import noise

MEAN, STD = (103.94, 116.78, 123.68), (57.38, 57.12, 58.40)
LEVELS = 0.02  # what an implementation may differ, of 255


def by_definition(bgr, size):
    """Half-pixel centres, four neighbours, all in float64; then normalised, RGB, NCHW."""
    height, width = bgr.shape[:2]
    result = np.empty((1, 3, size, size))
    for row in range(size):
        y = min(max((row + 0.5) * height / size - 0.5, 0), height - 1)
        for column in range(size):
            x = min(max((column + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = math.floor(y), math.floor(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = y - top, x - left
            upper = bgr[top, left] * (1 - across) + bgr[top, right] * across
            lower = bgr[below, left] * (1 - across) + bgr[below, right] * across
            pixel = upper * (1 - down) + lower * down
            result[0, :, row, column] = ((pixel - MEAN) / STD)[::-1]
    return result


@pytest.mark.parametrize("shape", [(48, 64), (7, 300), (300, 7), (1, 1), (33, 33)])
def test_follows_the_definition(shape):
    bgr = noise(*shape)
    tensor = to_tensor(bgr, 33, mean=MEAN, std=STD)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor, by_definition(bgr, 33), atol=LEVELS / 58)


@pytest.mark.parametrize("shape", [(2001, 2503), (1, 4_000_001), (4_000_001, 1), (37, 120_000)])
def test_large_images_follow_the_definition(shape):
    bgr = noise(*shape)
    assert shape[0] * shape[1] > preprocess.LARGE_PIXELS
    tensor = to_tensor(bgr, 21, mean=MEAN, std=STD)
    np.testing.assert_allclose(tensor, by_definition(bgr, 21), atol=LEVELS / 58)


def test_both_ways_agree_at_full_size(monkeypatch):
    bgr = noise(1500, 2100)
    plain = to_tensor(bgr, 550, mean=MEAN, std=STD)
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 0)
    np.testing.assert_allclose(to_tensor(bgr, 550, mean=MEAN, std=STD), plain, atol=LEVELS / 58)


def test_resizing_bytes_would_not_pass():
    """The tolerance above is tight enough to tell a resize before the conversion to float."""
    bgr = noise(48, 64)
    rounded = cv2.resize(bgr, (33, 33), interpolation=cv2.INTER_LINEAR)
    off = np.abs(to_tensor(rounded, 33, mean=MEAN, std=STD) - by_definition(bgr, 33)).max()
    assert off > 10 * LEVELS / 58


def test_writes_into_the_given_memory():
    bgr = noise(48, 64)
    memory = np.full((1, 3, 33, 33), np.nan, np.float32)
    assert to_tensor(bgr, 33, mean=MEAN, std=STD, out=memory) is memory
    np.testing.assert_array_equal(memory, to_tensor(bgr, 33, mean=MEAN, std=STD))


@pytest.mark.parametrize(
    "out", [np.empty((2, 3, 33, 33), np.float32), np.empty((1, 3, 33, 33), np.float16)]
)
def test_refuses_memory_that_does_not_fit(out):
    with pytest.raises(ValueError, match="out must be float32"):
        to_tensor(noise(4, 4), 33, mean=MEAN, std=STD, out=out)


def test_leaves_the_image_as_it_is():
    bgr = noise(48, 64)
    before = bgr.copy()
    to_tensor(bgr, 33, mean=MEAN, std=STD)
    np.testing.assert_array_equal(bgr, before)
