"""Post-processing written down step by step and slowly, and random network outputs."""

import math
from pathlib import Path

import numpy as np

from job.model import Architecture, Model
from job.yolact.priors import make_priors

F = np.float32


def architecture(**changes):
    fields = {
        "input_size": 64,
        "backbone": "resnet-light",
        "num_classes": 5,
        "num_prototypes": 6,
        "fpn_channels": 8,
        "aspect_ratios": (1.0, 0.5, 2.0),
        "scales": (6.0, 12.0, 24.0, 36.0, 48.0),
    }
    return Architecture(**fields | changes)


def model(**changes):
    fields = {
        "folder": Path("none"),
        "name": "test",
        "architecture": architecture(),
        "precision": "fp32",
        "class_names": ("a", "b", "c", "d", "e"),
        "category_ids": (1, 2, 4, 8, 16),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "conf_threshold": 0.05,
        "nms_threshold": 0.5,
        "top_k": 20,
        "score_threshold": 0.15,
        "digest": "sha256:0",
        "made": {},
    }
    return Model(**fields | changes)


def random_outputs(seed, *, kept=40, classes=5, prototypes=6, cells=16, digits=None):
    """Outputs without the batch dimension, and priors; `digits` rounds scores, to make ties."""
    rng = np.random.default_rng(seed)
    priors = make_priors(architecture())
    logits = rng.normal(size=(len(priors), classes + 1))
    logits[:, 0] += 9
    chosen = rng.choice(len(priors), kept, replace=False)
    logits[chosen, 1 + rng.integers(classes, size=kept)] += 6 + 4 * rng.random(kept)
    conf = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if digits is not None:
        conf = conf.round(digits)
    return {
        "loc": rng.normal(scale=1.5, size=(len(priors), 4)).astype(F),
        "conf": conf.astype(F),
        "mask": np.tanh(rng.normal(size=(len(priors), prototypes))).astype(F),
        "proto": rng.normal(size=(cells, cells, prototypes)).astype(F),
    }, priors


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), F(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), F(0))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def detect(outputs, priors, *, conf_threshold, nms_threshold, top_k, per_class=200):
    """List of (class, score, box, coefficients), best first."""
    boxes, kept = {}, []
    for i, (prior, loc) in enumerate(zip(priors, outputs["loc"], strict=True)):
        if max(outputs["conf"][i][1:]) > F(conf_threshold):
            kept.append(i)
            centre = [prior[k] + loc[k] * F(0.1) * prior[2 + k] for k in (0, 1)]
            size = [prior[2 + k] * np.exp(loc[2 + k] * F(0.2)) for k in (0, 1)]
            x1, y1 = (centre[k] - size[k] / F(2) for k in (0, 1))
            boxes[i] = (x1, y1, x1 + size[0], y1 + size[1])
    found = []
    for category in range(outputs["conf"].shape[1] - 1):
        ranked = sorted(kept, key=lambda i: -outputs["conf"][i][category + 1])[:per_class]
        for rank, i in enumerate(ranked):
            if all(iou(boxes[i], boxes[j]) <= F(nms_threshold) for j in ranked[:rank]):
                score = outputs["conf"][i][category + 1]
                found.append((category, score, boxes[i], outputs["mask"][i]))
    return sorted(found, key=lambda item: -item[1])[:top_k]


def mask_values(proto, box, coefficients, height, width):
    """What is compared with 0.5, [height, width]: every pixel from four cells of the whole map."""
    rows, columns, _ = proto.shape
    x1, x2 = sorted((box[0] * F(columns), box[2] * F(columns)))
    y1, y2 = sorted((box[1] * F(rows), box[3] * F(rows)))
    small = np.zeros((rows, columns))
    for y in range(rows):
        for x in range(columns):
            if max(x1 - 1, 0) <= x < min(x2 + 1, columns) and max(y1 - 1, 0) <= y < min(
                y2 + 1, rows
            ):
                small[y, x] = 1 / (1 + math.exp(-float(proto[y, x] @ coefficients)))
    large = np.zeros((height, width))
    for py in range(height):
        for px in range(width):
            y = max((py + 0.5) * rows / height - 0.5, 0)
            x = max((px + 0.5) * columns / width - 0.5, 0)
            y0, x0 = int(y), int(x)
            down, right = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            upper = small[y0, x0] * (1 - (x - x0)) + small[y0, right] * (x - x0)
            lower = small[down, x0] * (1 - (x - x0)) + small[down, right] * (x - x0)
            large[py, px] = upper * (1 - (y - y0)) + lower * (y - y0)
    return large


def pixel_box(box, height, width):
    """x1, y1, x2, y2: cut towards zero, in order, the lower clamped at 0, the upper at the size."""
    x = sorted(int(v * F(width)) for v in (box[0], box[2]))
    y = sorted(int(v * F(height)) for v in (box[1], box[3]))
    return max(x[0], 0), max(y[0], 0), min(x[1], width), min(y[1], height)
