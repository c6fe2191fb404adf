"""The command as a user gives it, against a real sshd on the loopback interface."""

from pathlib import Path

import pytest
import yaml

from tests.unit.cluster.cli.conftest import SAMPLES, Cluster
from tests.unit.cluster.conftest import Server, reachable


@pytest.mark.parametrize(
    "command",
    [("env", "push"), ("env", "gc"), ("run", "--mode", "yarn"), ("run", "--mode", "standalone")],
)
def test_before_a_deployment_it_is_said_that_one_is_missing(
    cluster: Cluster,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    built, output = tmp_path / "cache", tmp_path / "out"
    monkeypatch.setenv("CLUSTER_CACHE", str(built))
    (host,) = reachable(server, tmp_path).hosts
    edge = {"hosts": {host.name: dict(host.variables)}}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"children": {"edge": edge}}}), encoding="utf-8")
    if command[0] == "run":
        command = (*command, "--input", str(SAMPLES), "--output", str(output))
    done = cluster("-i", path, *command)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Error: Nothing was deployed to node1 yet: run `cluster -i {path} deploy` first."
    )
    # Building an environment takes minutes.
    assert not built.exists() and not output.exists()
