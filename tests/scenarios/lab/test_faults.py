"""Every fault once on real machines: it is felt while it lasts, and gone afterwards."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.lab import cgroups, network, nspawn
from cluster.lab.faults.order import fault
from job.errors import UsageError
from tests.scenarios.lab.pair import COMMAND, cluster, done, leftovers, make_inventory, transfer, up

# For 3 s: how much of a CPU it got.
COMPUTE = """
import time
end = time.monotonic() + 3
while time.monotonic() < end: pass
print(time.process_time() / 3)
"""
BUSY = """
import time
print("ready", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end: pass
"""
# Touches 180 MiB, then all of it again and again for 3 s; major faults in that time.
TOUCH = """
import resource, time
pages = [bytearray(1 << 20) for _ in range(180)]
for page in pages: page[::4096] = bytes(256)
print("ready", flush=True); input()
before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
end = time.monotonic() + 3
while time.monotonic() < end:
    for page in pages: page[::4096] = bytes(256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before, flush=True)
"""
COUNT = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", 5998)); s.settimeout(30)
print("ready", flush=True)
count = len(s.recv(9))
s.settimeout(5)
try:
    while s.recv(9): count += 1
except TimeoutError: print(count)
"""
SEND = """
import socket, sys, time
s = socket.socket(type=socket.SOCK_DGRAM)
for _ in range(500): s.sendto(b"x", (sys.argv[1], 5998)); time.sleep(0.002)
"""
# For 8 s: the longest time in which it could not go on.
BEAT = """
import time
longest, last, end = 0, time.monotonic(), time.monotonic() + 8
print("ready", flush=True)
while last < end:
    time.sleep(0.05)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(longest)
"""
YARN = """
sudo mkdir -p /etc/hadoop/conf /data/yarn/local/filecache/10
echo '<configuration><property><name>yarn.nodemanager.local-dirs</name>
<value>/data/yarn/local</value></property></configuration>' |
sudo tee /etc/hadoop/conf/yarn-site.xml >/dev/null
sudo dd if=/dev/zero of=/data/yarn/local/filecache/10/env bs=1M count=4 2>/dev/null
sudo dd if=/dev/zero of=/data/block bs=1M count=20 2>/dev/null; sync
"""
LIMITS = (
    *("cpu.cfs_quota_us", "cpu.shares", "cpu.max", "cpu.weight", "cpuset.cpus", "cgroup.freeze"),
    *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness"),
    *("memory.max", "memory.high", "memory.swap.max", "io.max"),
)
# mincore(2) tells only who may write a file.
RESIDENT = "sudo fincore --noheadings --bytes --output RES /data/block"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with up(tmp_path_factory.mktemp("faults") / "pair") as inventory:
        run(inventory, "slow", YARN)
        yield inventory


@pytest.fixture(scope="module")
def inventory(lab: Path) -> Inventory:
    return Inventory.load(lab)


@pytest.fixture(autouse=True)
def clean(lab: Path) -> Iterator[None]:
    """Each test leaves the machines as they were."""
    before = state(lab)
    yield
    assert state(lab) == before
    assert not list(nspawn.Lab.of(lab).faults.glob("*.json"))


def state(lab: Path) -> dict[str, str]:
    """All that a fault may change."""
    own = nspawn.Lab.of(lab)
    found = {"swap": Path("/proc/swaps").read_text(), "throttled": throttled()}
    for top in (cgroups.ROOT, *cgroups.ROOT.iterdir()):
        groups = sorted((top / cgroups.FOLDER / own.name).glob("*/"))
        found[f"groups of {top}"] = " ".join(group.name for group in groups)
        paths = [group / limit for group in groups for limit in LIMITS]
        found |= {str(path): path.read_text() for path in paths if path.exists()}
    for machine in ("", "slow", "whole"):
        namespace = network.namespace(own.name, machine)
        for command in (["tc", "qdisc", "show"], ["nft", "list", "ruleset"]):
            words = ["nsenter", f"--net={network.NAMESPACES / namespace}", *command]
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            found[f"{command} of {namespace}"] = shown
    return found


def throttled() -> str:
    file = cgroups.ROOT / "blkio" / "blkio.throttle.read_bps_device"
    return file.read_text() if file.exists() else ""


def start(lab: Path, host: str, command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["ssh", "-F", str(lab / ".lab" / "ssh_config"), host, f"timeout 60 {command}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(lab: Path, host: str, command: str) -> str:
    ssh = ["ssh", "-F", str(lab / ".lab" / "ssh_config"), host, command]
    return subprocess.run(ssh, capture_output=True, text=True, check=True, timeout=60).stdout


def compute(lab: Path, host: str) -> float:
    """The part of a CPU that a process gets."""
    return float(run(lab, host, f"python3 -c '{COMPUTE}'"))


def read(lab: Path, options: str = "") -> float:
    """Seconds to read 20 MiB of /data."""
    began = time.monotonic()
    run(lab, "slow", f"dd if=/data/block of=/dev/null bs=1M {options} 2>/dev/null")
    return time.monotonic() - began


def test_a_machine_gets_its_quota_divided_by_the_factor(lab: Path, inventory: Inventory) -> None:
    before = throttled_periods(lab)
    with fault(inventory, "cpu-quota", "slow", factor=4) as truth:
        assert truth.details["cpus"] == 0.125
        assert 0.05 < compute(lab, "slow") < 0.17
        assert throttled_periods(lab) > before
    assert 0.2 < compute(lab, "slow") < 0.6
    assert truth.ended is not None
    assert truth.ended > truth.began


def throttled_periods(lab: Path) -> int:
    group = cgroups.ROOT / "cpu" / cgroups.FOLDER / nspawn.Lab.of(lab).name / "slow"
    stat = (group / "cpu.stat").read_text().split()
    return int(stat[stat.index("nr_throttled") + 1])


def test_a_neighbour_leaves_a_machine_its_quota_divided_by_the_factor(
    lab: Path, inventory: Inventory
) -> None:
    own = nspawn.Lab.of(lab).name
    usage = cgroups.ROOT / "cpuacct" / cgroups.FOLDER / own / "slow" / "cpuacct.usage"

    def seconds() -> tuple[float, float]:
        burners = cgroups.processes(own, cgroups.neighbour("slow"))
        stats = [Path(f"/proc/{burner}/stat").read_text().split() for burner in burners]
        ticks = sum(int(tick) for stat in stats for tick in stat[13:15])
        return int(usage.read_text()) / 1e9, ticks / os.sysconf("SC_CLK_TCK")

    # Before the fault: a machine whose cores are all in use may keep who logs in waiting.
    computing = start(lab, "slow", f"python3 -c '{BUSY}'")
    assert computing.stdout
    assert computing.stdout.readline() == "ready\n"
    with fault(inventory, "cpu-neighbour", "slow", factor=4) as truth:
        assert len(truth.details["cores"]) == 1
        held_back, then = throttled_periods(lab), seconds()
        time.sleep(4)
        machine, burners = (now - began for now, began in zip(seconds(), then, strict=True))
        # Of its one core, whatever else goes on: half of it is its quota.
        assert 0.6 / 8 < machine / (machine + burners) < 1.6 / 8
        # The causes differ: a quota would hold it back in each of these 40 periods.
        assert throttled_periods(lab) - held_back < 5
    computing.communicate(timeout=60)
    assert cgroups.processes(own, cgroups.neighbour("slow")) == set()


def test_a_neighbour_of_a_machine_without_a_quota_shares_its_weight(
    lab: Path, inventory: Inventory
) -> None:
    own = nspawn.Lab.of(lab).name
    group = cgroups.ROOT / "cpu" / cgroups.FOLDER / own / "whole"
    neighbour = group.with_name(cgroups.neighbour("whole"))
    with fault(inventory, "cpu-neighbour", "whole", factor=4):
        shares = [int((each / "cpu.shares").read_text()) for each in (group, neighbour)]
        assert shares == [256, 768]
        assert len(cgroups.processes(own, neighbour.name)) == os.cpu_count()
    assert int((group / "cpu.shares").read_text()) == 1024


@pytest.mark.parametrize(("sender", "receiver"), [("whole", "slow"), ("slow", "whole")])
def test_a_link_is_slower_both_ways(
    lab: Path, inventory: Inventory, sender: str, receiver: str
) -> None:
    with fault(inventory, "link", "slow", factor=4) as truth:
        assert truth.details == {"mbit": 10}
        assert 6 < transfer(lab, sender, receiver) < 12
    assert 25 < transfer(lab, sender, receiver) < 45


@pytest.mark.parametrize(("sender", "receiver"), [("whole", "slow"), ("slow", "whole")])
def test_packets_are_lost(lab: Path, inventory: Inventory, sender: str, receiver: str) -> None:
    def arriving() -> int:
        counting = start(lab, receiver, f"python3 -c '{COUNT}'")
        assert counting.stdout
        assert counting.stdout.readline() == "ready\n"
        address = {"whole": "10.77.0.11", "slow": "10.77.0.12"}[receiver]
        run(lab, sender, f"python3 -c '{SEND}' {address}")
        return int(counting.communicate(timeout=60)[0])

    with fault(inventory, "link", "slow", loss=20):
        assert 300 < arriving() < 470  # of 500
    assert arriving() == 500


def test_a_delay_is_felt_or_refused(lab: Path, inventory: Inventory) -> None:
    enter = ["nsenter", f"--net={network.NAMESPACES / nspawn.Lab.of(lab).name}"]
    ask = [*enter, "bash", "-c", "exec 3<>/dev/tcp/10.77.0.12/22; head -c 4 <&3 >&2"]

    def round_trip() -> float:
        began = time.monotonic()
        subprocess.run(ask, capture_output=True, check=True, timeout=60)
        return time.monotonic() - began

    try:
        with fault(inventory, "link", "slow", delay=200):
            assert round_trip() > 0.6
    except ClusterError as error:
        assert str(error).startswith("This computer's kernel has no netem")
    assert round_trip() < 0.6


def test_memory_is_short(lab: Path, inventory: Inventory) -> None:
    swaps, killed = Path("/proc/swaps").read_text(), oom_kills(lab)
    running = start(lab, "slow", f"python3 -c '{TOUCH}'")
    assert running.stdout
    assert running.stdin
    assert running.stdout.readline() == "ready\n"
    with fault(inventory, "memory", "slow", factor=2) as truth:
        assert truth.details["mb"] < 250
        assert Path("/proc/swaps").read_text() != swaps
        running.stdin.write("go\n")
        running.stdin.flush()
        assert int(running.stdout.readline()) > 200
    running.stdin.close()
    running.wait(60)
    assert oom_kills(lab) == killed


def oom_kills(lab: Path) -> int:
    """How many processes of the machine the kernel has ended for want of memory."""
    group = cgroups.ROOT / "memory" / cgroups.FOLDER / nspawn.Lab.of(lab).name / "slow"
    stat = (group / "memory.oom_control").read_text().split()
    return int(stat[stat.index("oom_kill") + 1])


def test_a_disk_is_slow_and_its_cache_is_gone(lab: Path, inventory: Inventory) -> None:
    read(lab)
    with fault(inventory, "disk", "slow", mbs=10):
        assert 1.7 < read(lab) < 5
        began = time.monotonic()
        run(lab, "slow", "sudo dd if=/dev/zero of=/data/new bs=1M count=20 conv=fsync 2>/dev/null")
        assert 1.7 < time.monotonic() - began < 6
    assert read(lab, "iflag=direct") < 1.5


def test_a_frozen_machine_stands_still(lab: Path, inventory: Inventory) -> None:
    running = start(lab, "slow", f"python3 -c '{BEAT}'")
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    with fault(inventory, "freeze", "slow", seconds=60) as truth:
        time.sleep(3)
    assert truth.ended
    longest = float(running.communicate(timeout=60)[0])
    assert longest == pytest.approx(truth.ended - truth.began, abs=0.5)


def test_a_cold_machine_has_nothing_cached(lab: Path, inventory: Inventory) -> None:
    read(lab)
    assert int(run(lab, "slow", RESIDENT)) == 20 << 20
    with fault(inventory, "cold", "slow") as truth:
        pass
    assert int(run(lab, "slow", RESIDENT)) == 0
    assert truth.details == {"localised_mb": 4}
    assert run(lab, "slow", "ls /data/yarn/local/filecache") == ""


def test_two_kinds_at_once_but_not_two_of_a_kind(lab: Path, inventory: Inventory) -> None:
    with ExitStack() as stack:
        quota = stack.enter_context(fault(inventory, "cpu-quota", "slow", factor=2))
        link = stack.enter_context(fault(inventory, "link", "slow", mbit=10))
        with pytest.raises(UsageError, match="slow has the fault cpu-quota already"):
            stack.enter_context(fault(inventory, "cpu-quota", "slow", factor=2))
        with fault(inventory, "cpu-quota", "whole", factor=2):
            pass
        lasting = listed(lab)[-2:]
        assert {row["kind"] for row in lasting} == {"cpu-quota", "link"}
        assert {row["to"] for row in lasting} == {None}
    assert listed(lab)[-2:] == [link.row(), quota.row()]


def listed(lab: Path) -> list[dict[str, object]]:
    lines = done(lab, "lab", "fault", "list", "--format", "json").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("clock", {}, "slow shares this computer's clock"),
        ("memory", {"mb": 256}, "give --mb"),
        ("memory", {"mb": 10}, "give --mb"),
        ("cpu-quota", {"factor": 60}, "--factor 60 leaves slow less than 0.01 CPUs"),
    ],
)
def test_what_cannot_be_changes_nothing(
    inventory: Inventory, kind: str, options: dict[str, float], words: str
) -> None:
    with pytest.raises(UsageError, match=words), fault(inventory, kind, "slow", **options):
        pass


def quota(lab: Path) -> float:
    return float(run(lab, "slow", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_fault_ends_with_its_command(lab: Path, way: signal.Signals) -> None:
    before = len(listed(lab))
    words = ["lab", "fault", "cpu-quota", "slow", "--factor", "2", "--for", "600"]
    command = subprocess.Popen(
        [COMMAND, "-i", str(lab), *words, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr and "has the fault" in command.stderr.readline()
    assert quota(lab) == 25_000
    began = time.time()
    command.send_signal(way)
    said, _ = command.communicate(timeout=30)
    until(lambda: quota(lab) == 50_000)
    until(lambda: len(listed(lab)) == before + 1)
    *_, row = listed(lab)
    assert row["to"] == pytest.approx(began, abs=5)
    if way != signal.SIGKILL:
        assert json.loads(said) == row
        assert command.returncode == 1


def test_a_fault_in_the_background_ends_by_itself(lab: Path) -> None:
    words = ("cpu-quota", "slow", "--factor", "2", "--for", "4", "--background")
    row = json.loads(done(lab, "lab", "fault", *words, "--format", "json"))
    assert quota(lab) == 25_000
    until(lambda: quota(lab) == 50_000)
    *_, last = listed(lab)
    assert last == row | {"to": last["to"]}
    assert last["to"] == pytest.approx(row["from"] + 4, abs=2)


def guardian(lab: Path, kind: str) -> int:
    (path,) = nspawn.Lab.of(lab).faults.glob(f"*.{kind}.json")
    return int(json.loads(path.read_text())["guardian"])


def test_clear_takes_away_what_goes_on_and_what_a_killed_guardian_left(lab: Path) -> None:
    for kind in ("cpu-quota", "cpu-neighbour", "freeze", "disk"):
        done(lab, "lab", "fault", kind, "slow", "--background", "--for", "600")
    for kind in ("cpu-neighbour", "disk"):
        os.kill(guardian(lab, kind), signal.SIGKILL)
    cleared = done(lab, "lab", "fault", "clear", "--format", "json").splitlines()
    rows = [json.loads(line) for line in cleared]
    assert {row["kind"] for row in rows} == {"cpu-quota", "cpu-neighbour", "freeze", "disk"}
    assert all(row["to"] > row["from"] for row in rows)
    assert "There was no fault." in cluster(lab, "lab", "fault", "clear").stderr


def test_a_killed_guardian_leaves_its_fault_to_the_next(lab: Path, inventory: Inventory) -> None:
    lost = pytest.raises(ClusterError, match="fault clear")
    with lost, fault(inventory, "cpu-quota", "slow", factor=2):
        os.kill(guardian(lab, "cpu-quota"), signal.SIGKILL)
    with fault(inventory, "cpu-quota", "slow", factor=5) as truth:
        assert quota(lab) == 10_000
    *_, left, last = listed(lab)
    assert (left["factor"], last) == (2, truth.row())


def test_down_takes_all_away(tmp_path: Path) -> None:
    other = make_inventory(tmp_path / "pair")
    try:
        done(other, "lab", "up")
        for words in (
            *(["cpu-quota"], ["cpu-neighbour"], ["link", "--loss", "1"], ["disk"]),
            *(["memory", "--mb", "100"], ["freeze"]),
        ):
            kind, *options = words
            done(other, "lab", "fault", kind, "slow", *options, "--background", "--for", "600")
        assert "slow.swap" in " ".join(leftovers(nspawn.Lab.of(other)))
        assert throttled()
    finally:
        done(other, "lab", "down")
    assert leftovers(nspawn.Lab.of(other)) == []
    assert throttled() == ""
