import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from job.sampler import Probe, Row, Sampler
from job.schemas import HOST_SCHEMA

Tree = Callable[[dict[str, str]], Path]
InQuota = Callable[..., Any]

DESIGN = (
    "host at source cpu_busy cpu_steal throttled psi_cpu psi_io psi_memory rss_mb major_faults "
    "swap_in swap_out disk_read_mbs disk_write_mbs disk_await_ms net_rx_mbs net_tx_mbs mhz"
)
MB = 10**6


def pressure(micros: int) -> str:
    return (
        f"some avg10=0.16 avg60=0.66 avg300=2.46 total={micros}\n"
        f"full avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"
    )


def net(**received_sent: tuple[int, int]) -> str:
    rows = (
        f"{name:>6}: {rx} 29 0 0 0 0 0 0 {tx} 29 0 0 0 0 0 0\n"
        for name, (rx, tx) in received_sent.items()
    )
    return "Inter-|   Receive  |  Transmit\n face |bytes packets |bytes packets\n" + "".join(rows)


def machine(seconds: int) -> dict[str, str]:
    """The files of a machine with known rates, after so many seconds."""
    ticks, pages = os.sysconf("SC_CLK_TCK"), MB // os.sysconf("SC_PAGE_SIZE")
    user, idle = 7000 + int(1.5 * ticks) * seconds, 9000 + ticks * seconds // 2
    disk = f"{40 * seconds} 0 {4000 * seconds} {100 * seconds} 10 0 {2000 * seconds} {20 * seconds}"
    return {
        "proc/stat": f"cpu  {user} 3 5 {idle} {seconds} 0 2 {ticks // 4 * seconds} 0 0\ncpu0 1\n",
        "proc/pressure/cpu": pressure(5 + 250_000 * seconds),
        "proc/pressure/io": pressure(5 + 500_000 * seconds),
        "proc/pressure/memory": pressure(5),
        "proc/meminfo": "MemTotal: 8000000 kB\nAnonPages:  2048 kB\nHugePages_Total:  0\n",
        "proc/vmstat": (
            f"pgfault 5\npgmajfault {30 * seconds}\n"
            f"pswpin {2 * pages * seconds}\npswpout {3 * pages * seconds}\n"
        ),
        "proc/diskstats": (
            f" 254 0 vda {disk} 0 9 99 5 6 7 8 1 2\n 254 1 vda1 {disk} 0 9 99 5 6 7 8 1 2\n"
            f"   7 0 loop0 {disk} 0 9 99\n"
        ),
        "proc/net/dev": net(
            lo=(9 * MB * seconds, 9 * MB * seconds),
            br0=(4 * MB * seconds, 2 * MB * seconds),
            eth0=(4 * MB * seconds, 2 * MB * seconds),
        ),
        "sys/block/vda/device/model": "x",
        "sys/block/loop0/size": "0",
        "sys/class/net/eth0/device/vendor": "x",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1200000\n",
    }


def container(seconds: int, *, v1: bool) -> dict[str, str]:
    """The files of a container with half a CPU, on the machine above."""
    mounts = "32 31 0:29 / /cg2 rw - cgroup2 cgroup2 rw\n"
    files = {
        "proc/self/cgroup": "0::/\n",
        "cg2/cgroup.controllers": "cpu\n",
        "cg2/cgroup.events": "populated 1\n",
        "cg2/cpu.pressure": pressure(100_000 * seconds),
        "cg2/io.pressure": pressure(0),
        "cg2/memory.pressure": pressure(200_000 * seconds),
    }
    throttled = f"nr_periods {10 * seconds}\nnr_throttled {9 * seconds}\n"
    if v1:
        for name in ("cpu", "cpuacct", "memory", "blkio"):
            mounts += f"33 31 0:30 / /{name} rw - cgroup cgroup rw,{name}\n"
            files["proc/self/cgroup"] += f"3:{name}:/\n"
        files |= {
            "cpu/cpu.cfs_quota_us": "50000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.stat": f"{throttled}throttled_time {10**9 * seconds * 3 // 2}\n",
            "cpuacct/cpuacct.usage": f"{10**9 * seconds // 2}\n",
            "memory/memory.stat": f"rss 1\npgmajfault 1\ntotal_rss {3 << 20}\n"
            f"total_pgmajfault {8 * seconds}\n",
            "blkio/blkio.throttle.io_service_bytes_recursive": (
                f"254:0 Read {5 * MB * seconds}\n254:0 Write {6 * MB * seconds}\n254:0 Total 9\n"
                "Total 9\n"
            ),
        }
    else:
        files |= {
            "cg2/cpu.max": "50000 100000\n",
            "cg2/cpu.stat": (
                f"usage_usec {MB * seconds // 2}\n{throttled}"
                f"throttled_usec {MB * seconds * 3 // 2}\n"
            ),
            "cg2/memory.stat": f"anon {3 << 20}\nfile 5\npgmajfault {8 * seconds}\n",
            "cg2/io.stat": f"254:0 rbytes={5 * MB * seconds} wbytes={6 * MB * seconds} rios=1\n",
        }
    return machine(seconds) | files | {"proc/self/mountinfo": mounts}


