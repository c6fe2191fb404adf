"""Trains the small model on drawn scenes, on a CPU.

Run ``python -m cluster.model.training --output DIR`` in the environment for export. Two runs with
one recipe see the same scenes in the same order.
"""

import argparse
import csv
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cluster.model.losses import Target, losses
from cluster.model.network import Yolact
from cluster.model.scenes import CLASS_NAMES, TRAINING_SEEDS, Scene, scene
from job.images.preprocess import to_tensor
from job.model import Architecture
from job.yolact.priors import make_priors

YOLACT_SHAPES = Architecture(
    input_size=256,
    backbone="resnet-light",
    num_classes=len(CLASS_NAMES),
    num_prototypes=16,
    fpn_channels=48,
    aspect_ratios=(1.0, 0.5, 2.0),
    # Square priors of scale * (1, 0.7, 1.4) step evenly through the sizes that scenes have.
    scales=(28.0, 56.0, 96.0, 140.0, 190.0),
)
# The published network's means and deviations of blue, green, red, 0..255 levels.
MEAN, STD = (103.94, 116.78, 123.68), (57.38, 57.12, 58.40)

CHECKPOINT_SECONDS = 120
LOG_EVERY = 50  # iterations
GRADIENT_NORM = 10.0

Batch = tuple[Tensor, list[Target]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how to train; the learning rate warms up and falls to zero as a cosine."""

    iterations: int = 4000
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warm_up: int = 200
    workers: int = 1
    threads: int = 1  # on a shared machine several wait for each other
    seed: int = 0

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration, the first being 0."""
        warm = min(1.0, (iteration + 1) / self.warm_up)
        return self.learning_rate * warm * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def example(drawn: Scene, architecture: Architecture) -> tuple[Tensor, Target]:
    """The network's input [3, S, S] and what it shall find."""
    image = to_tensor(drawn.image, architecture.input_size, mean=MEAN, std=STD)[0]
    cells = 2 * architecture.feature_sizes[0]
    height, width = drawn.image.shape[:2]
    boxes, masks = [], []
    for item in drawn.objects:
        x, y, w, h = cv2.boundingRect(item.mask)
        boxes.append((x / width, y / height, (x + w) / width, (y + h) / height))
        masks.append(
            cv2.resize(item.mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
        )
    return torch.from_numpy(image), Target(
        boxes=torch.tensor(boxes).reshape(-1, 4),
        classes=torch.tensor([item.category for item in drawn.objects], dtype=torch.long),
        masks=torch.from_numpy(np.array(masks, np.float32).reshape(-1, cells, cells)),
    )


class Scenes(IterableDataset[Batch]):
    """Batches of scenes from iteration ``first`` on, the same whatever the number of workers."""

    def __init__(self, architecture: Architecture, recipe: Recipe, first: int) -> None:
        self.architecture, self.recipe, self.first = architecture, recipe, first

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(0)
        worker = get_worker_info()
        start, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for iteration in range(self.first + start, self.recipe.iterations, step):
            seed = TRAINING_SEEDS + iteration * self.recipe.batch
            images, targets = zip(
                *(example(scene(seed + n), self.architecture) for n in range(self.recipe.batch)),
                strict=True,
            )
            yield torch.stack(images), list(targets)


def initialise(network: nn.Module) -> None:
    """He's initialisation, for layers without batch normalisation above all."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    head = network.prediction_layers[0]
    for layer in (head.bbox_layer, head.conf_layer, head.mask_layer):
        nn.init.normal_(layer.weight, std=0.01)


def train(
    output: Path,
    *,
    architecture: Architecture = YOLACT_SHAPES,
    recipe: Recipe,
    resume: bool = False,
) -> Path:
    """Train, or go on with what OUTPUT holds; gives the checkpoint.

    A checkpoint is a dict of architecture (its fields), class_names, state_dict, optimizer and
    iteration (how many are done).
    """
    output.mkdir(parents=True, exist_ok=True)
    checkpoint, log = output / "checkpoint.pt", output / "training.log.csv"
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    torch.set_flush_denormal(True)
    network = Yolact(architecture)
    initialise(network)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    done = 0
    if resume:
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["iteration"]

    def save(iteration: int) -> None:
        state: dict[str, Any] = {
            "architecture": dataclasses.asdict(architecture),
            "class_names": list(CLASS_NAMES),
            "state_dict": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "iteration": iteration,
        }
        fresh = checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(checkpoint)

    priors = torch.from_numpy(make_priors(architecture))
    batches = DataLoader(
        Scenes(architecture, recipe, done), batch_size=None, num_workers=recipe.workers
    )
    saved = began = time.monotonic()
    sums: dict[str, float] = {}
    with log.open("a" if resume else "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for iteration, (images, targets) in enumerate(batches, start=done):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(iteration)
            outputs = network.training_outputs(images.to(memory_format=torch.channels_last))
            parts = losses(outputs, targets, priors)
            optimizer.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
            optimizer.step()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / LOG_EVERY
            if iteration == 0:
                writer.writerow(["iteration", "seconds", *sums])
            if (iteration + 1) % LOG_EVERY == 0:
                seconds = round(time.monotonic() - began)
                row = [iteration + 1, seconds, *(round(value, 4) for value in sums.values())]
                writer.writerow(row)
                file.flush()
                print(*row, flush=True)
                sums = {}
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save(iteration + 1)
                saved = time.monotonic()
    save(recipe.iterations)
    return checkpoint


def main() -> None:
    """Train the small model on drawn scenes."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on with what OUTPUT holds")
    parser.add_argument("--iterations", type=int, default=recipe.iterations)
    parser.add_argument("--batch", type=int, default=recipe.batch)
    arguments = parser.parse_args()
    recipe = Recipe(iterations=arguments.iterations, batch=arguments.batch)
    print(train(arguments.output, recipe=recipe, resume=arguments.resume))


if __name__ == "__main__":
    main()
