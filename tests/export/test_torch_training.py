"""Run by the environment for export: ``.venv-export/bin/python -m pytest tests/export``."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.model.losses import losses
from cluster.model.network import Yolact
from cluster.model.scenes import scene
from cluster.model.training import YOLACT_SHAPES, Recipe, Scenes, example, initialise, train
from cluster.model.weights import load_weights
from job.yolact.priors import make_priors

SHORT = Recipe(iterations=50, batch=1, workers=0, warm_up=10)


def test_rate_warms_up_and_falls_to_zero() -> None:
    recipe = Recipe(iterations=100, warm_up=10, learning_rate=1.0)
    rates = [recipe.rate(iteration) for iteration in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) == 9
    assert rates[50] == pytest.approx(0.5)
    assert rates[-1] < 0.001


def test_example_boxes_enclose_the_masks() -> None:
    _, target = example(scene(1), YOLACT_SHAPES)
    assert len(target.boxes) == len(target.classes) == len(target.masks) == len(scene(1).objects)
    cells = target.masks.shape[-1]
    for box, mask, item in zip(target.boxes, target.masks, scene(1).objects, strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        x1, y1, x2, y2 = box * cells
        assert 0 <= columns.min() + 1 - x1 <= 1.01
        assert 0 <= rows.min() + 1 - y1 <= 1.01
        assert 0 <= x2 - columns.max() <= 1.01
        assert 0 <= y2 - rows.max() <= 1.01
        assert float(mask.mean()) == pytest.approx(item.mask.mean(), rel=0.02)


def test_batches_do_not_depend_on_where_training_resumes() -> None:
    recipe = Recipe(iterations=3, batch=2)
    whole, rest = list(Scenes(YOLACT_SHAPES, recipe, 0)), list(Scenes(YOLACT_SHAPES, recipe, 2))
    assert len(whole) == 3
    assert len(rest) == 1
    assert torch.equal(whole[2][0], rest[0][0])
    assert not torch.equal(whole[0][0], whole[1][0])


def test_a_few_steps_learn_two_scenes() -> None:
    torch.manual_seed(0)
    network = Yolact(YOLACT_SHAPES)
    initialise(network)
    priors = torch.from_numpy(make_priors(YOLACT_SHAPES))
    images, targets = zip(*(example(scene(seed), YOLACT_SHAPES) for seed in (0, 1)), strict=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        parts = losses(network.training_outputs(torch.stack(images)), list(targets), priors)
        history.append({name: float(part.detach()) for name, part in parts.items()})
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
    for name in ("box", "class", "segmentation"):
        assert history[-1][name] < history[0][name] / 3, name
    assert history[-1]["mask"] < history[0]["mask"] * 0.8


def test_training_logs_saves_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, recipe=SHORT)
    first = torch.load(checkpoint, weights_only=True)
    assert first["iteration"] == 50
    longer = Recipe(iterations=100, batch=1, workers=0, warm_up=10)
    train(tmp_path, recipe=longer, resume=True)
    second = torch.load(checkpoint, weights_only=True)
    assert second["iteration"] == 100
    with (tmp_path / "training.log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["50", "100"]
    assert float(rows[1]["class"]) < float(rows[0]["class"])

    weights = load_weights(str(checkpoint))
    assert weights.architecture == YOLACT_SHAPES
    assert weights.class_names == tuple(first["class_names"])
    values = [parameter.numpy() for parameter in weights.network.state_dict().values()]
    assert all(np.isfinite(value).all() for value in values)
