import threading
import time
from dataclasses import dataclass, field

import pytest

from job.parts import HANDING_OVER_SHARE, PartWriter
from job.timing import ImageRecord


@dataclass
class SlowSink:
    """Takes parts while it is open, and remembers them."""

    taken: list[tuple[str, int]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def put(self, name: str, text: str) -> None:
        assert self.open.wait(10)
        if self.error:
            raise self.error
        self.taken.append((name, text.count("\n")))

    def last(self, name: str, text: str) -> None:
        self.taken.append((f"last {name}", text.count("\n")))


def add(writer: PartWriter, count: int) -> None:
    for number in range(count):
        writer.add(ImageRecord(image_id=f"{number}.jpg", width=1, height=1))


def until(writer: PartWriter, sink: SlowSink, parts: int) -> None:
    """Add images until the sink has so many parts."""
    ends = time.monotonic() + 10
    while len(sink.taken) < parts:
        assert time.monotonic() < ends
        add(writer, 1)
        time.sleep(0.001)


def test_images_do_not_wait_for_a_part_that_is_handed_over() -> None:
    sink = SlowSink()
    writer = PartWriter(sink, "part", seconds=0)
    add(writer, 20)  # the first one is on its way; or this would wait for ever
    assert sink.taken == []
    sink.open.set()
    writer.close()
    assert sink.taken == [("part-00000-n1.jsonl", 1), ("last part-00001-n19.jsonl", 19)]


def test_what_the_sink_raised_is_raised_in_the_task() -> None:
    sink = SlowSink(error=OSError("no space"))
    sink.open.set()
    writer = PartWriter(sink, "part", seconds=0)
    with pytest.raises(OSError, match="no space"):
        until(writer, sink, 1)
    writer = PartWriter(sink, "part", seconds=0)
    add(writer, 1)
    with pytest.raises(OSError, match="no space"):
        writer.close()


def test_parts_come_as_often_as_they_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = SlowSink()
    sink.open.set()
    writer = PartWriter(sink, "part", seconds=0.0)
    until(writer, sink, 3)
    slow = sink.put

    def take(name: str, text: str) -> None:
        time.sleep(0.05)
        slow(name, text)

    monkeypatch.setattr(sink, "put", take)
    until(writer, sink, 4)
    began = time.monotonic()
    until(writer, sink, 5)
    assert time.monotonic() - began > 0.8 * 0.05 / HANDING_OVER_SHARE
    writer.close()


def test_of_no_image_there_is_no_part() -> None:
    sink = SlowSink()
    PartWriter(sink, "part").close()
    assert sink.taken == []
