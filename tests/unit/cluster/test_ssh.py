"""Against a real sshd on a port of the loopback interface."""

import getpass
import http.server
import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from cluster.errors import ClusterError
from cluster.inventory import Host, Inventory
from cluster.ssh import Fleet, SshError, ssh_config
from job.errors import UsageError
from tests.unit.cluster.conftest import (
    SUDO,
    Server,
    free_port,
    inventory,
    keygen,
    reachable,
)


def refusal(fleet_of: Inventory) -> str:
    """The sentence with which a connection is refused."""
    with Fleet(fleet_of) as fleet, pytest.raises(SshError) as caught:
        fleet.run(fleet_of.hosts[0], "true", timeout=10)
    sentence = str(caught.value)
    assert "node1" in sentence and "\n" not in sentence
    return sentence


def test_a_command_gives_its_output_and_its_code(server: Server, tmp_path: Path) -> None:
    found = reachable(server, tmp_path)
    node = found["node1"]
    with Fleet(found) as fleet:
        done = fleet.run(node, "echo out; echo 'some error' >&2; cat; exit 3")
        assert (done.code, done.ok, done.stdout, done.stderr) == (3, False, "out\n", "some error\n")
        with pytest.raises(ClusterError, match="on node1 exited with 3: some error"):
            done.check()
        with pytest.raises(ClusterError, match=r"^`false; .{40,80} \.\.\.` on node1 exited"):
            fleet.run(node, f"false; {'exit 1; ' * 20}").check()
        assert fleet.run(node, "printf 'ü'").check().stdout == "ü"


def test_sudo_takes_the_whole_command(server: Server, tmp_path: Path) -> None:
    found = reachable(server, tmp_path)
    node = found["node1"]
    with Fleet(found) as fleet:
        done = fleet.run(node, "echo 'a  b'; echo $BY_SUDO | tr y Y; exit 4", sudo=True)
        assert (done.code, done.stdout) == (4, "a  b\nYes\n")
        (server.folder / "bin" / "sudo").write_text(
            SUDO.replace("$WANTS_PASSWORD", "always"), encoding="utf-8"
        )
        try:
            with pytest.raises(ClusterError, match="cannot use sudo on node1 without a password"):
                fleet.run(node, "true", sudo=True)
        finally:
            (server.folder / "bin" / "sudo").write_text(SUDO, encoding="utf-8")


def test_a_command_that_takes_too_long_is_named(server: Server, tmp_path: Path) -> None:
    found = reachable(server, tmp_path)
    with Fleet(found) as fleet:
        with pytest.raises(ClusterError, match="node1 was not done in 1 s with `sleep 30`"):
            fleet.run(found["node1"], "sleep 30", timeout=1)
        assert fleet.run(found["node1"], "echo on").stdout == "on\n"


