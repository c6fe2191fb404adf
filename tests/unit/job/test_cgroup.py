import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job import cgroup

Tree = Callable[[dict[str, str]], Path]
InQuota = Callable[..., Any]

UNLIMITED_V1 = "9223372036854771712\n"
V1_MOUNTS = (
    "32 31 0:29 {cpu} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {memory} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "24 31 0:40 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
)
HYBRID_MOUNT = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2_MOUNT = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CPU = "sys/fs/cgroup/cpu,cpuacct"
MEMORY = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"


def v1_quota(level: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {
        f"{level}/cpu.cfs_quota_us": f"{quota}\n",
        f"{level}/cpu.cfs_period_us": f"{period}\n",
    }


def own_cpus() -> float:
    return float(len(os.sched_getaffinity(0)))


def v1_nested(tree: Tree) -> Path:
    return tree(
        {
            "proc/self/cgroup": (
                "4:memory:/lab/node1\n3:cpuset:/\n2:cpu,cpuacct:/lab/node1\n0::/x\n"
            ),
            "proc/self/mountinfo": V1_MOUNTS.format(cpu="/", memory="/") + HYBRID_MOUNT,
            f"{CPU}/cgroup.sane_behavior": "0\n",
            "sys/fs/cgroup/unified/cgroup.controllers": "\n",
            **v1_quota(CPU, "-1"),
            **v1_quota(f"{CPU}/lab", "25000"),
            **v1_quota(f"{CPU}/lab/node1", "20000", "40000"),
            f"{CPU}/lab/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 2500000\n",
            f"{CPU}/lab/node1/cpu.stat": "nr_periods 7\nnr_throttled 1\nthrottled_time 500000\n",
            f"{MEMORY}/memory.limit_in_bytes": UNLIMITED_V1,
            f"{MEMORY}/lab/memory.limit_in_bytes": UNLIMITED_V1,
            f"{MEMORY}/lab/node1/memory.limit_in_bytes": f"{768 << 20}\n",
        }
    )


def v2_nested(tree: Tree, top: str = "/", own: str = "/user.slice/job.scope") -> Path:
    return tree(
        {
            "proc/self/cgroup": f"0::{own}\n",
            "proc/self/mountinfo": V2_MOUNT.format(top=top),
            f"{V2}/cgroup.controllers": "cpu io memory\n",
            f"{V2}/cpu.stat": "usage_usec 99\nuser_usec 80\nsystem_usec 19\n",
            f"{V2}/user.slice/cgroup.controllers": "cpu io memory\n",
            f"{V2}/user.slice/cgroup.events": "populated 1\n",
            f"{V2}/user.slice/cpu.max": "75000 100000\n",
            f"{V2}/user.slice/memory.max": f"{2 << 30}\n",
            f"{V2}/user.slice/cpu.stat": (
                "usage_usec 50\nnr_periods 20\nnr_throttled 5\nthrottled_usec 7000\n"
            ),
            f"{V2}/user.slice/job.scope/cgroup.controllers": "cpu io memory\n",
            f"{V2}/user.slice/job.scope/cgroup.events": "populated 1\n",
            f"{V2}/user.slice/job.scope/cpu.max": "max 100000\n",
            f"{V2}/user.slice/job.scope/memory.max": "max\n",
        }
    )


def test_v1_takes_the_least_quota_and_limit_on_the_path(tree: Tree) -> None:
    root = v1_nested(tree)
    assert cgroup.cpu_quota(root) == 0.25  # the parent's, below the own 0.5
    assert cgroup.memory_limit_mb(root) == 768.0
    assert cgroup.scope("cpu", root) == root / CPU / "lab/node1"
    assert not cgroup.contained(root)


def test_v1_sums_the_throttling_of_all_levels(tree: Tree) -> None:
    assert cgroup.cpu_throttled(v1_nested(tree)) == cgroup.Throttling(
        nr_periods=17, nr_throttled=5, throttled_ms=3.0
    )


def test_v1_without_limits(tree: Tree) -> None:
    root = v1_nested(tree)
    tree(v1_quota(f"{CPU}/lab", "-1") | v1_quota(f"{CPU}/lab/node1", "-1"))
    tree({f"{MEMORY}/lab/node1/memory.limit_in_bytes": UNLIMITED_V1})
    assert cgroup.cpu_quota(root) == own_cpus()
    assert cgroup.memory_limit_mb(root) is None


def test_v2_takes_the_least_quota_and_limit_on_the_path(tree: Tree) -> None:
    root = v2_nested(tree)
    assert cgroup.cpu_quota(root) == cgroup.cpu_limit(root) == 0.75
    assert cgroup.memory_limit_mb(root) == 2048.0
    assert cgroup.cpu_throttled(root) == cgroup.Throttling(
        nr_periods=20, nr_throttled=5, throttled_ms=7.0
    )
    assert cgroup.scope("memory", root) == root / V2 / "user.slice/job.scope"
    assert not cgroup.contained(root)


def test_v2_without_limits(tree: Tree) -> None:
    root = v2_nested(tree)
    tree({f"{V2}/user.slice/cpu.max": "max 100000\n", f"{V2}/user.slice/memory.max": "max\n"})
    assert cgroup.cpu_quota(root) == own_cpus()
    assert cgroup.memory_limit_mb(root) is None


def test_a_quota_above_the_machine_changes_nothing(tree: Tree) -> None:
    root = v2_nested(tree)
    tree({f"{V2}/user.slice/cpu.max": "100000000 100000\n"})
    assert cgroup.cpu_quota(root) == own_cpus()


def test_hybrid_asks_v1_for_its_controllers_and_v2_for_the_rest(tree: Tree) -> None:
    root = v1_nested(tree)
    tree({"sys/fs/cgroup/unified/x/cgroup.events": "populated 1\n"})
    assert cgroup.levels("cpu", root)[0] == root / CPU / "lab/node1"
    assert cgroup.levels("cpuset", root) == (root / "sys/fs/cgroup/cpuset",)
    unified = root / "sys/fs/cgroup/unified"
    assert cgroup.levels(cgroup.UNIFIED, root) == (unified / "x", unified)
    assert cgroup.levels("hugetlb", root) == (unified / "x", unified)  # no v1 hierarchy has it


@pytest.mark.parametrize(
    ("path", "mounted"),
    [
        ("/docker/abc", "/docker/abc"),  # Docker: the host's path, a mount of the part below
        ("/", "/"),  # a cgroup namespace: both begin at the container
        ("/../../elsewhere", "/"),  # moved out of its namespace: only the mount is known
        ("/docker/abc", "/docker/abc/.."),  # nothing fits
    ],
)
def test_a_container_s_top_is_its_own_cgroup(tree: Tree, path: str, mounted: str) -> None:
    root = tree(
        {
            "proc/self/cgroup": f"2:cpu,cpuacct:{path}\n",
            "proc/self/mountinfo": V1_MOUNTS.format(cpu=mounted, memory="/"),
            "sys/fs/elsewhere/cpu.cfs_quota_us": "1000\n",  # must not be walked into
            "sys/fs/elsewhere/cpu.cfs_period_us": "100000\n",
            **v1_quota(CPU, "50000"),
        }
    )
    assert cgroup.levels("cpu", root) == (root / CPU,)
    assert cgroup.cpu_quota(root) == 0.5
    assert cgroup.contained(root)
    assert cgroup.scope("cpu", root) == root / CPU


def test_a_service_in_a_container_is_measured_by_the_whole_container(tree: Tree) -> None:
    root = v2_nested(tree)
    tree({f"{V2}/cgroup.events": "populated 1\n", f"{V2}/cpu.max": "50000 100000\n"})
    assert cgroup.cpu_quota(root) == 0.5
    assert cgroup.contained(root)
    assert cgroup.scope("cpu", root) == root / V2


def test_of_two_mounts_the_one_that_holds_the_process_is_taken(tree: Tree) -> None:
    root = v1_nested(tree)
    other = "60 1 0:29 /other /other rw - cgroup cgroup rw,cpu,cpuacct\n"
    tree({"proc/self/mountinfo": other + V1_MOUNTS.format(cpu="/", memory="/")})
    tree(v1_quota("other", "1000"))
    assert cgroup.cpu_quota(root) == 0.25


def test_without_cgroups_the_affinity_is_what_is_left(tmp_path: Path) -> None:
    assert cgroup.cpu_quota(tmp_path) == own_cpus()
    assert cgroup.cpu_limit(tmp_path) is None
    assert cgroup.memory_limit_mb(tmp_path) is None
    assert cgroup.cpu_throttled(tmp_path) is None
    assert cgroup.scope("cpu", tmp_path) is None
    assert not cgroup.contained(tmp_path)


def test_the_true_root_counts_no_throttling_in_v2(tree: Tree) -> None:
    root = v2_nested(tree, own="/")
    assert cgroup.cpu_throttled(root) is None
    assert cgroup.scope("cpu", root) is None


def test_affinity_limits_the_quota() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from job import cgroup; print(cgroup.cpu_quota())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) <= 1.0


BURN = """
import json, time
from job import cgroup
from job.counters import Counters
before, counters = cgroup.cpu_throttled(), Counters()
end = time.monotonic() + 0.6
while time.monotonic() < end: pass
after = cgroup.cpu_throttled()
print(json.dumps({
    "quota": cgroup.cpu_quota(), "contained": cgroup.contained(), "delta": counters.delta(),
    "times": after.nr_throttled - before.nr_throttled,
    "ms": after.throttled_ms - before.throttled_ms,
}))
"""


@pytest.mark.parametrize("container", [False, True])
def test_a_real_quota_is_seen_and_its_throttling_counted(
    in_quota: InQuota, container: bool
) -> None:
    seen = in_quota(BURN, container=container)
    assert seen["quota"] == 0.5
    assert seen["contained"] == container
    assert seen["times"] >= 2
    cpu_ms, _, throttled_ms = seen["delta"]
    assert 100 < seen["ms"] < 600
    assert 100 < throttled_ms < 600
    assert cpu_ms < 450  # half of 600 ms, and what a period may carry over
