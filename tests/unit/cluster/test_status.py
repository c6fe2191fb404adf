"""Over a real sshd and real HTTP; what systemd and the daemons say was recorded in a lab."""

import copy
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

import cluster.status
from cluster.daemons import DAEMONS
from cluster.inventory import Host, Inventory
from cluster.status import READERS, ClusterStatus, HostStatus, ServiceStatus, status
from tests.unit.cluster.clients.conftest import recorded
from tests.unit.cluster.conftest import Server, free_port, reachable

STARTED = 1_790_000_000
SCHEMA = json.loads(
    Path(cluster.status.__file__).with_name("status.schema.json").read_text(encoding="utf-8")
)


@dataclass
class Lab:
    """node1 has every leading daemon, node1 to node3 what reports to them; all on this machine.

    ``answers`` by path, ``units`` by name, ``written`` by file: what tests change.
    """

    inventory: Inventory
    folder: Path
    answers: dict[str, Any]
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)

    def status(self) -> ClusterStatus:
        """Its status, which keeps the schema."""
        shown = ""
        for daemon in DAEMONS:
            unit = f"{daemon.unit}.service"
            said = {
                "Id": unit,
                "LoadState": "loaded",
                "ActiveState": "active",
                "SubState": "running",
                "ExecMainStartTimestamp": f"@{STARTED}",
                "NRestarts": "0",
                **self.units.get(unit, {}),
            }
            shown += "".join(f"{key}={value}\n" for key, value in said.items()) + "\n"
        (self.folder / "systemctl.out").write_text(shown, encoding="utf-8")
        times = "".join(f"{at} {name}\n" for name, at in self.written.items())
        (self.folder / "stat.out").write_text(times, encoding="utf-8")
        found = status(self.inventory)
        jsonschema.validate({"inventory": "x", **json.loads(json.dumps(found.to_json()))}, SCHEMA)
        return found


def host_of(found: ClusterStatus, name: str) -> HostStatus:
    return next(host for host in found.hosts if host.host == name)


def service_of(found: ClusterStatus, name: str, service: str) -> ServiceStatus:
    return next(each for each in host_of(found, name).services if each.service == service)


@pytest.fixture
def lab(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # Only for what status asks: the shell's own start-up files may use these programs, too.
    for program, asked, does in (
        ("systemctl", "*hdfs-datanode.service*", f"cat {tmp_path}/systemctl.out"),
        ("stat", "*/etc/hadoop/conf/*", f"cat {tmp_path}/stat.out"),
        ("readlink", "/opt/spark", "echo /opt/spark-3.5.5"),
    ):
        stub = server.folder / "bin" / program
        stub.write_text(
            f'#!/bin/sh\ncase "$*" in {asked}) {does}; exit;; esac\nexec /usr/bin/{program} "$@"\n',
            encoding="utf-8",
        )
        stub.chmod(0o755)
    beans = "/jmx?qry=Hadoop%3Aservice%3DNameNode%2Cname%3D"
    answers = {
        f"{beans}NameNodeInfo": recorded("namenode-info"),
        f"{beans}FSNamesystem": recorded("namenode-fsnamesystem"),
        "/ws/v1/cluster/info": recorded("resourcemanager-info"),
        "/ws/v1/cluster/metrics": recorded("resourcemanager-metrics"),
        "/ws/v1/cluster/nodes": recorded("resourcemanager-nodes"),
        "/ws/v1/cluster/apps": recorded("resourcemanager-apps"),
        "/json/": recorded("master"),
        "/api/v1/version": recorded("history-version"),
    }

    class Daemons(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path, answers.get(urlsplit(self.path).path))
            body = json.dumps(found).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    leading = frozenset({*READERS, "edge"})
    reporting = frozenset({"hdfs_datanode", "yarn_nodemanager", "spark_worker"})
    hosts = tuple(
        Host(
            name=host.name,
            groups=reporting | (leading if host.name == "node1" else frozenset()),
            variables=host.variables,
        )
        for host in reachable(server, tmp_path, "node1", "node2", "node3").hosts
    )
    inventory = Inventory(path=tmp_path, hosts=hosts, groups=leading | reporting, children={})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemons) as daemons:
        threading.Thread(target=daemons.serve_forever, daemon=True).start()
        ports = {group: (daemons.server_address[1], read) for group, (_, read) in READERS.items()}
        monkeypatch.setattr(cluster.status, "READERS", ports)
        yield Lab(inventory=inventory, folder=tmp_path, answers=answers)
        daemons.shutdown()