def rates(tree: Tree, before: dict[str, str], after: dict[str, str]) -> Row:
    """The sample over two seconds between two states of the files."""
    probe = Probe(tree(before))
    probe.sample(100.0)
    tree(after)
    return probe.sample(102.0)


def check(row: Row, expected: Row) -> None:
    """All fields but host and at; what is not expected is null."""
    assert list(row) == DESIGN.split()[2:]
    for name, value in row.items():
        wanted = expected.get(name)
        exact = wanted is None or isinstance(wanted, str)
        assert value == (wanted if exact else pytest.approx(wanted, rel=0.01)), name


MACHINE: Row = {
    "source": "machine", "cpu_busy": 1.5, "cpu_steal": 0.25, "psi_cpu": 0.25, "psi_io": 0.5,
    "psi_memory": 0.0, "rss_mb": 2.0, "major_faults": 30.0, "swap_in": 2.0, "swap_out": 3.0,
    "disk_read_mbs": 2.048, "disk_write_mbs": 1.024, "disk_await_ms": 3.0, "net_rx_mbs": 4.0,
    "net_tx_mbs": 2.0, "mhz": 1800.0,
}  # fmt: skip
CONTAINER: Row = {
    "source": "cgroup", "cpu_busy": 0.5, "throttled": 0.75, "psi_cpu": 0.1, "psi_io": 0.0,
    "psi_memory": 0.2, "rss_mb": 3.0, "major_faults": 8.0, "disk_read_mbs": 5.0,
    "disk_write_mbs": 6.0, "net_rx_mbs": 4.0, "net_tx_mbs": 2.0,
}  # fmt: skip


def test_the_schema_is_the_contract_s_and_says_what_each_field_means() -> None:
    assert DESIGN.split() == HOST_SCHEMA.names
    assert all(field.metadata[b"description"] for field in HOST_SCHEMA)


def test_rates_of_a_machine(tree: Tree) -> None:
    check(rates(tree, machine(1), machine(3)), MACHINE)


@pytest.mark.parametrize("v1", [True, False])
def test_a_container_tells_its_own_and_nothing_of_the_physical_host(tree: Tree, v1: bool) -> None:
    check(rates(tree, container(1, v1=v1), container(3, v1=v1)), CONTAINER)


def test_a_memory_limit_alone_makes_it_a_cgroup_s_sample(tree: Tree) -> None:
    files = container(1, v1=False) | {"cg2/cpu.max": "max 100000\n"}
    files |= {"proc/self/cgroup": "0::/job\n", "cg2/job/cgroup.events": "populated 1\n"}
    files |= {"cg2/job/cgroup.controllers": "memory\n", "cg2/job/memory.max": f"{16 << 30}\n"}
    root = tree(files)
    (root / "cg2/cgroup.events").unlink()  # a true root, so no container
    assert Probe(root).source == "machine"  # more than the machine has
    tree({"cg2/job/memory.max": f"{1 << 30}\n"})
    assert Probe(root).source == "cgroup"


def test_a_pinned_process_still_sees_the_whole_machine(tree: Tree) -> None:
    root, cpus = tree(machine(1)), os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cpus)})
        assert Probe(root).source == "machine"
    finally:
        os.sched_setaffinity(0, cpus)


def test_throttling_of_less_than_one_cpu_is_a_share_of_the_second(tree: Tree) -> None:
    after = container(3, v1=False)
    after["cg2/cpu.stat"] = (
        f"usage_usec {MB // 2 + MB // 10}\nnr_periods 9\nnr_throttled 1\n"
        f"throttled_usec {MB * 3 // 2 + MB // 5}\n"
    )
    row = rates(tree, container(1, v1=False), after)
    assert row["cpu_busy"] == pytest.approx(0.05)
    assert row["throttled"] == pytest.approx(0.1)


def test_no_request_in_the_second_has_no_mean_time(tree: Tree) -> None:
    row = rates(tree, machine(1), machine(1))
    assert row["disk_read_mbs"] == 0.0
    assert row["disk_await_ms"] is None


def test_a_counter_that_went_back_gives_null(tree: Tree) -> None:
    row = rates(tree, machine(3), machine(3) | {"proc/net/dev": net(eth0=(1, 2))})
    assert row["net_rx_mbs"] is None
    assert row["cpu_busy"] == 0.0


