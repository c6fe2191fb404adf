"""YOLACT ResNet50 at 550 px from image to rows, one step after another, as its authors run it.

Nothing of the product is used: this is what the product is compared with. `w` is a state_dict.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pycocotools import mask as coco_mask

SIZE = 550
SCALES = (24, 48, 96, 192, 384)
RATIOS = (1, 1 / 2, 2)


def rows(w, bgr, category_ids, *, score_threshold=0.15):
    """The objects of one uint8 [H, W, 3] image."""
    loc, conf, mask, proto = network(w, preprocess(bgr))
    found = detect(loc[0], conf[0], mask[0], priors())
    return [
        row
        for row in postprocess(found, proto[0], bgr.shape[0], bgr.shape[1], category_ids)
        if row["score"] > score_threshold
    ]


def preprocess(bgr):
    x = torch.from_numpy(bgr.astype(np.float32)).permute(2, 0, 1)[None]
    x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False)
    x = (x - torch.tensor([103.94, 116.78, 123.68]).view(1, 3, 1, 1)) / torch.tensor(
        [57.38, 57.12, 58.40]
    ).view(1, 3, 1, 1)
    return x[:, [2, 1, 0]].contiguous()


def network(w, x):
    def conv(x, name, stride=1, padding=0):
        return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride, padding)

    def norm(x, name):
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    # ResNet50: the stride sits in the 3x3 of the first block of layers 1 to 3.
    x = F.relu(norm(conv(x, "backbone.conv1", 2, 3), "backbone.bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    c = []
    for layer, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            name = f"backbone.layers.{layer}.{block}"
            stride = 2 if layer > 0 and block == 0 else 1
            y = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = F.relu(norm(conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(x + y)
        c.append(x)

    # FPN: layer 0 is for C5.
    lateral5 = conv(c[3], "fpn.lat_layers.0")
    lateral4 = conv(c[2], "fpn.lat_layers.1")
    lateral3 = conv(c[1], "fpn.lat_layers.2")
    lateral4 = lateral4 + F.interpolate(lateral5, (35, 35), mode="bilinear", align_corners=False)
    lateral3 = lateral3 + F.interpolate(lateral4, (69, 69), mode="bilinear", align_corners=False)
    p5 = F.relu(conv(lateral5, "fpn.pred_layers.0", 1, 1))
    p4 = F.relu(conv(lateral4, "fpn.pred_layers.1", 1, 1))
    p3 = F.relu(conv(lateral3, "fpn.pred_layers.2", 1, 1))
    p6 = conv(p5, "fpn.downsample_layers.0", 2, 1)
    p7 = conv(p6, "fpn.downsample_layers.1", 2, 1)

    proto = p3
    for index in (0, 2, 4):
        proto = F.relu(conv(proto, f"proto_net.{index}", 1, 1))
    proto = F.interpolate(proto, (138, 138), mode="bilinear", align_corners=False)
    proto = F.relu(conv(F.relu(proto), "proto_net.8", 1, 1))
    proto = F.relu(conv(proto, "proto_net.10"))

    head = "prediction_layers.0"
    loc, conf, mask = [], [], []
    for p in (p3, p4, p5, p6, p7):
        u = F.relu(conv(p, f"{head}.upfeature.0", 1, 1))
        for values, layer, width in ((loc, "bbox", 4), (conf, "conf", 81), (mask, "mask", 32)):
            raw = conv(u, f"{head}.{layer}_layer", 1, 1)
            values.append(raw.permute(0, 2, 3, 1).contiguous().view(1, -1, width))
    return (
        torch.cat(loc, 1),
        torch.softmax(torch.cat(conf, 1), -1),
        torch.tanh(torch.cat(mask, 1)),
        proto.permute(0, 2, 3, 1),
    )


def priors():
    found = []
    for n, scale in zip((69, 35, 18, 9, 5), SCALES, strict=True):
        for j in range(n):
            for i in range(n):
                for ratio in RATIOS:
                    side = scale * math.sqrt(ratio) / SIZE
                    found.append([(i + 0.5) / n, (j + 0.5) / n, side, side])  # square, always
    return torch.tensor(found)


def detect(loc, conf, mask, priors):
    centre = priors[:, :2] + loc[:, :2] * 0.1 * priors[:, 2:]
    size = priors[:, 2:] * torch.exp(loc[:, 2:] * 0.2)
    corner = centre - size / 2
    boxes = torch.cat([corner, corner + size], 1)
    scores = conf[:, 1:].t()
    keep = scores.max(0).values > 0.05
    scores, boxes, mask = scores[:, keep], boxes[keep], mask[keep]

    found = []
    for category in range(80):
        order = scores[category].argsort(descending=True)[:200]
        box = boxes[order]
        for k in range(len(order)):
            if k and iou(box[:k], box[k]).max() > 0.5:
                continue  # and yet it was among box[:k] for those after it
            found.append((float(scores[category, order[k]]), category, box[k], mask[order[k]]))
    found.sort(key=lambda item: -item[0])
    return found[:100]


def iou(boxes, box):
    low = torch.maximum(boxes[:, :2], box[:2])
    high = torch.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clamp(min=0).prod(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / (area + (box[2:] - box[:2]).prod() - shared)


def postprocess(found, proto, height, width, category_ids):
    cells = torch.arange(138)
    rows = []
    for score, category, box, coefficients in found:
        m = torch.sigmoid(proto @ coefficients)
        (x1, x2), (y1, y2) = box[[0, 2]].sort().values, box[[1, 3]].sort().values
        m = m * ((cells >= (x1 * 138 - 1).clamp(min=0)) & (cells < (x2 * 138 + 1).clamp(max=138)))
        m = m.t()
        m = m * ((cells >= (y1 * 138 - 1).clamp(min=0)) & (cells < (y2 * 138 + 1).clamp(max=138)))
        m = m.t()[None, None]
        m = F.interpolate(m, (height, width), mode="bilinear", align_corners=False)[0, 0] > 0.5
        left, right = int((x1 * width).clamp(min=0)), int((x2 * width).clamp(max=width))
        top, bottom = int((y1 * height).clamp(min=0)), int((y2 * height).clamp(max=height))
        rle = coco_mask.encode(np.asfortranarray(m.numpy().astype(np.uint8)))
        rows.append(
            {
                "category_id": category_ids[category],
                "score": score,
                "bbox": [left, top, right - left, bottom - top],
                "area": float(m.sum()),
                "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
            }
        )
    return rows
