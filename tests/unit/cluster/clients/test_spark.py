import pytest

from cluster.clients.rest import UnknownAnswerError
from cluster.clients.spark import history_version, master
from tests.unit.cluster.clients.conftest import client, recorded


def test_a_master_and_its_workers() -> None:
    with client({"/json/": recorded("master")}) as daemon:
        found = master(daemon)
    assert found.status == "ALIVE"
    workers = {worker.host: worker for worker in found.workers}
    assert sorted(workers) == ["node1", "node2", "node3"]
    for worker in workers.values():
        assert worker.state == "ALIVE"
        assert worker.cores == 2 and worker.memory_mb > 1000
    (application,) = found.applications
    assert (application.name, application.user, application.state) == (
        *("PythonPi", "cluster", "RUNNING"),
    )
    assert sum(worker.used_cores for worker in found.workers) == 6


def test_the_history_server() -> None:
    with client({"/api/v1/version": recorded("history-version")}) as daemon:
        assert history_version(daemon) == "3.5.5"


def test_another_answer_is_refused() -> None:
    said = recorded("master")
    said["workers"][0]["cores"] = "2"
    with (
        client({"/json/": said}) as daemon,
        pytest.raises(UnknownAnswerError, match=r"/json/ workers\[0\]: cores is '2'"),
    ):
        master(daemon)
