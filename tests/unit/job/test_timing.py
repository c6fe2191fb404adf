import time

import pytest

from job.images.decode import ImageError
from job.timing import ImageRecord


def test_stages_and_totals_are_measured() -> None:
    record = ImageRecord(image_id="a")
    with record.stage("decode"):
        time.sleep(0.02)
    time.sleep(0.01)
    record.emitted()
    timing = record.timing
    assert timing["decode_ms"] >= 20
    assert timing["emit_ms"] >= 10
    assert timing["total_ms"] >= timing["decode_ms"] + timing["emit_ms"]
    assert abs(timing["started_at"] - time.time()) < 5


def test_without_timing_no_field_is_made_up() -> None:
    record = ImageRecord(image_id="a", timed=False)
    with record.stage("decode"):
        pass
    record.emitted()
    assert record.timing == {"image_id": "a", "kind": "image"}


def test_an_error_is_charged_to_the_stage_that_was_going_on() -> None:
    record = ImageRecord(image_id="a")
    with pytest.raises(ZeroDivisionError) as caught, record.stage("postprocess"):
        _ = 1 / 0
    record.fail(caught.value)
    assert record.error == {
        "stage": "postprocess",
        "message": "ZeroDivisionError: division by zero",
    }


def test_an_image_error_speaks_for_itself() -> None:
    record = ImageRecord(image_id="a")
    record.fail(ImageError("read", "the file is gone"))
    assert record.error == {"stage": "read", "message": "the file is gone"}
