"""Draws what was found onto an image."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

from job.errors import JobError

GOLDEN_RATIO = 0.618034  # steps of it keep the hues of neighbouring numbers far apart


def draw(
    pixels: npt.NDArray[np.uint8],
    objects: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
) -> npt.NDArray[np.uint8]:
    """A copy of PIXELS [H, W, 3] BGR with the mask, box, class and score of each object."""
    drawn = pixels.copy()
    scale = max(drawn.shape[:2]) / 640
    line = max(1, round(2 * scale))
    for number, found in enumerate(objects):
        red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN_RATIO % 1, 0.8, 1)
        colour = (255 * blue, 255 * green, 255 * red)
        mask = rle.decode(found["segmentation"]).astype(bool)
        drawn[mask] = (drawn[mask] * 0.55 + np.multiply(colour, 0.45)).astype(np.uint8)
        x, y, width, height = (round(value) for value in found["bbox"])
        cv2.rectangle(drawn, (x, y), (x + width, y + height), colour, line)
        text = f"{names[found['category_id']]} {found['score']:.2f}"
        font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * max(1, scale)
        (text_width, text_height), base = cv2.getTextSize(text, font, size, line)
        top = max(text_height + base, y)
        cv2.rectangle(drawn, (x, top - text_height - base), (x + text_width, top), colour, -1)
        cv2.putText(drawn, text, (x, top - base // 2), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    return drawn


def overlay_path(folder: Path, image_id: str) -> Path:
    """Where the drawing of IMAGE_ID goes; a name from a ZIP cannot lead out of FOLDER."""
    parts = [part.replace("..", "__") for part in PurePosixPath(image_id).parts if part != "/"]
    return folder.joinpath(*parts[:-1], f"{parts[-1]}.jpg")


def write_overlay(
    folder: Path,
    image_id: str,
    pixels: npt.NDArray[np.uint8],
    objects: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
) -> None:
    """Write the drawing of one image below FOLDER; raises JobError where it cannot be written."""
    path = overlay_path(folder, image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), draw(pixels, objects, names)):
        raise JobError(f"overlay {path} cannot be written")
