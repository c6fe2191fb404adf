"""Run by the environment for export: ``.venv-export/bin/python -m pytest tests/export``."""

import numpy as np
import pytest
import torch

from cluster.model.losses import (
    BACKGROUND,
    IGNORED,
    Target,
    encode,
    losses,
    match,
    overlaps,
)
from cluster.model.network import TrainingOutputs
from job.yolact.detect import decode

# Centre and size: one prior on the first object, one near it, one between, one far away.
PRIORS = torch.tensor(
    [
        [0.25, 0.25, 0.3, 0.3],
        [0.28, 0.25, 0.3, 0.3],
        [0.36, 0.25, 0.3, 0.3],
        [0.80, 0.80, 0.2, 0.2],
    ]
)
FIRST = [0.1, 0.1, 0.4, 0.4]


def test_overlaps_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.2, 0.2], [0.1, 0.0, 0.3, 0.2], [0.5, 0.5, 0.6, 0.6]])
    assert overlaps(boxes[:1], boxes).tolist()[0] == pytest.approx([1, 1 / 3, 0])


def test_match_takes_overlapping_priors_and_ignores_the_undecided() -> None:
    # Shifted by 0.11 of 0.3: IoU 0.19 / 0.41 = 0.46.
    assert match(torch.tensor([FIRST]), PRIORS).tolist() == [0, 0, IGNORED, BACKGROUND]


def test_match_gives_every_box_a_prior_of_its_own() -> None:
    tiny = [[0.24, 0.24, 0.26, 0.26], [0.25, 0.25, 0.27, 0.27]]
    index = match(torch.tensor(tiny), PRIORS)
    assert sorted(index[index >= 0].tolist()) == [0, 1]


def test_match_without_objects_is_background() -> None:
    assert match(torch.zeros(0, 4), PRIORS).tolist() == [BACKGROUND] * 4


def test_encode_is_undone_by_the_decoding_that_ships() -> None:
    boxes = torch.tensor([FIRST, [0.2, 0.1, 0.5, 0.35], [0.3, 0.3, 0.4, 0.9], [0.7, 0.6, 1.0, 0.9]])
    loc = encode(boxes, PRIORS).numpy()
    assert np.allclose(decode(loc, PRIORS.numpy()), boxes.numpy(), atol=1e-6)


def target() -> Target:
    """An object of class 1 in the first quarter of 8 x 8 cells."""
    masks = torch.zeros(1, 8, 8)
    masks[0, 1:3, 1:3] = 1
    return Target(
        boxes=torch.tensor([[1 / 8, 1 / 8, 3 / 8, 3 / 8]]), classes=torch.tensor([1]), masks=masks
    )


def outputs(target: Target, *, wrong_class: bool = False, inverse: bool = False) -> TrainingOutputs:
    """Network outputs that say exactly TARGET, one prototype being its mask, or nearly so."""
    index = match(target.boxes, PRIORS)
    conf = torch.zeros(1, 4, 3)
    conf[0, :, 0] = 20
    conf[0, index >= 0] = torch.tensor([0.0, 20, 0] if wrong_class else [0.0, 0, 20])
    loc = encode(target.boxes.expand(4, 4), PRIORS)[None]
    mask = torch.full((1, 4, 1), -1.0 if inverse else 1.0)
    proto = (target.masks[0] * 40 - 20)[None, :, :, None]
    segmentation = torch.full((1, 2, 4, 4), -20.0)
    # Cells 1 and 2 of 8 fill a quarter of each of four of the 4 x 4 cells.
    segmentation[0, 1, :2, :2] = torch.logit(torch.tensor(0.25))
    return TrainingOutputs(loc, conf, mask, proto, segmentation)


def test_a_right_answer_costs_nothing() -> None:
    wanted = target()
    parts = losses(outputs(wanted), [wanted], PRIORS)
    assert {name for name, part in parts.items() if part > 1e-4} == {"segmentation"}
    # Soft targets leave their entropy: 4 cells of 16, one of 2 classes, times 2 classes.
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert float(parts["segmentation"]) == pytest.approx(entropy * 4 / 16, rel=1e-4)


def test_a_wrong_class_costs_its_logit() -> None:
    wanted = target()
    parts = losses(outputs(wanted, wrong_class=True), [wanted], PRIORS)
    assert float(parts["class"]) == pytest.approx(20, rel=1e-3)


def test_a_wrong_mask_costs_in_its_box_and_a_cell_around_it() -> None:
    wanted = target()
    parts = losses(outputs(wanted, inverse=True), [wanted], PRIORS)
    # All 4 x 4 cells, box and rim, are wrong by 20; divided by the box's 2 x 2.
    assert float(parts["mask"]) == pytest.approx(6.125 * 20 * 16 / 4, rel=1e-3)


def test_only_the_worst_negatives_count() -> None:
    nothing = Target(
        boxes=torch.zeros(0, 4),
        classes=torch.zeros(0, dtype=torch.long),
        masks=torch.zeros(0, 8, 8),
    )
    raw = outputs(target())
    raw.conf[0, :, 0] = 20
    raw.conf[0, :, 1:] = 0
    raw.conf[0, 3] = torch.tensor([0.0, 20, 0])  # the one mistake among four
    parts = losses(raw, [nothing], PRIORS)
    assert float(parts["class"]) == pytest.approx(20, rel=1e-3)
    assert float(parts["box"]) == float(parts["mask"]) == 0


def test_ignored_priors_are_free() -> None:
    wanted = Target(boxes=torch.tensor([FIRST]), classes=torch.tensor([1]), masks=target().masks)
    raw = outputs(wanted)
    raw.conf[0, 2] = torch.tensor([0.0, 20, 0])
    assert float(losses(raw, [wanted], PRIORS)["class"]) < 1e-4
