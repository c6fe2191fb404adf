"""From a YOLACT network's raw outputs to the strongest boxes: decoding and fast NMS."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

PER_CLASS = 200  # boxes of one class that enter fast NMS


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The n objects found in one image, best score first.

    ``classes`` [n] count from 0 without the background; ``boxes`` [n, 4] are x1, y1, x2, y2
    relative to the image, not clipped to it; ``coefficients`` [n, K] weigh the prototype masks.
    """

    classes: Indices
    scores: Floats
    boxes: Floats
    coefficients: Floats

    def __post_init__(self) -> None:
        if not len(self.classes) == len(self.scores) == len(self.boxes) == len(self.coefficients):
            raise ValueError("classes, scores, boxes and coefficients must have one length")


def decode(loc: Floats, priors: Floats) -> Floats:
    """Relative boxes [n, 4] x1, y1, x2, y2 from the offsets ``loc`` [n, 4] to ``priors`` [n, 4]."""
    centres = priors[:, :2] + loc[:, :2] * 0.1 * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(loc[:, 2:] * 0.2)
    lower = centres - sizes / 2
    return np.concatenate([lower, lower + sizes], axis=1)


def detect(
    loc: Floats,
    conf: Floats,
    mask: Floats,
    priors: Floats,
    *,
    conf_threshold: float,
    nms_threshold: float,
    top_k: int,
) -> Detections:
    """The ``top_k`` best objects of one image after fast NMS (Bolya et al., ICCV 2019, section 5).

    ``loc`` [N, 4], ``conf`` [N, C + 1] with the background first, ``mask`` [N, K], ``priors`` [N,
    4]. As in the authors' code a prior whose best score passes ``conf_threshold`` enters all C
    classes, however low its other scores. Equal scores keep the order of class, then prior.
    """
    kept = np.flatnonzero(conf[:, 1:].max(axis=1) > conf_threshold)
    boxes = decode(loc[kept], priors[kept])
    scores = np.ascontiguousarray(conf[kept, 1:].T)
    # Whether a box survives depends on stronger ones alone: the weak end is seldom needed.
    take = 4 * top_k
    while True:
        floor = np.partition(scores, -take, axis=None)[-take] if take < scores.size else -np.inf
        classes, positions = _fast_nms(boxes, scores, float(floor), nms_threshold)
        if len(classes) >= top_k or take >= scores.size:
            break
        take *= 2
    classes, positions = classes[:top_k], positions[:top_k]
    return Detections(
        classes=classes,
        scores=scores[classes, positions],
        boxes=boxes[positions],
        coefficients=mask[kept[positions]],
    )


def _fast_nms(
    boxes: Floats, scores: Floats, floor: float, nms_threshold: float
) -> tuple[Indices, Indices]:
    """Class and position of the ``scores`` [C, n] >= ``floor`` that survive, best first.

    A box falls to any stronger one of its class, even (unlike in classic NMS) to one that falls
    itself.
    """
    classes, positions = np.nonzero(scores >= floor)
    order = np.lexsort((-scores[classes, positions], classes))  # stable
    classes, positions = classes[order], positions[order]
    rank = np.arange(len(classes)) - np.searchsorted(classes, classes)
    allowed = rank < PER_CLASS
    classes, positions, rank = classes[allowed], positions[allowed], rank[allowed]

    # All pairs of a box with a stronger one of its class: the ``rank`` places before it.
    weaker = np.repeat(np.arange(len(rank)), rank)
    stronger = weaker - 1 - (np.arange(len(weaker)) - np.repeat(np.cumsum(rank) - rank, rank))

    x1, y1, x2, y2 = np.ascontiguousarray(boxes[positions].T)
    area = (x2 - x1) * (y2 - y1)
    width = np.minimum(x2[weaker], x2[stronger]) - np.maximum(x1[weaker], x1[stronger])
    height = np.minimum(y2[weaker], y2[stronger]) - np.maximum(y1[weaker], y1[stronger])
    shared = width.clip(min=0) * height.clip(min=0)
    with np.errstate(invalid="ignore"):  # two boxes without area
        iou = shared / (area[weaker] + area[stronger] - shared)

    alive = np.ones(len(rank), dtype=bool)
    alive[weaker[~(iou <= nms_threshold)]] = False
    classes, positions = classes[alive], positions[alive]
    best = np.argsort(-scores[classes, positions], kind="stable")
    return classes[best], positions[best]
