"""Two labs of two machines each, side by side, with the same addresses: what `lab up` promises."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.lab import cgroups, nspawn
from tests.scenarios.lab.pair import (
    COMMAND,
    HOSTS,
    cluster,
    done,
    inside,
    leftovers,
    make_inventory,
    transfer,
    up,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with up(tmp_path_factory.mktemp("one") / "pair") as inventory:
        yield inventory


def test_machines_are_as_the_inventory_says(lab: Path) -> None:
    listed = json.loads(done(lab, "lab", "status", "--format", "json"))["machines"]
    assert {m["host"]: m["state"] for m in listed} == {"whole": "running", "slow": "running"}
    assert inside(lab, "slow", "hostname").strip() == "slow"
    assert inside(lab, "slow", "systemctl is-system-running").strip() == "running"
    read = "cat /sys/fs/cgroup/{cpu/cpu.cfs_quota_us,memory/memory.limit_in_bytes}"
    assert inside(lab, "slow", read).split() == ["50000", str(256 << 20)]
    assert inside(lab, "whole", read).split() == ["-1", str(512 << 20)]


def test_up_again_has_nothing_to_do(lab: Path) -> None:
    again = cluster(lab, "lab", "up")
    assert again.returncode == 0
    assert "Nothing to do" in again.stderr


def test_data_is_a_file_system_of_its_own(lab: Path) -> None:
    devices = {host: inside(lab, host, "stat -c %d / /data").split() for host in ("whole", "slow")}
    assert len({*devices["whole"], *devices["slow"]}) == 4


def test_no_way_out(lab: Path) -> None:
    assert "default" not in inside(lab, "whole", "ip route")
    assert inside(lab, "whole", "cat /etc/resolv.conf").strip() == ""


def test_unknown_host_key_is_refused(lab: Path) -> None:
    known = lab / ".lab" / "known_hosts"
    before = known.read_text()
    known.write_text(re.sub(r"10\.77\.0\.12,slow \S+ \S+\n", "", before))
    began = time.monotonic()
    try:
        refused = cluster(lab, "lab", "ssh", "slow", "true")
    finally:
        known.write_text(before)
    assert time.monotonic() - began < 60  # sshd would keep an abandoned connection for 120 s
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


@pytest.mark.parametrize(("sender", "receiver"), [("whole", "slow"), ("slow", "whole")])
def test_link_is_slow_both_ways_also_after_a_reboot(lab: Path, sender: str, receiver: str) -> None:
    if sender == "slow":
        reboot(lab, "slow")
    mbit = transfer(lab, sender, receiver)
    assert 25 < mbit < 45  # 40 less headers; more where the sending machine's share is short


def reboot(lab: Path, host: str) -> None:
    started = inside(lab, host, "stat -c %Y /proc/1").strip()
    cluster(lab, "lab", "ssh", host, "sudo", "systemctl", "reboot")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = cluster(
            lab, "lab", "ssh", host, "stat -c %Y /proc/1 && systemctl is-system-running"
        )
        if answer.returncode == 0 and not answer.stdout.startswith(started):
            return
        time.sleep(0.5)
    raise AssertionError(f"{host} did not come back")


def test_a_machine_that_ended_is_started_with_what_it_held(lab: Path) -> None:
    inside(lab, "whole", "echo kept | sudo tee /etc/kept /data/kept")
    cgroups.kill(nspawn.Lab.of(lab).name, "whole")
    listed = json.loads(done(lab, "lab", "status", "--format", "json"))["machines"]
    assert {m["host"]: m["state"] for m in listed} == {"whole": "stopped", "slow": "running"}
    done(lab, "lab", "up")
    assert inside(lab, "whole", "cat /etc/kept /data/kept").split() == ["kept", "kept"]


def test_another_inventory_under_a_running_lab_is_refused(lab: Path) -> None:
    (lab / "hosts.yml").write_text(HOSTS.replace("0.5", "0.4"))
    try:
        refused = cluster(lab, "lab", "up")
    finally:
        (lab / "hosts.yml").write_text(HOSTS)
    assert refused.returncode == 1
    assert "lab down" in refused.stderr


def test_labs_side_by_side_and_down_leaves_nothing(lab: Path, tmp_path: Path) -> None:
    other = make_inventory(tmp_path / "pair")
    try:
        done(other, "lab", "up")
        inside(other, "whole", "echo other | sudo tee /data/whose")
        # Ansible keeps its connections; each lab's are its own.
        ansible = [Path(COMMAND).with_name("ansible"), "whole", "-m", "raw", "-a"]
        for inventory, there in ((lab, "missing"), (other, "there")):
            look = "test -e /data/whose && echo is there || echo is missing"
            ask = [*ansible, look, "-i", inventory]
            said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
            assert f"is {there}" in said
        assert cluster(lab, "lab", "ssh", "whole", "cat", "/data/whose").returncode == 1
        assert leftovers(nspawn.Lab.of(other))  # so that the check below can fail
    finally:
        done(other, "lab", "down")
    assert leftovers(nspawn.Lab.of(other)) == []
    assert inside(lab, "slow", "hostname").strip() == "slow"
    assert "Nothing to do" in cluster(other, "lab", "down").stderr


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_stopped_on_the_way_up(lab: Path, tmp_path: Path, way: signal.Signals) -> None:
    other = make_inventory(tmp_path / "pair")
    own = nspawn.Lab.of(other)
    arguments = [COMMAND, "-i", str(other), "lab", "up"]
    up = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(cgroups.processes(own.name)) < 6:  # both are booting
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(up.pid, way)  # alone: its children are for it to end
        up.wait(30)
        if way == signal.SIGKILL:
            assert leftovers(own)
            done(other, "lab", "down")
        assert leftovers(own) == []
    finally:
        up.kill()
        up.wait()
        cluster(other, "lab", "down")


def test_down(lab: Path) -> None:
    done(lab, "lab", "down")
    assert leftovers(nspawn.Lab.of(lab)) == []
    refused = cluster(lab, "lab", "ssh", "whole", "true")
    assert refused.returncode == 1
    assert "lab up" in refused.stderr
