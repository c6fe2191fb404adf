"""On folders that stand for the kernel's; real v1 groups are in the scenarios."""

from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.lab import cgroups


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    for name in cgroups.V1:
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return tmp_path


def test_v1_limits(v1: Path) -> None:
    folders = cgroups.make("lab", "slow", cpus=0.25, memory_mb=512, root=v1)
    assert folders == [v1 / name / "cluster-lab/lab/slow" for name in cgroups.V1]
    assert (v1 / "cpu/cluster-lab/lab/slow/cpu.cfs_quota_us").read_text() == "25000"
    assert (v1 / "cpu/cluster-lab/lab/slow/cpu.cfs_period_us").read_text() == "100000"
    assert (v1 / "cpu/cluster-lab/cpu.shares").read_text() == "20480"
    limit = (v1 / "memory/cluster-lab/lab/slow/memory.limit_in_bytes").read_text()
    assert limit == str(512 * 1024 * 1024)


def test_v2_limits_and_controllers_switched_on_above(v2: Path) -> None:
    (folder,) = cgroups.make("lab", "slow", cpus=0.25, memory_mb=512, root=v2)
    assert folder == v2 / "cluster-lab/lab/slow"
    assert (folder / "cpu.max").read_text() == "25000 100000"
    assert (folder / "memory.max").read_text() == str(512 * 1024 * 1024)
    assert (v2 / "cluster-lab/cpu.weight").read_text() == "2000"
    for above in (v2, v2 / "cluster-lab", v2 / "cluster-lab/lab"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


@pytest.mark.parametrize(
    ("kind", "file", "value"),
    [
        ("v1", "cpu/cluster-lab/lab/fast/cpu.cfs_quota_us", "-1"),
        ("v2", "cluster-lab/lab/fast/cpu.max", "max 100000"),
    ],
)
def test_all_cpus_are_no_limit(
    kind: str, file: str, value: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(kind)
    cgroups.make("lab", "fast", cpus=4096, memory_mb=512, root=root)
    assert (root / file).read_text() == value


def test_processes_of_a_machine_and_of_its_lab(v1: Path) -> None:
    for number, machine in enumerate(("one", "two")):
        folder, *_ = cgroups.make("lab", machine, cpus=1, memory_mb=64, root=v1)
        (folder / "init.scope").mkdir()
        (folder / "init.scope" / "cgroup.procs").write_text(f"{100 + number}\n")
    assert cgroups.processes("lab", "two", root=v1) == {101}
    assert cgroups.processes("lab", root=v1) == {100, 101}
    assert cgroups.processes("other", root=v1) == set()


def test_a_kernel_that_refuses_is_named(v2: Path) -> None:
    (v2 / "cgroup.subtree_control").mkdir()
    with pytest.raises(ClusterError, match=r"cgroup\.subtree_control"):
        cgroups.make("lab", "one", cpus=1, memory_mb=64, root=v2)