def test_an_unknown_host_key_is_refused_and_not_added(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.touch()
    args = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=no"
    sentence = refusal(reachable(server, tmp_path, ansible_ssh_common_args=args))
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host.pub"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert "is not known" in sentence and fingerprint in sentence and str(known) in sentence
    assert known.read_text(encoding="utf-8") == ""


def test_a_changed_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    known = server.known_hosts(keygen(tmp_path / "other"))
    args = f"-o UserKnownHostsFile={known}"
    sentence = refusal(reachable(server, tmp_path, ansible_ssh_common_args=args))
    assert f"is not the one in {known}" in sentence


def test_a_key_that_the_host_does_not_take_is_named(server: Server, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    for name, says in (("stranger", ""), ("lost", ", which is not there")):
        key = tmp_path / name
        sentence = refusal(
            reachable(
                server, tmp_path, ansible_ssh_private_key_file=str(key), ansible_user="nobody"
            )
        )
        assert f"refuses the login of nobody with {key}{says}: set ansible_user" in sentence


def test_a_dead_port_and_a_silent_one_cannot_be_reached(server: Server, tmp_path: Path) -> None:
    dead = free_port()
    sentence = refusal(reachable(server, tmp_path, ansible_port=dead))
    assert f"node1 (127.0.0.1 port {dead}) cannot be reached by SSH" in sentence
    assert "see that it is up" in sentence
    down = refusal(reachable(server, tmp_path, ansible_port=dead, lab_memory_mb=4096))
    assert f"start the lab: `cluster -i {tmp_path} lab up`" in down
    with socket.create_server(("127.0.0.1", 0)) as silent:
        args = f"-o ConnectTimeout=1 -o UserKnownHostsFile={server.known_hosts()}"
        port = silent.getsockname()[1]
        begun = time.monotonic()
        refusal(reachable(server, tmp_path, ansible_port=port, ansible_ssh_common_args=args))
        assert time.monotonic() - begun < 5
    assert "cannot be reached" in refusal(
        reachable(server, tmp_path, ansible_host="no-such-host.invalid")
    )


def processes(group: int) -> list[str]:
    """The commands of a process group; what has ended and waits for its parent is none."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,comm="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [name for pgid, state, name in rows if int(pgid) == group and state[0] != "Z"]


def test_the_labs_ssh_config_names_key_known_hosts_and_proxy(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / ".lab").mkdir()
    pid = tmp_path / "pid"
    # As that of a lab of systemd-nspawn, which goes into a network namespace on top.
    relay = f"echo $$ > {pid}; exec 3<>/dev/tcp/%h/%p || exit 1; cat <&3 & cat >&3; kill $!"
    (tmp_path / ".lab" / "ssh_config").write_text(
        f"Host 127.0.0.9 node1\n  HostName 127.0.0.1\n  User {getpass.getuser()}\n"
        f"  Port {server.port}\n  IdentityFile {server.key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {server.known_hosts()}\n"
        f"  ProxyCommand bash -c '{relay}'\n",
        encoding="utf-8",
    )
    found = inventory(
        tmp_path, "node1", ansible_host="127.0.0.9", ansible_ssh_common_args="-F elsewhere"
    )
    with Fleet(found) as fleet:
        assert fleet.run(found["node1"], "echo through").stdout == "through\n"
        group = int(pid.read_text(encoding="utf-8"))
        assert len(processes(group)) == 3
    deadline = time.monotonic() + 5
    while processes(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_proxy_that_fails_says_why(server: Server, tmp_path: Path) -> None:
    args = "-o 'ProxyCommand=sh -c \"echo the lab is down >&2; exit 1\"'"
    begun = time.monotonic()
    sentence = refusal(reachable(server, tmp_path, ansible_ssh_common_args=args))
    assert "cannot be reached by SSH: the lab is down" in sentence
    assert time.monotonic() - begun < 5


def test_a_jump_host_is_gone_through_with_its_key_checked(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "config"
    bastion = (
        f"Host bastion\n  HostName 127.0.0.1\n  Port {server.port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {server.key}\nHost *\n  UserKnownHostsFile "
    )
    args = f"-F {file} -J bastion -C -o IdentitiesOnly=yes"
    found = reachable(server, tmp_path, ansible_ssh_common_args=args)
    file.write_text(bastion + f"{server.known_hosts()}\n", encoding="utf-8")
    with Fleet(found) as fleet:
        at_the_host = fleet.run(found["node1"], "echo $SSH_CONNECTION").check().stdout
    assert at_the_host.split()[3] == str(server.port)
    file.write_text(bastion + "/dev/null\n", encoding="utf-8")
    sentence = refusal(found)
    assert "cannot be reached by SSH: Host key verification failed; see that" in sentence


def test_ansibles_variables_go_over_the_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("User file\nCompression yes\nHost 10.0.0.5\n  Port 23\n", encoding="utf-8")
    variables = {
        "ansible_host": "10.0.0.5",
        "ansible_user": "ansible",
        "ansible_port": 2222,
        "ansible_ssh_common_args": f"-F {file} -o ConnectTimeout=3",
    }
    host = Host(name="node1", groups=frozenset(), variables=variables)
    found = ssh_config(host, tmp_path).lookup("10.0.0.5")
    assert (found["user"], found["port"], found["connecttimeout"]) == ("ansible", "2222", "3")
    assert found["compression"] == "yes"
    file.unlink()
    with pytest.raises(UsageError, match=f"node1: .* names {file}, which is not there"):
        ssh_config(host, tmp_path)


def test_a_fan_out_gives_each_hosts_result_or_its_error(server: Server, tmp_path: Path) -> None:
    good = reachable(server, tmp_path, "node1", "node2")
    bad = reachable(server, tmp_path, "node3", ansible_port=free_port())
    found = Inventory(path=tmp_path, hosts=good.hosts + bad.hosts, groups=good.groups)
    together = threading.Barrier(2, timeout=10)

    with Fleet(found) as fleet:

        def ask(host: Host) -> str:
            said = fleet.run(host, f"echo {host.name}").stdout
            together.wait()
            return said

        outcome = fleet.fan_out(found.hosts, ask)
        assert list(outcome) == ["node1", "node2", "node3"]
        assert (outcome["node1"], outcome["node2"]) == ("node1\n", "node2\n")
        assert isinstance(outcome["node3"], SshError)
        with pytest.raises(ZeroDivisionError):
            fleet.fan_out(found.hosts, lambda _: 1 / 0)


class Daemon(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/old":
            self.send_response(302)
            self.send_header("Location", "/new?kept=1")
            self.end_headers()
            return
        body = json.dumps({"path": self.path, "host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_http_goes_through_the_edge_host(server: Server, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        port = daemon.server_address[1]
        found = reachable(server, tmp_path)
        with Fleet(found) as fleet, fleet.http(found["node1"], port) as client:
            for _ in range(2):
                answer = client.get("/old").json()
                assert answer == {"path": "/new?kept=1", "host": f"127.0.0.1:{port}"}
        daemon.shutdown()


def test_http_says_when_nothing_listens(server: Server, tmp_path: Path) -> None:
    found = reachable(server, tmp_path)
    with (
        Fleet(found) as fleet,
        fleet.http(found["node1"], free_port()) as client,
        pytest.raises(httpx.TransportError, match="Connect failed"),
    ):
        client.get("/")
