"""Seeded pictures of shapes, with exact masks: data for the small model's training and tests.

Run ``python -m cluster.model.scenes --output DIR`` to write pictures and COCO annotations.
"""

import argparse
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as rle

CLASS_NAMES = ("circle", "square", "triangle", "star", "ring", "cross")
TRAINING_SEEDS = 1_000_000  # the first of as many as training takes
HELD_OUT_SEEDS = range(10_000, 10_200)
SAMPLE_SEEDS = range(20_000, 20_020)

MIN_VISIBLE = 0.4  # of each object's area; placements that leave less are not made
PLACEMENTS = 12  # tried per object
SUBPIXEL = 4  # fractional bits of cv2 coordinates

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """A shape: index into CLASS_NAMES and its visible part, uint8 [h, w] of 0 and 1."""

    category: int
    mask: Bytes


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture (BGR uint8 [h, w, 3]) and what is in it; no two masks share a pixel."""

    image: Bytes
    objects: tuple[SceneObject, ...]


def scene(seed: int) -> Scene:
    """Draw the scene of SEED: the same pixels each time, 320x240 to 480x360."""
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(240, 361)), int(rng.integers(320, 481))
    colour = _colour(rng)
    image = _texture(rng, height, width, colour, _colour(rng))
    _clutter(rng, image)
    owner = np.full((height, width), -1, np.int16)
    categories: list[int] = []
    areas: list[int] = []
    for _ in range(rng.integers(2, 9)):
        _place(rng, image, owner, categories, areas)
    return Scene(
        image=_photograph(rng, image),
        objects=tuple(
            SceneObject(category=category, mask=(owner == index).astype(np.uint8))
            for index, category in enumerate(categories)
        ),
    )


def coco(seeds: Sequence[int], file_name: str = "scene-{:03d}.jpg") -> dict[str, Any]:
    """COCO annotations of the scenes of SEEDS; image ids count from 1, category ids too.

    FILE_NAME is formatted with the position in SEEDS.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, seed in enumerate(seeds):
        drawn = scene(seed)
        height, width = drawn.image.shape[:2]
        images.append(
            {
                "id": index + 1,
                "file_name": file_name.format(index),
                "height": height,
                "width": width,
            }
        )
        for item in drawn.objects:
            encoded = rle.encode(np.asfortranarray(item.mask))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": item.category + 1,
                    "bbox": rle.toBbox(encoded).tolist(),
                    "area": float(rle.area(encoded)),
                    "iscrowd": 0,
                    "segmentation": {
                        "size": [height, width],
                        "counts": encoded["counts"].decode("ascii"),
                    },
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(output: Path, seeds: Sequence[int]) -> None:
    """Write the scenes of SEEDS as JPEG into OUTPUT, with annotations.json."""
    output.mkdir(parents=True, exist_ok=True)
    annotations = coco(seeds)
    for seed, entry in zip(seeds, annotations["images"], strict=True):
        path = output / entry["file_name"]
        cv2.imwrite(str(path), scene(seed).image, [cv2.IMWRITE_JPEG_QUALITY, 88])
    text = json.dumps(annotations, separators=(",", ":"))
    (output / "annotations.json").write_text(text + "\n", encoding="utf-8")


def _colour(rng: np.random.Generator) -> Floats:
    """A BGR colour, 0..255."""
    return rng.uniform(15, 240, 3).astype(np.float32)


@functools.cache
def _noise() -> Floats:
    """Normal noise to cut windows from: much cheaper than fresh noise for every scene."""
    return np.random.default_rng(0).standard_normal((720, 960, 3), dtype=np.float32)


def _noise_window(rng: np.random.Generator, height: int, width: int) -> Floats:
    top, left = int(rng.integers(720 - height + 1)), int(rng.integers(960 - width + 1))
    return _noise()[top : top + height, left : left + width]


