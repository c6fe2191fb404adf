"""On folders that stand for the kernel's; real v1 groups are in the scenarios."""

from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.lab import cgroups


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    for name in (*cgroups.V1, "blkio"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-7\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
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
    assert (v1 / "cpu/cluster-lab/cpu.shares").read_text() == "10240"
    limit = (v1 / "memory/cluster-lab/lab/slow/memory.limit_in_bytes").read_text()
    assert limit == str(512 * 1024 * 1024)


def test_v2_limits_and_controllers_switched_on_above(v2: Path) -> None:
    (folder,) = cgroups.make("lab", "slow", cpus=0.25, memory_mb=512, root=v2)
    assert folder == v2 / "cluster-lab/lab/slow"
    assert (folder / "cpu.max").read_text() == "25000 100000"
    assert (folder / "memory.max").read_text() == str(512 * 1024 * 1024)
    assert (v2 / "cluster-lab/cpu.weight").read_text() == "1000"
    for above in (v2, v2 / "cluster-lab", v2 / "cluster-lab/lab"):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +cpuset +io +memory +pids"


def test_a_controller_that_the_kernel_lacks_is_not_asked_for(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("cpu memory pids\n")
    cgroups.make("lab", "slow", cpus=0.25, memory_mb=512, root=v2)
    assert (v2 / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


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


def made(root: Path, *files: str) -> list[str]:
    """What the files of the group of machine "slow" say; on v1 each begins with its hierarchy."""
    inner = "cluster-lab/lab/slow"
    paths = [
        file.replace(":", f"/{inner}/") if ":" in file else f"{inner}/{file}" for file in files
    ]
    return [(root / path).read_text().strip() for path in paths]


MIB = 1 << 20


def test_v1_a_part_of_the_memory_is_swap(v1: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v1)
    group = v1 / "memory/cluster-lab/lab/slow"
    (group / "system.slice").mkdir()
    files = ("memory:memory.limit_in_bytes", "memory:memory.memsw.limit_in_bytes")
    cgroups.set_memory("lab", "slow", 512, resident_mb=100, root=v1)
    assert made(v1, *files) == [str(100 * MIB), str(512 * MIB)]
    inside = [path.read_text() for path in group.rglob("memory.swappiness")]
    assert inside == ["60", "60"]
    cgroups.set_memory("lab", "slow", 512, root=v1)
    assert made(v1, *files) == [str(512 * MIB), "-1"]
    assert [path.read_text() for path in group.rglob("memory.swappiness")] == ["0", "0"]


def test_v1_nobody_is_killed_while_the_limit_is_low(
    v1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v1)
    write_text, written = Path.write_text, list[str]()

    def write(path: Path, value: str) -> int:
        written.append(path.name)
        return write_text(path, value)

    monkeypatch.setattr(Path, "write_text", write)
    cgroups.set_memory("lab", "slow", 512, resident_mb=100, root=v1)
    assert written.index("memory.oom_control") < written.index("memory.limit_in_bytes")
    written.clear()
    cgroups.set_memory("lab", "slow", 512, root=v1)
    assert written.index("memory.oom_control") > written.index("memory.limit_in_bytes")


def test_v2_a_part_of_the_memory_is_swap(v2: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v2)
    files = ("memory.high", "memory.swap.max", "memory.max")
    cgroups.set_memory("lab", "slow", 512, resident_mb=100, root=v2)
    assert made(v2, *files) == [str(100 * MIB), str(412 * MIB), str(512 * MIB)]
    cgroups.set_memory("lab", "slow", 512, root=v2)
    assert made(v2, *files) == ["max", "0", str(512 * MIB)]


def test_working_set_leaves_out_files_not_read_lately(v1: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v1)
    group = v1 / "memory/cluster-lab/lab/slow"
    (group / "memory.usage_in_bytes").write_text(str(300 * MIB))
    (group / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n")
    assert cgroups.working_set_mb("lab", "slow", root=v1) == 200


def test_v1_cores_and_none_in_particular(v1: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v1)
    assert made(v1, "cpuset:cpuset.cpus", "cpuset:cpuset.mems") == ["0-7", "0"]
    cgroups.set_cores("lab", "slow", {5, 3}, root=v1)
    assert made(v1, "cpuset:cpuset.cpus") == ["3,5"]
    cgroups.set_cores("lab", "slow", root=v1)
    assert made(v1, "cpuset:cpuset.cpus") == ["0-7"]


def test_v2_cores_and_none_in_particular(v2: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v2)
    cgroups.set_cores("lab", "slow", {5, 3}, root=v2)
    assert made(v2, "cpuset.cpus") == ["3,5"]
    cgroups.set_cores("lab", "slow", root=v2)
    # The kernel takes an empty line for what the group above has; nothing at all is no write.
    assert (v2 / "cluster-lab/lab/slow/cpuset.cpus").read_text() == "\n"


@pytest.mark.parametrize(
    ("kind", "file", "values"),
    [
        ("v1", "cpu.shares", ("512", "2048")),
        ("v2", "cpu.weight", ("50", "200")),
    ],
)
def test_a_machine_and_its_neighbour_weigh(
    kind: str, file: str, values: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(kind)
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=root)
    cgroups.set_weight("lab", "slow", 0.5, root=root)
    group = cgroups.beside("lab", "slow", 2, root=root)
    assert group == group.with_name("slow").with_name("slow@neighbour")
    found = [(group.with_name(name) / file).read_text() for name in ("slow", group.name)]
    assert found == list(values)


def test_v1_a_device_is_throttled_for_all(v1: Path) -> None:
    cgroups.set_disk("lab", "slow", "7:1", 2_000_000, root=v1)
    files = [v1 / f"blkio/blkio.throttle.{way}_bps_device" for way in ("read", "write")]
    assert [file.read_text() for file in files] == ["7:1 2000000"] * 2
    cgroups.set_disk("lab", "slow", "7:1", None, root=v1)
    assert [file.read_text() for file in files] == ["7:1 0"] * 2


def test_v2_a_device_is_throttled_for_the_machine(v2: Path) -> None:
    cgroups.make("lab", "slow", cpus=1, memory_mb=512, root=v2)
    cgroups.set_disk("lab", "slow", "7:1", 2_000_000, root=v2)
    assert made(v2, "io.max") == ["7:1 rbps=2000000 wbps=2000000"]
    cgroups.set_disk("lab", "slow", "7:1", None, root=v2)
    assert made(v2, "io.max") == ["7:1 rbps=max wbps=max"]


def test_a_machine_alone_is_removed(v1: Path) -> None:
    # rmdir of the kernel's folders takes their files along; that of these does not.
    for name in ("one", "two"):
        (v1 / "cpu/cluster-lab/lab" / name).mkdir(parents=True)
    cgroups.remove("lab", "one", root=v1)
    assert not cgroups.exists("lab", "one", root=v1)
    assert cgroups.exists("lab", "two", root=v1)