def test_all_is_ready(lab: Lab) -> None:
    found = lab.status()
    assert found.ready
    assert [host.host for host in found.hosts] == ["node1", "node2", "node3"]
    assert {service.service for service in host_of(found, "node1").services} == {
        daemon.group for daemon in DAEMONS
    }
    states = {service.service: service.state for service in host_of(found, "node1").services}
    assert states == {
        "hdfs_namenode": "serving",
        "hdfs_datanode": "live",
        "yarn_resourcemanager": "started",
        "yarn_nodemanager": "running",
        "spark_master": "alive",
        "spark_worker": "alive",
        "spark_history": "serving",
    }
    for host in found.hosts:
        for service in host.services:
            assert (service.since, service.changed, service.restarts) == (STARTED, (), 0)
            hadoop = service.service.startswith(("hdfs", "yarn"))
            assert service.version == ("3.5.0" if hadoop else "3.5.5")
    node = service_of(found, "node3", "yarn_nodemanager").amounts
    worker = service_of(found, "node3", "spark_worker").amounts
    assert node and node.memory_mb > 1000 and node.vcores >= 1
    assert worker and worker.memory_mb > 1000 and worker.vcores >= 1
    assert found.namenode and found.namenode.capacity_bytes > 0


def test_a_namenode_in_safe_mode_is_not_ready(lab: Lab) -> None:
    info = next(key for key in lab.answers if key.endswith("NameNodeInfo"))
    lab.answers[info]["beans"][0]["Safemode"] = "Safe mode is ON. 2 blocks are missing."
    found = lab.status()
    namenode = service_of(found, "node1", "hdfs_namenode")
    assert (namenode.ready, namenode.state) == (False, "safe mode")
    assert "2 blocks are missing" in namenode.why
    assert not found.ready


def test_a_lost_host_is_named_by_those_that_miss_it(lab: Lab) -> None:
    info = next(key for key in lab.answers if key.endswith("NameNodeInfo"))
    bean = lab.answers[info]["beans"][0]
    live = json.loads(bean["LiveNodes"])
    del live["node2:9866"]
    gone = live.pop("node3:9866")
    dead = {"node3:9866": {**gone, "lastContact": 77, "decommissioned": False}}
    bean["LiveNodes"], bean["DeadNodes"] = json.dumps(live), json.dumps(dead)
    for node in lab.answers["/ws/v1/cluster/nodes"]["nodes"]["node"]:
        if node["nodeHostName"] == "node3":
            node["state"] = "LOST"
    for worker in lab.answers["/json/"]["workers"]:
        if worker["host"] == "node3":
            worker["state"] = "DEAD"
    found = lab.status()
    said = {service.service: service for service in host_of(found, "node3").services}
    assert {name: (s.ready, s.state) for name, s in said.items()} == {
        "hdfs_datanode": (False, "dead"),
        "yarn_nodemanager": (False, "lost"),
        "spark_worker": (False, "dead"),
    }
    assert said["hdfs_datanode"].why == "the NameNode has not heard of it for 77 s"
    unknown = service_of(found, "node2", "hdfs_datanode")
    assert (unknown.ready, unknown.why) == (False, "the NameNode does not know it")
    assert service_of(found, "node1", "hdfs_datanode").ready


def test_one_that_came_back_is_listed_twice_and_ready(lab: Lab) -> None:
    workers = lab.answers["/json/"]["workers"]
    before = {**copy.deepcopy(workers[0]), "state": "DEAD", "cores": 0}
    workers.insert(0, before)
    nodes = lab.answers["/ws/v1/cluster/nodes"]["nodes"]["node"]
    nodes.insert(0, {**copy.deepcopy(nodes[0]), "state": "LOST"})
    assert lab.status().ready


