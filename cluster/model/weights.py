"""Weights to export: the published ones, a checkpoint of ours, or seeded ones."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.model import coco
from cluster.model.network import Yolact
from cluster.model.seeded import seeded_state
from job.errors import UsageError
from job.model import YOLACT_RESNET50, Architecture

# The published network's input, and ours: levels of blue, green, red.
MEAN = (103.94, 116.78, 123.68)
STD = (57.38, 57.12, 58.40)

# yolact_resnet50_54_800000.pth, by the Open Model Zoo's record of it.
PUBLISHED_SHA256 = "c12bb7a7e0343281db7f1407b376970bb52651f121d0b60bc4a49207acb6d6d7"

NAMED_KEYS = 3  # in a message
SEEDED = "seeded:"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A network ready to export. ``sha256`` is that of the file; seeded weights have none."""

    source: str
    sha256: str | None
    network: Yolact
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def published(self) -> bool:
        """Whether this is the file that YOLACT's authors published."""
        return self.sha256 == PUBLISHED_SHA256

    @property
    def architecture(self) -> Architecture:
        """What fixes the network's shapes."""
        return self.network.architecture


def load_weights(source: str) -> Weights:
    """Weights from a file's path or ``seeded:N``; raises UsageError, one sentence.

    A file is one of the published form, a state_dict of YOLACT ResNet50 at 550 px, or a checkpoint:
    dict(architecture=dict, class_names=list, state_dict=dict).
    """
    if source.startswith(SEEDED):
        seed = source.removeprefix(SEEDED)
        if not (seed.isascii() and seed.isdigit() and int(seed) < 2**63):
            raise UsageError(f"--weights {source}: give a whole number from 0, as in seeded:0")
        state = seeded_state(YOLACT_RESNET50, int(seed), mean=MEAN, std=STD)
        return _weights(source, None, {"state_dict": state})
    path = Path(source)
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--weights {source}: {error.strerror}: give a file or seeded:N") from None
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load documents none; a foreign file gives many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{source} is no file of PyTorch weights: {reason}") from None
    if isinstance(stored, dict) and "state_dict" not in stored:
        stored = {"state_dict": stored}
    if not isinstance(stored, dict) or not isinstance(stored["state_dict"], dict):
        raise UsageError(f"{source} holds no state_dict: give the weights of a YOLACT network")
    return _weights(source, sha256, stored)


def _weights(source: str, sha256: str | None, stored: Mapping[str, Any]) -> Weights:
    if "architecture" in stored:
        try:
            architecture = Architecture(**stored["architecture"])
            class_names = tuple(stored["class_names"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"{source} is an incomplete checkpoint: {error}") from None
        if len(class_names) != architecture.num_classes:
            raise UsageError(
                f"{source} has {len(class_names)} class names"
                f" for {architecture.num_classes} classes"
            )
        category_ids = tuple(range(1, len(class_names) + 1))
    else:
        architecture = YOLACT_RESNET50
        class_names, category_ids = coco.NAMES, coco.CATEGORY_IDS
    network = Yolact(architecture)
    _fill(network, stored["state_dict"], source)
    return Weights(
        source=source,
        sha256=sha256,
        network=network.eval(),
        class_names=class_names,
        category_ids=category_ids,
    )


def _fill(network: Yolact, state: Mapping[str, Tensor], source: str) -> None:
    """Load STATE strictly, but for what the published file has too much or may lack."""
    wanted = network.state_dict()
    found = {key: value for key, value in state.items() if not _redundant(key)}
    for key in wanted:
        if key.endswith(".num_batches_tracked"):
            found.setdefault(key, wanted[key])
    problems = {
        "lacks": [key for key in wanted if key not in found],
        "has unknown": [key for key in found if key not in wanted],
        "has another shape of": [
            key
            for key in wanted
            if key in found and getattr(found[key], "shape", None) != wanted[key].shape
        ],
    }
    texts = [f"{problem} {_listed(keys)}" for problem, keys in problems.items() if keys]
    if texts:
        raise UsageError(
            f"{source} does not fit {network.architecture.backbone} at"
            f" {network.architecture.input_size} px: it {', '.join(texts)}"
        )
    network.load_state_dict(found)


def _redundant(key: str) -> bool:
    """Whether the published file has it without use (YOLACT's own loader drops these as well)."""
    old_backbone = key.startswith("backbone.layer") and not key.startswith("backbone.layers")
    return old_backbone or key.startswith("fpn.downsample_layers.2.")


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return ", ".join(keys[:NAMED_KEYS]) + more
