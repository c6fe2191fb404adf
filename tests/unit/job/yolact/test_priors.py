import dataclasses
import math

import numpy as np
import pytest

from job.model import YOLACT_RESNET50
from job.yolact.priors import make_priors
from tests.unit.job.yolact.yolact_reference import architecture


def reference(arch):
    rows = []
    for size, scale in zip(arch.feature_sizes, arch.scales, strict=True):
        for j in range(size):
            for i in range(size):
                for ratio in arch.aspect_ratios:
                    w = scale * math.sqrt(ratio) / arch.input_size
                    h = w if arch.square_anchors else scale / math.sqrt(ratio) / arch.input_size
                    rows.append([(i + 0.5) / size, (j + 0.5) / size, w, h])
    return np.array(rows, dtype=np.float32)


def test_published_network_has_19248_priors_in_the_order_of_its_heads():
    priors = make_priors(YOLACT_RESNET50)
    assert priors.shape == (19248, 4)
    assert priors.dtype == np.float32
    np.testing.assert_array_equal(priors, reference(YOLACT_RESNET50))
    for start, side, scale in zip(
        (0, 14283, 17958, 18930, 19173), (69, 35, 18, 9, 5), (24, 48, 96, 192, 384), strict=True
    ):
        expected = [0.5 / side, 0.5 / side, scale / 550, scale / 550]
        np.testing.assert_allclose(priors[start], expected, rtol=1e-6)


@pytest.mark.parametrize("square", [True, False])
def test_any_architecture(square):
    arch = dataclasses.replace(architecture(aspect_ratios=(1.0, 0.25)), square_anchors=square)
    priors = make_priors(arch)
    np.testing.assert_array_equal(priors, reference(arch))
    assert bool((priors[:, 2] == priors[:, 3]).all()) == square