def _texture(
    rng: np.random.Generator, height: int, width: int, first: Floats, second: Floats
) -> Floats:
    """[height, width, 3] between two colours: plain, gradient, stripes, checker or clouds."""
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    period = rng.uniform(6, 40)
    kind = rng.integers(5)
    if kind == 0:
        blend = np.zeros((height, width), np.float32)
    elif kind == 1:
        blend = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    elif kind == 2:
        blend = np.sin(along * (2 * np.pi / period)) * 0.5 + 0.5
    elif kind == 3:
        blend = ((x // period + y // period) % 2).astype(np.float32)
    else:
        cells = rng.random((int(rng.integers(3, 12)), int(rng.integers(3, 12))), np.float32)
        blend = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    # Plane by plane: numpy is slow where the innermost axis has three elements.
    texture: Floats = cv2.merge(
        [a + (b - a) * blend.astype(np.float32) for a, b in zip(first, second, strict=True)]
    )
    return texture


def _clutter(rng: np.random.Generator, image: Floats) -> None:
    """Draw lines and small ragged blobs, which are of no class, into IMAGE."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(0, 9)):
        ends = rng.uniform(0, (width, height), (2, 2)).astype(int).tolist()
        thickness = int(rng.integers(1, 4))
        cv2.line(image, ends[0], ends[1], _colour(rng).tolist(), thickness, cv2.LINE_AA)
    for _ in range(rng.integers(0, 9)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radii = rng.uniform(2, 9, 7)
        offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        points = rng.uniform(0, (width, height)) + offsets
        cv2.fillPoly(image, [_fixed(points)], _colour(rng).tolist(), cv2.LINE_AA, SUBPIXEL)


def _fixed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    fixed: npt.NDArray[np.int32] = np.round(points * (1 << SUBPIXEL)).astype(np.int32)
    return fixed


def _circle(radii: Iterable[float], corners: int) -> npt.NDArray[np.float64]:
    """CORNERS points around the origin, the RADII in turn."""
    angles = np.arange(corners) * (2 * np.pi / corners)
    reach = np.resize(np.array(list(radii)), corners)[:, None]
    points: npt.NDArray[np.float64] = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach
    return points


@functools.cache
def _outlines() -> tuple[tuple[npt.NDArray[np.float64], ...], ...]:
    """Per class: the outlines (the second is a hole) around the origin, radius about 1."""
    arm = 0.36
    corner = [(1.0, -arm), (1.0, arm), (arm, arm)]
    turns = [np.array([[0, 1], [-1, 0]]), np.array([[-1, 0], [0, -1]]), np.array([[0, -1], [1, 0]])]
    cross = np.concatenate([corner, *(np.array(corner) @ turn for turn in turns)])
    return (
        (_circle([0.95], 48),),
        (_circle([1.15], 4),),
        (_circle([1.2], 3),),
        (_circle([1.15, 0.5], 10),),
        (_circle([1.0], 48), _circle([0.55], 48)),
        (cross,),
    )


def _place(
    rng: np.random.Generator,
    image: Floats,
    owner: npt.NDArray[np.int16],
    categories: list[int],
    areas: list[int],
) -> None:
    """Draw one object on top, where it hides no other one too far; else none."""
    height, width = owner.shape
    category = int(rng.integers(len(CLASS_NAMES)))
    for _ in range(PLACEMENTS):
        radius = min(height, width) * float(np.exp(rng.uniform(np.log(0.075), np.log(0.27))))
        angle = rng.uniform(0, 2 * np.pi)
        stretch = np.exp(rng.uniform(-0.18, 0.18))
        shape = np.diag([radius * stretch, radius / stretch]) @ np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
        margin = 0.6 * radius
        centre = rng.uniform((margin, margin), (width - margin, height - margin))
        points = [outline @ shape + centre for outline in _outlines()[category]]
        left, top = np.maximum(np.floor(points[0].min(axis=0)).astype(int) - 2, 0)
        right, bottom = np.ceil(points[0].max(axis=0)).astype(int) + 3
        window = np.s_[top : min(bottom, height), left : min(right, width)]
        alpha = np.zeros(owner[window].shape, np.uint8)
        fixed = [_fixed(outline - (left, top)) for outline in points]
        cv2.fillPoly(alpha, fixed, 255, cv2.LINE_AA, SUBPIXEL)
        inside = alpha >= 128
        before = np.bincount(owner[owner >= 0], minlength=len(areas))
        below = owner[window][inside]
        hidden = np.bincount(below[below >= 0], minlength=len(areas))
        if all(
            seen - lost >= MIN_VISIBLE * area
            for seen, lost, area in zip(before, hidden, areas, strict=True)
        ):
            break
    else:
        return
    _paint(rng, image[window], alpha)
    owner[window][inside] = len(categories)
    categories.append(category)
    areas.append(int(inside.sum()))


def _paint(rng: np.random.Generator, window: Floats, alpha: Bytes) -> None:
    """Blend a textured colour that stands out from what is there into WINDOW."""
    there = np.array(cv2.mean(window, mask=alpha)[:3], np.float32)
    colour = _colour(rng)
    while np.abs(colour - there).max() < 55:
        colour = _colour(rng)
    shade = np.clip(colour + rng.uniform(-70, 70), 0, 255).astype(np.float32)
    height, width = alpha.shape
    texture = _texture(rng, height, width, colour, shade)
    weight = cv2.merge([alpha] * 3).astype(np.float32)
    texture -= window
    texture *= weight
    window += texture / np.float32(255)


def _photograph(rng: np.random.Generator, image: Floats) -> Bytes:
    """Light, lens and sensor: gain, blur and noise."""
    image = image * np.float32(rng.uniform(0.6, 1.1))
    image += np.float32(rng.uniform(-10, 25))
    blur = rng.uniform(0, 1.4)
    if blur > 0.4:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image += _noise_window(rng, *image.shape[:2]) * np.float32(rng.uniform(0, 14))
    picture: Bytes = np.clip(image, 0, 255, out=image).astype(np.uint8)
    return picture


def main() -> None:
    """Write the sample scenes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=len(SAMPLE_SEEDS), help="how many")
    arguments = parser.parse_args()
    write(arguments.output, range(SAMPLE_SEEDS.start, SAMPLE_SEEDS.start + arguments.seeds))


if __name__ == "__main__":
    main()