@pytest.mark.parametrize("gone", ["proc/stat", "proc/pressure", "proc/net", "sys", "proc"])
def test_files_may_vanish(tree: Tree, gone: str) -> None:
    root = tree(machine(1))
    probe = Probe(root)
    probe.sample(100.0)
    tree(machine(3))
    path = root / gone
    path.unlink() if path.is_file() else shutil.rmtree(path)
    row = probe.sample(102.0)
    lost = {name for name, value in MACHINE.items() if row[name] is None and value is not None}
    assert (
        lost
        == {
            "proc/stat": {"cpu_busy", "cpu_steal"},
            "proc/pressure": {"psi_cpu", "psi_io", "psi_memory"},
            "proc/net": {"net_rx_mbs", "net_tx_mbs"},
            "sys": {"mhz"},
            "proc": set(MACHINE) - {"source", "mhz"},
        }[gone]
    )


def test_a_busy_thread_raises_cpu_busy() -> None:
    probe = Probe()
    started, used = time.monotonic(), time.process_time()
    probe.sample(started)
    while time.process_time() < used + 0.5:
        pass
    at = time.monotonic()
    busy = probe.sample(at)["cpu_busy"]
    if busy is None:
        pytest.skip("this machine limits the process and does not let it see what it uses")
    assert isinstance(busy, float)
    own = 0.5 / (at - started)
    assert own - 0.1 < busy < (os.cpu_count() or 1) + 0.1


def test_drains_neither_repeat_nor_lose_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Row] = []
    real = Probe.sample

    def noted(self: Probe, at: float) -> Row:
        taken.append(real(self, at))
        return taken[-1]

    monkeypatch.setattr(Probe, "sample", noted)
    parts = []
    began = time.time()
    with Sampler("node1", interval_s=0.01) as sampler:
        for pause in range(40):
            time.sleep(0.001 * (pause % 7))
            parts.append(sampler.drain())
        time.sleep(0.1)
    parts.append(sampler.drain())
    ended = time.time()

    assert sampler.drain() == []
    rows = pa.Table.from_pylist([row for part in parts for row in part])
    assert set(rows.column_names) == set(HOST_SCHEMA.names)
    assert len(taken) > 5
    assert rows.drop_columns(["host", "at"]).to_pylist() == taken[1:]  # the first is the start
    assert set(rows["host"].to_pylist()) == {"node1"}
    at = rows["at"].to_pylist()
    assert at == sorted(set(at))
    assert began < at[0] < at[-1] < ended


def test_samples_keep_to_the_grid_after_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = Probe.sample, []

    def slow(self: Probe, at: float) -> Row:
        times.append(at)
        if len(times) == 2:
            time.sleep(0.25)
        return real(self, at)

    monkeypatch.setattr(Probe, "sample", slow)
    with Sampler("node1", interval_s=0.1):
        time.sleep(0.75)
    beats = [(at - times[0]) / 0.1 for at in times[1:]]
    whole = [int(beat) for beat in beats]  # a sample may be late, never early
    assert whole == sorted(set(whole))
    assert whole[0] >= 1
    assert whole[1] - whole[0] >= 2  # the beats it slept through are not made up
    assert len(whole) >= 3


def test_stop_ends_the_thread_at_once(tmp_path: Path) -> None:
    sampler = Sampler("node1", interval_s=60.0, root=tmp_path)
    sampler.start()
    assert "host-sampler" in {thread.name for thread in threading.enumerate()}
    began = time.monotonic()
    sampler.stop()
    assert time.monotonic() - began < 5
    assert "host-sampler" not in {thread.name for thread in threading.enumerate()}
    sampler.stop()  # twice does no harm
    assert sampler.drain() == []


def test_a_sample_is_cheap() -> None:
    probe = Probe()
    costs = []
    for _ in range(5):
        before = time.thread_time()
        for _ in range(20):
            probe.sample(time.monotonic())
        costs.append((time.thread_time() - before) / 20)
    assert min(costs) < 2e-3


HALF_A_CPU = """
import json, time
from job.sampler import Sampler
with Sampler(host="c", interval_s=0.4) as sampler:
    time.sleep(0.6)
    end = time.monotonic() + 1.2
    while time.monotonic() < end: pass
print(json.dumps(sampler.drain()))
"""


def test_a_real_limited_container_measures_itself(in_quota: InQuota) -> None:
    rows = in_quota(HALF_A_CPU, container=True)
    assert {row["source"] for row in rows} == {"cgroup"}
    assert {row["cpu_steal"] for row in rows} == {row["mhz"] for row in rows} == {None}
    idle, busy = rows[0], rows[2]
    assert idle["cpu_busy"] < 0.2
    assert idle["throttled"] < 0.2
    assert 0.3 < busy["cpu_busy"] < 0.7
    assert 0.2 < busy["throttled"] < 0.8