def test_a_dead_namenode_hides_nothing_else(lab: Lab) -> None:
    for path in [path for path in lab.answers if path.startswith("/jmx")]:
        del lab.answers[path]
    lab.units["hdfs-namenode.service"] = {
        **{"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "7"}
    }
    found = lab.status()
    namenode = service_of(found, "node1", "hdfs_namenode")
    assert (namenode.ready, namenode.state) == (False, "activating (auto-restart)")
    assert (namenode.why, namenode.restarts) == (
        "see `journalctl -u hdfs-namenode` there",
        7,
    )
    assert namenode.since is None
    datanode = service_of(found, "node2", "hdfs_datanode")
    assert (datanode.state, datanode.why) == ("unknown", "hdfs_namenode does not answer")
    assert service_of(found, "node2", "yarn_nodemanager").ready
    assert service_of(found, "node1", "spark_history").ready
    assert found.namenode is None and found.resource_manager is not None


def test_a_daemon_that_systemd_runs_and_that_does_not_answer(lab: Lab) -> None:
    del lab.answers["/api/v1/version"]
    history = service_of(lab.status(), "node1", "spark_history")
    assert (history.ready, history.state) == (False, "no answer")
    assert re.fullmatch(r"http://127.0.0.1:\d+/api/v1/version answers 404 Not Found\.", history.why)


def test_a_stopped_daemon_that_nobody_misses_yet_is_not_ready(lab: Lab) -> None:
    lab.units["yarn-nodemanager.service"] = {"ActiveState": "failed", "SubState": "failed"}
    lab.units["spark-worker.service"] = {
        **{"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"},
        "ExecMainStartTimestamp": "",
    }
    found = lab.status()
    node = service_of(found, "node2", "yarn_nodemanager")
    assert (node.ready, node.state, node.amounts) == (False, "failed", None)
    assert service_of(found, "node2", "spark_worker").state == "not installed"


@pytest.mark.parametrize(
    ("started", "why"),
    [("", "has not been started: `cluster deploy`"), (f"@{STARTED}", "was stopped: `systemctl")],
)
def test_an_inactive_daemon_was_stopped_or_never_started(lab: Lab, started: str, why: str) -> None:
    lab.units["hdfs-datanode.service"] = {
        **{"ActiveState": "inactive", "SubState": "dead", "ExecMainStartTimestamp": started}
    }
    assert why in service_of(lab.status(), "node1", "hdfs_datanode").why


def test_files_newer_than_the_daemon_that_read_them_are_named(lab: Lab) -> None:
    unit = "/etc/systemd/system/yarn-nodemanager.service"
    lab.written = {
        **dict.fromkeys(
            ("/etc/hadoop/conf/core-site.xml", "/etc/spark/conf/spark-env.sh"), STARTED
        ),
        "/etc/hadoop/conf/hdfs-site.xml": STARTED + 1,
        unit: STARTED + 60,
    }
    found = lab.status()
    changed = {service.service: service.changed for service in host_of(found, "node1").services}
    assert changed == {
        **dict.fromkeys(("yarn_resourcemanager", "spark_master", "spark_worker"), ()),
        **dict.fromkeys(("hdfs_namenode", "hdfs_datanode"), ("/etc/hadoop/conf/hdfs-site.xml",)),
        **{"yarn_nodemanager": (unit,), "spark_history": ()},
    }
    assert found.ready


def test_a_dead_edge_host_hides_nothing_else(lab: Lab) -> None:
    """node1 answers no SSH: node2's daemons are asked from node2 itself."""
    node1, node2, node3 = lab.inventory.hosts
    dead = Host(
        name="node1",
        groups=frozenset({"edge", "hdfs_datanode"}),
        variables={**node1.variables, "ansible_port": free_port()},
    )
    leading = Host(name="node2", groups=node1.groups - {"edge"}, variables=node2.variables)
    lab.inventory = Inventory(
        path=lab.folder,
        hosts=(dead, leading, node3),
        groups=lab.inventory.groups,
        children={},
    )
    found = lab.status()
    assert "node1" in host_of(found, "node1").error and "SSH" in host_of(found, "node1").error
    assert not found.ready
    # The NameNode still hears of it.
    datanode = service_of(found, "node1", "hdfs_datanode")
    assert (datanode.ready, datanode.state, datanode.since) == (True, "live", None)
    assert all(service.ready for service in host_of(found, "node2").services)
    assert all(service.ready for service in host_of(found, "node3").services)


def test_no_host_can_be_reached(lab: Lab) -> None:
    hosts = tuple(
        Host(name=h.name, groups=h.groups, variables={**h.variables, "ansible_port": free_port()})
        for h in lab.inventory.hosts
    )
    lab.inventory = Inventory(
        path=lab.folder, hosts=hosts, groups=lab.inventory.groups, children={}
    )
    found = lab.status()
    assert all(host.error for host in found.hosts)
    assert not any(service.ready for host in found.hosts for service in host.services)
