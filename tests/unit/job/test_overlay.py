from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from job.errors import JobError
from job.overlay import draw, overlay_path, write_overlay

PIXELS = np.full((60, 80, 3), 100, np.uint8)


def found() -> dict[str, object]:
    mask = np.zeros((60, 80), np.uint8, order="F")
    mask[30:50, 20:60] = 1
    encoded = rle.encode(mask)
    return {
        "category_id": 1,
        "score": 0.9,
        "bbox": [20.0, 30.0, 40.0, 20.0],
        "segmentation": {"size": [60, 80], "counts": encoded["counts"].decode()},
    }


def test_the_mask_is_tinted_and_the_rest_left_alone() -> None:
    drawn = draw(PIXELS, [found()], {1: "star"})
    assert (drawn[45, 50] != PIXELS[45, 50]).any()
    assert (drawn[55:, 70:] == 100).all()
    assert (PIXELS == 100).all()


@pytest.mark.parametrize("name", ["../../etc/x.jpg", "/etc/x.jpg", "a/../../x.jpg", "..", "a/.."])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    path = overlay_path(tmp_path, name)
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert path.name.endswith(".jpg")


def test_the_drawing_is_a_jpeg_beside_its_like(tmp_path: Path) -> None:
    write_overlay(tmp_path, "süd/a b.png", PIXELS, [found()], {1: "star"})
    assert cv2.imread(str(tmp_path / "süd" / "a b.png.jpg")).shape == PIXELS.shape


def test_a_drawing_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png.jpg").mkdir()
    with pytest.raises(JobError, match=r"a\.png\.jpg"):
        write_overlay(tmp_path, "a.png", PIXELS, [], {})
