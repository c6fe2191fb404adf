"""YOLACT's training losses (Bolya et al., ICCV 2019, sections 3 and 4)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  the name everyone knows it by
from torch import Tensor

from cluster.model.network import TrainingOutputs

POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.4
BACKGROUND, IGNORED = -1, -2
VARIANCES = (0.1, 0.2)  # of centre and size offsets, as decoding has them
NEGATIVES_PER_POSITIVE = 3
MASKS_PER_IMAGE = 60  # positives that enter the mask loss, drawn at random
BOX_WEIGHT, CLASS_WEIGHT, MASK_WEIGHT, SEGMENTATION_WEIGHT = 1.5, 1.0, 6.125, 1.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is in one picture, n objects.

    ``boxes`` [n, 4] x1, y1, x2, y2 relative; ``classes`` [n] from 0 without the background;
    ``masks`` [n, P, P], the share of each prototype cell that the object covers.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor


def corners(boxes: Tensor) -> Tensor:
    """Centre and size [n, 4] -> x1, y1, x2, y2 [n, 4]."""
    half = boxes[:, 2:] / 2
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """IoU [n, m] of boxes [n, 4] and [m, 4], x1, y1, x2, y2."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared)


def match(boxes: Tensor, priors: Tensor) -> Tensor:
    """Which of the ``boxes`` [n, 4] each prior [N, 4] stands for: [N], or BACKGROUND or IGNORED.

    Each box gets the prior that fits it best, however badly; that prior no other box.
    """
    if not len(boxes):
        return torch.full((len(priors),), BACKGROUND)
    iou = overlaps(corners(priors), boxes)
    best, index = iou.max(dim=1)
    index[best < POSITIVE_IOU] = IGNORED
    index[best < NEGATIVE_IOU] = BACKGROUND
    # The best pair first, so that two boxes do not fight over one prior.
    for _ in range(len(boxes)):
        prior, box = divmod(int(iou.argmax()), len(boxes))
        index[prior] = box
        iou[prior] = iou[:, box] = -1
    return index


def encode(boxes: Tensor, priors: Tensor) -> Tensor:
    """Offsets [n, 4] that decode to ``boxes`` [n, 4] (x1, y1, x2, y2) from ``priors`` [n, 4]."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return torch.cat(
        [
            (centres - priors[:, :2]) / (VARIANCES[0] * priors[:, 2:]),
            torch.log(sizes / priors[:, 2:]) / VARIANCES[1],
        ],
        dim=1,
    )


def losses(outputs: TrainingOutputs, targets: list[Target], priors: Tensor) -> dict[str, Tensor]:
    """The weighted box, class, mask and segmentation losses of a batch; their sum is the loss."""
    box, confidence, mask, segmentation = [], [], [], []
    positives = 0
    for n, target in enumerate(targets):
        index = match(target.boxes, priors)
        positive = (index >= 0).nonzero()[:, 0]
        which = index[positive]
        positives += len(positive)
        box.append(
            F.smooth_l1_loss(
                outputs.loc[n, positive],
                encode(target.boxes[which], priors[positive]),
                reduction="sum",
            )
        )
        confidence.append(_class_loss(outputs.conf[n], index, target.classes))
        mask.append(
            _mask_loss(outputs.proto[n], outputs.mask[n, positive], target, which) * len(positive)
        )
        segmentation.append(_segmentation_loss(outputs.segmentation[n], target))
    count = max(positives, 1)
    return {
        "box": BOX_WEIGHT * torch.stack(box).sum() / count,
        "class": CLASS_WEIGHT * torch.stack(confidence).sum() / count,
        "mask": MASK_WEIGHT * torch.stack(mask).sum() / count,
        "segmentation": SEGMENTATION_WEIGHT * torch.stack(segmentation).mean(),
    }


def _class_loss(logits: Tensor, index: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy of the positives and of the worst negatives, three for one (OHEM)."""
    labels = torch.zeros_like(index)
    positive = index >= 0
    labels[positive] = classes[index[positive]] + 1
    each = F.cross_entropy(logits, labels, reduction="none")
    negatives = each[index == BACKGROUND]
    count = min(NEGATIVES_PER_POSITIVE * max(int(positive.sum()), 1), len(negatives))
    return each[positive].sum() + negatives.topk(count).values.sum()


def _mask_loss(proto: Tensor, coefficients: Tensor, target: Target, which: Tensor) -> Tensor:
    """Binary cross entropy in the object's box and one cell around it, per cell of the box."""
    if len(which) > MASKS_PER_IMAGE:
        drawn = torch.randperm(len(which))[:MASKS_PER_IMAGE]
        coefficients, which = coefficients[drawn], which[drawn]
    if not len(which):
        return proto.sum() * 0
    rows, columns, _ = proto.shape
    logits = torch.einsum("hwk,nk->nhw", proto, coefficients)
    each = F.binary_cross_entropy_with_logits(logits, target.masks[which], reduction="none")
    x1, y1, x2, y2 = (target.boxes[which] * columns).T[:, :, None]
    x, y = torch.arange(columns)[None], torch.arange(rows)[None]
    across = (x >= x1 - 1) & (x < x2 + 1)
    down = (y >= y1 - 1) & (y < y2 + 1)
    inside = down[:, :, None] & across[:, None, :]
    area = ((x2 - x1) * (y2 - y1))[:, 0].clamp(min=1)
    return ((each * inside).sum(dim=(1, 2)) / area).mean()


def _segmentation_loss(logits: Tensor, target: Target) -> Tensor:
    """Binary cross entropy per class at the size of P3, from ``logits`` [classes, h, w]."""
    wanted = torch.zeros_like(logits)
    if len(target.classes):
        masks = F.adaptive_avg_pool2d(target.masks, logits.shape[-2:])
        wanted.index_add_(0, target.classes, masks).clamp_(max=1)
    return F.binary_cross_entropy_with_logits(logits, wanted) * len(logits)
