"""The YOLACT network in PyTorch, written from its description (Bolya et al., ICCV 2019).

Parameter names and shapes are those of the published weights, so these load strictly; the
layers kept in reverse order, the missing ReLU on P6 and P7 and the unused
``semantic_seg_conv`` are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  the name everyone knows it by
from torch import Tensor, nn

from job.model import Architecture


@dataclass(frozen=True)
class Backbone:
    """A bottleneck ResNet: width of the 3x3 convolutions and number of blocks, per stage."""

    planes: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


BACKBONES = {
    "resnet50": Backbone(planes=(64, 128, 256, 512), blocks=(3, 4, 6, 3)),
    "resnet-light": Backbone(planes=(16, 32, 48, 64), blocks=(2, 2, 3, 2)),
}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (carries the stride), 1x1, with a projected shortcut where the shape changes."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out = planes * EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 4 * planes, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """Gives C3, C4, C5 (strides 8, 16, 32)."""

    def __init__(self, shape: Backbone) -> None:
        super().__init__()
        channels = shape.planes[0]
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layers = nn.ModuleList()
        for stage, (planes, blocks) in enumerate(zip(shape.planes, shape.blocks, strict=True)):
            layer = []
            for block in range(blocks):
                layer.append(Bottleneck(channels, planes, 2 if stage and not block else 1))
                channels = planes * EXPANSION
            self.layers.append(nn.Sequential(*layer))
        self.channels = tuple(planes * EXPANSION for planes in shape.planes[1:])

    def forward(self, x: Tensor) -> list[Tensor]:
        """[N, 3, S, S] -> C3, C4, C5."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps[1:]


class FeaturePyramid(nn.Module):
    """P3..P7 from C3..C5; laterals and predictions are stored from the coarsest level down."""

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lat_layers = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in reversed(inputs))
        self.pred_layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs
        )
        self.downsample_layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(2)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C3, C4, C5 -> P3, P4, P5, P6, P7 (no ReLU on the last two)."""
        merged: list[Tensor] = []
        for lateral, feature in zip(self.lat_layers, reversed(maps), strict=True):
            x = lateral(feature)
            if merged:
                # To the exact size: 18 -> 35 -> 69 is no factor of two.
                size = x.shape[-2:]
                x = x + F.interpolate(merged[-1], size=size, mode="bilinear", align_corners=False)
            merged.append(x)
        levels = [F.relu(p(x)) for p, x in zip(self.pred_layers, merged, strict=True)][::-1]
        for downsample in self.downsample_layers:
            levels.append(downsample(levels[-1]))
        return levels


class PredictionHead(nn.Module):
    """Boxes, classes and mask coefficients of one level; shared by all five."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels, ratios = architecture.fpn_channels, len(architecture.aspect_ratios)
        self.classes = architecture.num_classes + 1
        self.coefficients = architecture.num_prototypes
        self.upfeature = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.bbox_layer = nn.Conv2d(channels, ratios * 4, 3, padding=1)
        self.conf_layer = nn.Conv2d(channels, ratios * self.classes, 3, padding=1)
        self.mask_layer = nn.Conv2d(channels, ratios * self.coefficients, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, C, h, w] -> loc [N, 3hw, 4], class logits [N, 3hw, classes], tanh coefficients."""
        x = self.upfeature(x)

        def rows(values: Tensor, width: int) -> Tensor:
            return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, width)

        return (
            rows(self.bbox_layer(x), 4),
            rows(self.conf_layer(x), self.classes),
            torch.tanh(rows(self.mask_layer(x), self.coefficients)),
        )


class Upsample(nn.Module):
    """Bilinear, twice the size; sits at index 6 of ``proto_net``."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, C, 2h, 2w]."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def prototype_net(channels: int, prototypes: int) -> nn.Sequential:
    """The protonet; indices 0, 2, 4, 8 and 10 hold the weights, as published."""

    def conv() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 3, padding=1)

    return nn.Sequential(
        *(conv(), nn.ReLU(inplace=True)),
        *(conv(), nn.ReLU(inplace=True)),
        *(conv(), nn.ReLU(inplace=True)),
        *(Upsample(), nn.ReLU(inplace=True)),
        *(conv(), nn.ReLU(inplace=True)),
        nn.Conv2d(channels, prototypes, 1),
    )


@dataclass(frozen=True)
class TrainingOutputs:
    """What the losses need: logits instead of scores, and the semantic segmentation of P3."""

    loc: Tensor  # [N, priors, 4]
    conf: Tensor  # [N, priors, classes + 1], logits
    mask: Tensor  # [N, priors, prototypes], tanh
    proto: Tensor  # [N, h, w, prototypes]
    segmentation: Tensor  # [N, classes, h3, w3], logits


class Yolact(nn.Module):
    """YOLACT without priors and Detect: these run outside, in ``job.yolact``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        channels = architecture.fpn_channels
        self.backbone = ResNet(BACKBONES[architecture.backbone])
        self.proto_net = prototype_net(channels, architecture.num_prototypes)
        self.fpn = FeaturePyramid(self.backbone.channels, channels)
        self.prediction_layers = nn.ModuleList([PredictionHead(architecture)])
        self.semantic_seg_conv = nn.Conv2d(channels, architecture.num_classes, 1)

    def training_outputs(self, x: Tensor) -> TrainingOutputs:
        """[N, 3, S, S] normalised RGB -> what the losses need."""
        levels = self.fpn(self.backbone(x))
        proto = F.relu(self.proto_net(levels[0])).permute(0, 2, 3, 1)
        head = self.prediction_layers[0]
        loc, conf, mask = (
            torch.cat(parts, dim=1) for parts in zip(*(head(p) for p in levels), strict=True)
        )
        return TrainingOutputs(loc, conf, mask, proto, self.semantic_seg_conv(levels[0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[N, 3, S, S] normalised RGB -> loc, conf (softmax, column 0 background), mask, proto."""
        raw = self.training_outputs(x)
        return raw.loc, F.softmax(raw.conf, dim=-1), raw.mask, raw.proto
