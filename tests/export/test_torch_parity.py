"""The whole chain at 550 px against a plain one written from the description of the original."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.model.weights import MEAN, STD, load_weights
from job.images.decode import decode
from job.images.preprocess import to_tensor
from job.model import Model
from job.yolact.compare import Tolerance, differences
from job.yolact.postprocess import postprocess
from job.yolact.priors import make_priors
from tests.export import plain_yolact as plain

SAMPLES = Path(__file__).parents[2] / "models" / "images"
OUTPUTS = ("loc", "conf", "mask", "proto")


@pytest.fixture(scope="module")
def images():
    """Of each folder of samples a few, by name: uint8 BGR."""
    found = {}
    for folder in sorted({path.parent for path in SAMPLES.rglob("*.jpg")}):
        for path in sorted(folder.glob("*.jpg"))[:4]:
            found[path.name] = decode(path.read_bytes())
    assert len(found) >= 4
    return found


@pytest.fixture(scope="module")
def weights():
    return load_weights("seeded:0")


@pytest.fixture(scope="module")
def model(weights):
    return Model(
        folder=Path("none"),
        name="yolact-resnet50",
        architecture=weights.architecture,
        precision="fp32",
        class_names=weights.class_names,
        category_ids=weights.category_ids,
        mean=MEAN,
        std=STD,
        conf_threshold=0.05,
        nms_threshold=0.5,
        top_k=100,
        score_threshold=0.15,
        digest="sha256:0",
        made={},
    )


@pytest.fixture(scope="module")
def outputs(weights, images):
    """Our chain's raw outputs per image."""
    found = {}
    for name, image in images.items():
        tensor = torch.from_numpy(to_tensor(image, 550, mean=MEAN, std=STD))
        with torch.inference_mode():
            found[name] = dict(
                zip(OUTPUTS, (o.numpy() for o in weights.network(tensor)), strict=True)
            )
    return found


@pytest.fixture(scope="module")
def rows(model, images, outputs):
    priors = make_priors(model.architecture)
    return {
        name: postprocess(model, priors, outputs[name], height=image.shape[0], width=image.shape[1])
        for name, image in images.items()
    }


def test_priors_agree(weights):
    priors = make_priors(weights.architecture)
    assert priors.shape == (19248, 4)
    np.testing.assert_allclose(priors, plain.priors().numpy(), rtol=1e-6)


def test_raw_outputs_agree(weights, images, outputs):
    state = weights.network.state_dict()
    shapes = [(1, 19248, 4), (1, 19248, 81), (1, 19248, 32), (1, 138, 138, 32)]
    for name, image in list(images.items())[:3]:
        with torch.inference_mode():
            expected = plain.network(state, plain.preprocess(image))
        for output, shape, values in zip(OUTPUTS, shapes, expected, strict=True):
            found = outputs[name][output]
            assert found.shape == shape
            gap = np.abs(found - values.numpy()).max()
            assert gap <= 1e-3 * np.abs(values.numpy()).max(), (name, output)


def test_detections_agree(weights, model, images, rows):
    state = weights.network.state_dict()
    names = list(images)[:3]
    with torch.inference_mode():
        expected = {name: plain.rows(state, images[name], model.category_ids) for name in names}
    assert sum(len(found) for found in expected.values()) > 10
    found = {name: rows[name] for name in names}
    tolerance = Tolerance(score=1e-3, box=1, iou=0.99)
    assert differences(expected, found, model=model, tolerance=tolerance) == []


def test_a_seeded_network_costs_what_a_trained_one_does(rows, outputs):
    counts = [len(found) for found in rows.values()]
    assert 5 <= np.median(counts) <= 15, counts
    passing = [np.count_nonzero(o["conf"][0, :, 1:].max(axis=1) > 0.05) for o in outputs.values()]
    assert 20 <= np.median(passing) <= 500, passing
    found = [row for image in rows.values() for row in image]
    filled = np.array([row["area"] / max(row["bbox"][2] * row["bbox"][3], 1) for row in found])
    assert 0.2 < np.median(filled) < 1
    sides = np.sqrt([row["bbox"][2] * row["bbox"][3] for row in found])
    assert np.median(sides) < 100 < sides.max()
