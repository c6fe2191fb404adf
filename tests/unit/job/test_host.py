import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from job.host import executor_id, host_facts, threads_for

Tree = Callable[[dict[str, str]], Path]

CPUINFO = (
    "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx512f {}\nbugs\t\t:\n\n"
    "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu amx_bf16\n"
)
FILES = {
    "proc/cpuinfo": CPUINFO.format("avx2"),
    "proc/meminfo": "MemTotal:        2097152 kB\nMemFree:  1 kB\n",
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
    "cg/cpu.max": "25000 100000\n",
    "cg/memory.max": "max\n",
}


def test_facts_of_this_machine() -> None:
    facts = host_facts()
    assert facts.cpus_visible == os.cpu_count()
    assert 0 < facts.cpus_quota <= facts.cpus_visible
    assert facts.memory_mb > 64
    assert "." not in facts.host
    assert json.loads(json.dumps(facts.to_dict())) == facts.to_dict()
    assert facts.to_dict()["host"] == facts.host


def test_facts_of_a_limited_machine(tree: Tree) -> None:
    root = tree(FILES)
    assert host_facts(root).cpus_quota == 0.25
    assert host_facts(root).cpu_model == "AMD EPYC"
    assert host_facts(root).memory_mb == 2048
    tree({"cg/memory.max": str(512 << 20)})
    assert host_facts(root).memory_mb == 512
    tree({"cg/memory.max": str(8 << 30)})
    assert host_facts(root).memory_mb == 2048


@pytest.mark.parametrize(
    ("flag", "has"),
    [("avx512_bf16", True), ("amx_bf16 avx2", True), ("avx512_fp16", False), ("no_bf16", False)],
)
def test_bfloat16_is_a_flag_of_the_cpu(tree: Tree, flag: str, has: bool) -> None:
    assert host_facts(tree(FILES | {"proc/cpuinfo": CPUINFO.format(flag)})).bf16 is has


@pytest.mark.parametrize(
    ("quota", "slots", "threads"),
    [(0.25, 1, 1), (1.4, 1, 1), (1.5, 1, 2), (2.0, 1, 2), (2.5, 1, 3), (4.0, 2, 2), (1.0, 4, 1)],
)
def test_threads_are_the_nearest_whole_number(quota: float, slots: int, threads: int) -> None:
    assert threads_for(quota, slots) == threads


@pytest.mark.parametrize(("quota", "slots"), [(0.0, 1), (-1.0, 1), (2.0, 0)])
def test_threads_need_something_to_share(quota: float, slots: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        threads_for(quota, slots)


def test_the_executor_is_named_by_the_jvm_above_the_worker(tree: Tree) -> None:
    me = os.getpid()
    root = tree(
        {
            f"proc/{me}/cmdline": "\0".join(["python", "-m", "pyspark.worker"]),
            f"proc/{me}/stat": f"{me} (python (x)) S 70 1 1",
            "proc/70/cmdline": "\0".join(["python", "-m", "pyspark.daemon"]),
            "proc/70/stat": "70 (python) S 60 1 1",
            "proc/60/cmdline": "\0".join(["java", "Backend", "--executor-id", "7", "--cores", "1"]),
        }
    )
    assert executor_id(root) == "7"


def test_without_such_a_jvm_it_is_the_driver() -> None:
    assert executor_id() == "driver"
