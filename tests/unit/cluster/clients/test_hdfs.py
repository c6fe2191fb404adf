import pytest

from cluster.clients.hdfs import namenode
from cluster.clients.rest import UnknownAnswerError
from tests.unit.cluster.clients.conftest import client, recorded

BEANS = "/jmx?qry=Hadoop%3Aservice%3DNameNode%2Cname%3D"


def answers(info: str = "namenode-info") -> dict[str, object]:
    return {
        f"{BEANS}NameNodeInfo": recorded(info),
        f"{BEANS}FSNamesystem": recorded("namenode-fsnamesystem"),
    }


def test_a_working_namenode() -> None:
    with client(answers()) as daemon:
        found = namenode(daemon)
    assert (found.version, found.safe_mode) == ("3.5.0", "")
    assert found.started_at == pytest.approx(1_795_543_000, abs=1000)
    assert found.capacity_bytes == 3 * 10_195_587_072
    assert (found.missing_blocks, found.under_replicated_blocks) == (0, 0)
    nodes = {node.host: node for node in found.datanodes}
    assert sorted(nodes) == ["node1", "node2", "node3"]
    for node in nodes.values():
        assert (node.alive, node.state, node.version) == (True, "In Service", "3.5.0")
        assert (node.capacity_bytes, node.failed_volumes) == (10_195_587_072, 0)


def test_a_dead_datanode() -> None:
    with client(answers("namenode-info-dead-node")) as daemon:
        found = namenode(daemon)
    alive = {node.host: node.alive for node in found.datanodes}
    assert alive == {"node1": True, "node3": True, "node2": False}
    dead = next(node for node in found.datanodes if not node.alive)
    assert (dead.last_contact_s, dead.version, dead.capacity_bytes) == (223, None, 0)


def test_a_namenode_without_its_beans_may_be_starting() -> None:
    with (
        client({"/jmx": {"beans": []}}) as daemon,
        pytest.raises(UnknownAnswerError, match=r"has no bean .*NameNodeInfo: it may be starting"),
    ):
        namenode(daemon)


def test_another_version_is_named_by_the_field_that_is_missing() -> None:
    said = answers()
    del said[f"{BEANS}NameNodeInfo"]["beans"][0]["LiveNodes"]  # type: ignore[index]
    with (
        client(said) as daemon,
        pytest.raises(UnknownAnswerError, match=r"/jmx .*LiveNodes is missing"),
    ):
        namenode(daemon)
