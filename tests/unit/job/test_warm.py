"""What Spark's driver logs of containers that ended; the first of the lines is a lab's."""

import pytest

from job.warm import failures

LOST = (
    "2026-11-26 05:33:12 WARN YarnSchedulerBackend$YarnSchedulerEndpoint: Requesting driver to"
    " remove executor 3 for reason Container marked as failed: container_1795670290071_0006_01_0004"
    " on host: node2. Exit status: -100. Diagnostics: Container released on a *lost* node.\n"
)
FULL = (
    "2026-11-26 05:34:12 WARN YarnSchedulerBackend$YarnSchedulerEndpoint: Requesting driver to"
    " remove executor 4 for reason Container from a bad node: container_1795670290071_0006_01_0005"
    " on host: node3.lab. Exit status: -1000. Diagnostics: [2026-11-26 05:34:11.102]Failed to"
    " download resource\njava.io.IOException: No space left on device\n\tat java.base/sun.nio\n"
)
OTHER = "2026-11-26 05:35:00 WARN Client: Neither spark.yarn.jars nor spark.yarn.archive is set\n"


@pytest.mark.parametrize("log", [OTHER + LOST + FULL + OTHER, FULL + LOST, LOST + OTHER + FULL])
def test_hosts_whose_container_ended_and_why(log: str) -> None:
    assert failures(log) == {
        "node2": "Container released on a *lost* node",
        "node3": "a disk with YARN's folders is full: make room there",
    }


def test_the_last_end_counts_and_other_lines_do_not() -> None:
    later = FULL.replace("node3.lab", "node2")
    assert "disk" in failures(LOST + later)["node2"]
    assert "lost" in failures(later + LOST)["node2"]
    assert failures(OTHER) == {}
