"""Random weights that cost what trained ones do; the 550 px network is in test_torch_parity."""

import numpy as np
import pytest
import torch

from cluster.model.network import Yolact
from cluster.model.scenes import scene
from cluster.model.seeded import OBJECTS, SCORE, seeded_state
from cluster.model.weights import MEAN, STD
from job.images.preprocess import to_tensor
from job.model import Architecture
from job.yolact.detect import detect
from job.yolact.priors import make_priors

ARCHITECTURE = Architecture(
    input_size=160,
    backbone="resnet-light",
    num_classes=20,
    num_prototypes=8,
    fpn_channels=32,
    aspect_ratios=(1.0, 0.5, 2.0),
    scales=(16.0, 32.0, 64.0, 96.0, 128.0),
)


def make(seed):
    return seeded_state(ARCHITECTURE, seed, mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def state():
    return make(3)


def test_one_seed_gives_one_network(state):
    assert all(torch.equal(value, state[key]) for key, value in make(3).items())
    other = make(4)
    assert not torch.equal(other["backbone.conv1.weight"], state["backbone.conv1.weight"])


def test_threads_do_not_change_the_network(state):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert all(torch.equal(value, state[key]) for key, value in make(3).items())
    finally:
        torch.set_num_threads(threads)


def test_scenes_it_was_not_set_on_show_some_objects_each(state):
    network = Yolact(ARCHITECTURE).eval()
    network.load_state_dict(state)
    priors = make_priors(ARCHITECTURE)
    counts, shares = [], []
    for seed in range(40_000, 40_021):
        image = to_tensor(scene(seed).image, 160, mean=MEAN, std=STD)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image))
        loc, conf, mask, proto = (part[0].numpy() for part in outputs)
        found = detect(loc, conf, mask, priors, conf_threshold=0.05, nms_threshold=0.5, top_k=100)
        strong = found.scores > SCORE
        counts.append(np.count_nonzero(strong))
        shares += ((proto @ found.coefficients[strong].T) > 0).mean(axis=(0, 1)).tolist()
        assert all(np.isfinite(part).all() for part in (loc, conf, mask, proto))
    assert OBJECTS / 2 <= np.median(counts) <= 1.5 * OBJECTS
    assert np.mean(np.array(counts) < 100) > 0.9
    # The masks are neither empty nor full.
    assert np.mean((np.array(shares) > 0.05) & (np.array(shares) < 0.95)) > 0.5
