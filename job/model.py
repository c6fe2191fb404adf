"""A model folder: OpenVINO IR, priors, and model.json that says how they were made."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from job.errors import UsageError

SCHEMA_VERSION = 1
SHIPPED = Path(__file__).parent.parent / "models"
FILES = ("model.xml", "model.bin", "priors.npy")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What fixes a YOLACT network's shapes (facts: Bolya et al., ICCV 2019).

    ``scales`` are anchor sizes in pixels at ``input_size``, one per pyramid level P3..P7.
    ``square_anchors`` keeps the quirk of the published weights: a prior is as high as it is wide.
    """

    input_size: int
    backbone: str
    num_classes: int
    num_prototypes: int
    fpn_channels: int
    aspect_ratios: tuple[float, ...]
    scales: tuple[float, ...]
    square_anchors: bool = True

    def __post_init__(self) -> None:
        if self.backbone not in ("resnet50", "resnet-light"):
            raise UsageError(f"unknown backbone {self.backbone!r}: take resnet50 or resnet-light")
        if len(self.scales) != len(self.feature_sizes):
            raise UsageError(f"scales needs one value per pyramid level, five, not {self.scales}")

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Side of the feature maps P3..P7 (550 px: 69, 35, 18, 9, 5)."""
        size, sizes = self.input_size, []
        for _ in range(7):
            size = -(-size // 2)
            sizes.append(size)
        return tuple(sizes[2:])


YOLACT_RESNET50 = Architecture(
    input_size=550,
    backbone="resnet50",
    num_classes=80,
    num_prototypes=32,
    fpn_channels=256,
    aspect_ratios=(1.0, 0.5, 2.0),
    scales=(24.0, 48.0, 96.0, 192.0, 384.0),
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """One exported model; ``precision`` is that of the stored weights: fp32 or fp16.

    ``mean`` and ``std`` are in B, G, R order and 0..255 levels. ``digest`` is the sha256 over
    the IR and the priors.
    """

    folder: Path
    name: str
    architecture: Architecture
    precision: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    conf_threshold: float
    nms_threshold: float
    top_k: int
    score_threshold: float
    digest: str
    made: Mapping[str, Any]

    def __post_init__(self) -> None:
        classes = self.architecture.num_classes
        if not len(self.class_names) == len(self.category_ids) == classes:
            raise UsageError(
                f"{self.folder}/model.json needs {classes} class names and category ids"
            )

    @property
    def xml(self) -> Path:
        """The network's graph; its weights lie beside it in model.bin."""
        return self.folder / "model.xml"

    def priors(self) -> npt.NDArray[np.float32]:
        """Anchors [N, 4]: centre x, centre y, width, height, relative to the input."""
        priors: npt.NDArray[np.float32] = np.load(self.folder / "priors.npy")
        return priors

    @classmethod
    def find(cls, name: str) -> "Model":
        """Load the shipped model NAME, or the one in the folder NAME; raises UsageError."""
        return cls.load(cls.locate(name))

    @staticmethod
    def locate(name: str) -> Path:
        """The absolute folder that ``find`` loads, unread: loading digests the whole model."""
        shipped = SHIPPED / name
        return (shipped if shipped.is_dir() else Path(name)).absolute()

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read and check FOLDER; raises UsageError for a missing, damaged or newer one."""
        path = folder / "model.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(
                f"no model in {folder}: give a folder made by `cluster model export`"
                " or a name in models/"
            ) from None
        except ValueError as error:
            raise UsageError(f"{path} is not JSON ({error}): export the model again") from None
        if (version := fields.pop("schema_version", None)) != SCHEMA_VERSION:
            raise UsageError(
                f"{path} has schema_version {version}, this version reads {SCHEMA_VERSION}"
            )
        try:
            architecture = fields.pop("architecture")
            for name in ("aspect_ratios", "scales"):
                architecture[name] = tuple(architecture[name])
            for name in ("class_names", "category_ids", "mean", "std"):
                fields[name] = tuple(fields[name])
            model = cls(folder=folder, architecture=Architecture(**architecture), **fields)
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path} is incomplete ({error}): export the model again") from None
        if model.digest != (found := digest(folder)):
            raise UsageError(
                f"{folder} has digest {found}, model.json says {model.digest}: export it again"
            )
        return model

    def save(self) -> None:
        """Write model.json into ``folder``, beside the IR and the priors."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "folder"}
        text = json.dumps({"schema_version": SCHEMA_VERSION, **fields}, indent=2)
        (self.folder / "model.json").write_text(text + "\n", encoding="utf-8")


def digest(folder: Path) -> str:
    """sha256 over the IR and the priors in FOLDER; raises UsageError where one is missing."""
    total = hashlib.sha256()
    for name in FILES:
        try:
            total.update((folder / name).read_bytes())
        except FileNotFoundError:
            raise UsageError(f"{folder / name} is missing: export the model again") from None
    return f"sha256:{total.hexdigest()}"
