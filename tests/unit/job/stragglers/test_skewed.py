import pyarrow as pa
import pytest

from job.schemas import TIMING_SCHEMA
from job.stragglers.lines import costs
from job.stragglers.skewed import SkewedTask, skewed
from tests.unit.job.stragglers.conftest import MakeRows, MakeTable, Rows

HOSTS = ["a", "b"]


def found(timings: pa.Table) -> dict[str, SkewedTask]:
    return skewed(timings, costs(timings, {}))


@pytest.fixture
def tasks(host_rows: MakeRows) -> Rows:
    """Ten tasks of ten images by turns on two hosts; the images' pixels are what they cost."""
    rows: Rows = []
    for number in range(10):
        rows += picture_task(host_rows, HOSTS[number % 2], number)
    return rows


def picture_task(
    host_rows: MakeRows, host: str, number: int, *, pixels: float = 1.0, slowdown: float = 1.0
) -> Rows:
    """Half of the time is for decoding, and grows with the pixels (10^6)."""
    rows = host_rows(host, 10, slowdown={"decode": 12 * pixels * slowdown, "infer": slowdown})
    for place, row in enumerate(rows):
        # Of the same looks in all tasks, or there is nothing to fit a slope to.
        size = pixels * (1 + 0.4 * (place % 3 - 1))
        row["pixels"] = int(1e6 * size)
        row["decode_ms"] *= size / pixels
        row |= {"task_id": number, "partition": 100 + number}
        row["started_at"] += 2.0 * (number // 2)
    return rows


def test_equal_tasks_are_not_skewed(tasks: Rows, table: MakeTable) -> None:
    assert found(table(tasks)) == {}


def test_a_task_of_costly_images_is_named_with_what_it_took(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    costly = picture_task(host_rows, "b", 11, pixels=6.0)
    told = found(table(tasks + costly))
    assert {*told} == {"b"}
    task = told["b"]
    assert (task.partition, task.images) == (111, 10)
    # 96 ms of about 190 are decoding, and that six times: 3.5 of a usual one's.
    assert task.times == pytest.approx(3.5, rel=0.15)
    seconds = sum(row["total_ms"] for row in costly) / 1e3
    assert 0.5 * seconds < task.extra_s < seconds


def test_a_slow_host_has_no_costly_images(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    assert found(table(tasks + picture_task(host_rows, "b", 11, slowdown=5.0))) == {}


def test_where_all_hosts_bear_as_much_none_is_told(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    rows = tasks + picture_task(host_rows, "b", 11, pixels=6.0)
    rows += picture_task(host_rows, "a", 12, pixels=5.0)
    assert found(table(rows)) == {}


def test_the_costliest_task_of_a_host_is_told(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    rows = tasks + picture_task(host_rows, "b", 11, pixels=4.0)
    rows += picture_task(host_rows, "b", 13, pixels=8.0)
    rows += picture_task(host_rows, "b", 15, pixels=5.0)
    told = found(table(rows))
    assert {host: task.partition for host, task in told.items()} == {"b": 113}


def test_a_few_costly_images_are_no_task(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    costly = picture_task(host_rows, "b", 11, pixels=6.0)
    assert found(table(tasks + costly[:2])) == {}
    mixed = picture_task(host_rows, "b", 11)
    mixed[0] |= {"pixels": 3_000_000, "decode_ms": 3 * mixed[0]["decode_ms"]}
    assert found(table(tasks + mixed)) == {}


def test_what_cannot_be_known_is_no_skew(tasks: Rows, table: MakeTable) -> None:
    assert found(TIMING_SCHEMA.empty_table()) == {}
    assert found(table([row | {"started_at": None} for row in tasks])) == {}
    unknown = dict.fromkeys(("pixels", "detections", "decode_ms", "infer_ms", "partition"))
    assert found(table([row | unknown for row in tasks])) == {}


def test_an_image_without_an_end_does_not_hide_its_task(
    host_rows: MakeRows, tasks: Rows, table: MakeTable
) -> None:
    costly = picture_task(host_rows, "b", 11, pixels=6.0)
    costly[4] |= {"total_ms": None}
    assert {*found(table(tasks + costly))} == {"b"}
