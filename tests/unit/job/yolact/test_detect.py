import numpy as np
import pytest

from job.yolact.detect import PER_CLASS, Detections, detect
from tests.unit.job.yolact import yolact_reference as reference

LIMITS = {"conf_threshold": 0.05, "nms_threshold": 0.5, "top_k": 100}


def run(outputs, priors, **limits):
    return detect(outputs["loc"], outputs["conf"], outputs["mask"], priors, **LIMITS | limits)


def assert_same(found, expected):
    assert found.classes.tolist() == [item[0] for item in expected]
    np.testing.assert_array_equal(found.scores, [item[1] for item in expected])
    boxes = np.array([item[2] for item in expected]).reshape(-1, 4)
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-6)
    assert found.boxes.dtype == np.float32
    np.testing.assert_array_equal(found.coefficients.ravel(), np.ravel([i[3] for i in expected]))


@pytest.mark.parametrize("top_k", [1, 7, 100, 1000])
@pytest.mark.parametrize("kept", [1, 3, 40, 250])
def test_agrees_with_the_steps_written_down(kept, top_k):
    outputs, priors = reference.random_outputs(kept, kept=kept)
    expected = reference.detect(outputs, priors, **LIMITS | {"top_k": top_k})
    assert_same(run(outputs, priors, top_k=top_k), expected)


@pytest.mark.parametrize("nms_threshold", [0.1, 0.8])
def test_other_thresholds(nms_threshold):
    outputs, priors = reference.random_outputs(5, kept=60)
    limits = {"conf_threshold": 0.3, "nms_threshold": nms_threshold, "top_k": 30}
    assert_same(run(outputs, priors, **limits), reference.detect(outputs, priors, **limits))


def test_equal_scores_keep_the_order_of_class_then_prior():
    outputs, priors = reference.random_outputs(3, kept=80, digits=1)
    found = run(outputs, priors)
    assert len(set(found.scores.tolist())) < len(found.scores) / 2
    assert_same(found, reference.detect(outputs, priors, **LIMITS))


def test_all_scores_equal():
    outputs, priors = reference.random_outputs(4)
    outputs["conf"][:] = 1 / 6
    assert_same(run(outputs, priors), reference.detect(outputs, priors, **LIMITS))


def test_nothing_passes():
    outputs, priors = reference.random_outputs(0)
    found = run(outputs, priors, conf_threshold=0.999999)
    assert_same(found, [])
    assert found.boxes.shape == (0, 4)
    assert found.coefficients.shape == (0, 6)


def one_class_line(scores, starts):
    """Boxes of side 0.2 in a row at x = starts, and a single class with these scores."""
    count = len(scores)
    priors = np.full((count, 4), 0.2, dtype=np.float32)
    priors[:, 0] = np.add(starts, 0.1)
    conf = np.array([[1 - score, score] for score in scores], dtype=np.float32)
    return {
        "loc": np.zeros((count, 4), dtype=np.float32),
        "conf": conf,
        "mask": np.zeros((count, 2), dtype=np.float32),
    }, priors


def test_a_suppressed_box_suppresses_others():
    # IoU 0.6 between neighbours, 1/3 between the outer two: classic NMS would keep the third box.
    outputs, priors = one_class_line([0.9, 0.8, 0.7], [0.0, 0.05, 0.1])
    assert run(outputs, priors).scores == pytest.approx([0.9])


def test_a_prior_kept_for_one_class_yields_its_low_scores_for_the_others():
    outputs, priors = reference.random_outputs(8, kept=1)
    found = run(outputs, priors)
    assert sorted(found.classes.tolist()) == [0, 1, 2, 3, 4]
    assert found.scores[0] > LIMITS["conf_threshold"] > found.scores[1]


def test_a_score_must_exceed_the_threshold():
    outputs, priors = one_class_line([0.5, 0.25], [0.0, 0.5])
    assert run(outputs, priors, conf_threshold=0.25).scores.tolist() == [0.5]


def test_a_weak_box_is_found_below_many_suppressed_ones():
    outputs, priors = one_class_line(np.linspace(0.9, 0.2, 100), [*[0.0] * 99, 0.7])
    assert run(outputs, priors, top_k=2).scores == pytest.approx([0.9, 0.2])


def test_only_the_best_of_a_class_enter():
    count = PER_CLASS + 50
    outputs, priors = one_class_line(np.linspace(0.9, 0.1, count), np.arange(count))
    found = run(outputs, priors, top_k=1000)
    np.testing.assert_array_equal(found.scores, outputs["conf"][:PER_CLASS, 1])


def test_fields_of_different_length_are_refused():
    empty = np.zeros(0, dtype=np.float32)
    with pytest.raises(ValueError, match="one length"):
        Detections(
            classes=np.zeros(1, dtype=np.intp),
            scores=empty,
            boxes=empty.reshape(0, 4),
            coefficients=empty.reshape(0, 2),
        )
