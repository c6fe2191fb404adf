import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cluster.model.scenes import (
    CLASS_NAMES,
    HELD_OUT_SEEDS,
    SAMPLE_SEEDS,
    TRAINING_SEEDS,
    Scene,
    coco,
    scene,
    write,
)

SAMPLES = Path(__file__).parents[4] / "models" / "images" / "scenes"


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [scene(seed) for seed in range(40)]


def test_a_seed_gives_the_same_scene_each_time(drawn: list[Scene]) -> None:
    again = scene(7)
    assert np.array_equal(again.image, drawn[7].image)
    assert [item.category for item in again.objects] == [o.category for o in drawn[7].objects]
    for item, first in zip(again.objects, drawn[7].objects, strict=True):
        assert np.array_equal(item.mask, first.mask)


def test_seeds_differ(drawn: list[Scene]) -> None:
    assert len({one.image.tobytes() for one in drawn}) == len(drawn)


def test_pictures_are_what_the_pipeline_takes(drawn: list[Scene]) -> None:
    for one in drawn:
        height, width, channels = one.image.shape
        assert one.image.dtype == np.uint8
        assert channels == 3
        assert 240 <= height <= 360
        assert 320 <= width <= 480


def test_no_pixel_belongs_to_two_objects(drawn: list[Scene]) -> None:
    for one in drawn:
        assert sum(item.mask.astype(int) for item in one.objects).max() <= 1


def test_every_class_and_occlusion_occur(drawn: list[Scene]) -> None:
    objects = [item for one in drawn for item in one.objects]
    assert {item.category for item in objects} == set(range(len(CLASS_NAMES)))
    shared = 0
    for one in drawn:
        rims = [cv2.dilate(item.mask, np.ones((3, 3), np.uint8)) for item in one.objects]
        shared += sum(rim.astype(int) for rim in rims).max() > 1
    assert shared > len(drawn) / 4


def test_no_object_is_hidden_too_far(drawn: list[Scene]) -> None:
    assert min(item.mask.sum() for one in drawn for item in one.objects) > 200  # pixels


def test_seed_ranges_are_disjoint() -> None:
    assert not set(HELD_OUT_SEEDS) & set(SAMPLE_SEEDS)
    assert max(HELD_OUT_SEEDS[-1], SAMPLE_SEEDS[-1]) < TRAINING_SEEDS
    assert len(HELD_OUT_SEEDS) == 200


def test_annotations_agree_with_the_masks() -> None:
    seeds = range(3, 6)
    annotations = coco(seeds)
    by_image: dict[int, list[dict[str, object]]] = {}
    for row in annotations["annotations"]:
        by_image.setdefault(row["image_id"], []).append(row)
    for image, seed in zip(annotations["images"], seeds, strict=True):
        expected = scene(seed)
        assert (image["height"], image["width"]) == expected.image.shape[:2]
        rows = by_image[image["id"]]
        for row, item in zip(rows, expected.objects, strict=True):
            assert np.array_equal(coco_mask.decode(row["segmentation"]), item.mask)
            assert row["area"] == item.mask.sum()
            assert tuple(row["bbox"]) == cv2.boundingRect(item.mask)
            assert annotations["categories"][item.category]["id"] == row["category_id"]


def test_write_gives_a_picture_per_seed_and_annotations(tmp_path: Path, drawn: list[Scene]) -> None:
    write(tmp_path, range(2))
    annotations = json.loads((tmp_path / "annotations.json").read_text())
    assert annotations == coco(range(2))
    for seed, image in enumerate(annotations["images"]):
        stored = cv2.imread(str(tmp_path / image["file_name"]))
        smooth = [
            cv2.blur(image.astype(np.float32), (9, 9)) for image in (stored, drawn[seed].image)
        ]
        assert np.abs(smooth[0] - smooth[1]).mean() < 3  # levels: JPEG drops noise


def test_the_shipped_samples_are_what_the_generator_draws() -> None:
    shipped = json.loads((SAMPLES / "annotations.json").read_text())
    assert shipped == coco(SAMPLE_SEEDS)
