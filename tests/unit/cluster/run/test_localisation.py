from pathlib import Path

import pytest

from cluster.run.localisation import Localised, localised_in

# Of a lab's host: two archives of everyone's and one of a job, unpacked from 60,009,417, 1,203 and
# 1,203 bytes; a second container then found them there.
JOURNAL = (Path(__file__).parent / "recorded" / "nodemanager-journal.txt").read_text("utf-8")
ARCHIVES = ("environment-0123.tar.gz", "second.tar.gz", "own.tar.gz")
BEGAN, ENDED = 1795668592.823979, 1795668594.140711


def found(*names: str, journal: str = JOURNAL, since: float = 0) -> dict[str, Localised]:
    listed = localised_in(journal, host="node1", names=names, since=since)
    assert {each.host for each in listed} <= {"node1"}
    return {each.name: each for each in listed}


def test_each_file_with_its_time_and_size() -> None:
    listed = found(*ARCHIVES)
    assert {name: each.bytes for name, each in listed.items()} == {
        "environment-0123.tar.gz": 60_000_000,
        "second.tar.gz": 1000,
        "own.tar.gz": 1000,
    }
    environment, own = listed["environment-0123.tar.gz"], listed["own.tar.gz"]
    assert environment.started_at == pytest.approx(BEGAN, abs=1e-6)
    assert environment.seconds == pytest.approx(ENDED - BEGAN, abs=1e-6)
    # A job's own come by one download after the other.
    assert own.seconds == pytest.approx(3.288, abs=1e-3)


def test_only_those_that_are_named() -> None:
    assert list(found("own.tar.gz", "n.tar.gz", "environment-0123")) == ["own.tar.gz"]


def test_what_was_there_already_has_no_line() -> None:
    assert found(*ARCHIVES, since=1795668600) == {}
    later = "".join(line for line in JOURNAL.splitlines(True) if line > "1795668600")
    assert "environment-0123.tar.gz of type REQUEST" in later
    assert found(*ARCHIVES, journal=later) == {}


def test_what_was_on_its_way_is_counted_from_then() -> None:
    (environment,) = found("environment-0123.tar.gz", since=BEGAN + 1).values()
    assert environment.started_at == BEGAN + 1
    assert environment.seconds == pytest.approx(ENDED - BEGAN - 1, abs=1e-6)


def test_what_is_still_on_its_way_is_not_told() -> None:
    begun = "".join(line for line in JOURNAL.splitlines(True) if line < "1795668593.5")
    assert list(found(*ARCHIVES, journal=begun)) == ["second.tar.gz"]


def test_a_download_that_failed_and_came_later_is_counted_once() -> None:
    failed = (
        "1795668000.100000 node1 yarn[1]: DEBUG localizer.LocalizedResource: Resource"
        " hdfs://node1:8020/apps/envs/environment-0123.tar.gz size : -1 transitioned"
        " from {} to {}\n"
    )
    before = failed.format("INIT", "DOWNLOADING") + failed.format("DOWNLOADING", "FAILED")
    (environment,) = found("environment-0123.tar.gz", journal=before + JOURNAL).values()
    assert environment.started_at == pytest.approx(BEGAN, abs=1e-6)
