"""Each check on facts of real hosts, and on the same facts with one thing wrong."""

from collections.abc import Iterable
from typing import Any

import pytest

from cluster.checks import CHECKS
from cluster.checks.base import Finding, Fix, Severity, Verdict
from tests.unit.cluster.checks.recordings import Site

PROBLEM, WARNING = Severity.PROBLEM, Severity.WARNING
JUDGES = {check.name: check.judge for check in CHECKS}
NAMENODE, WORKER = "node1", "node2"


def judge(check: str, site: Site) -> Verdict:
    return JUDGES[check](site.facts, site.inventory)


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


def hosts(findings: Iterable[Finding]) -> set[str]:
    return {finding.host for finding in findings}


def unit_of(facts: Any, unit: str) -> Any:
    return facts["units"][unit]


@pytest.mark.parametrize("check", JUDGES)
def test_real_hosts_are_well(check: str, fresh: Site, yarn: Site) -> None:
    for site in (fresh, yarn):
        assert judge(check, site).findings == ()
        assert judge(check, site).summary


@pytest.mark.parametrize("check", JUDGES)
def test_no_host_to_ask_is_no_crash(check: str, yarn: Site) -> None:
    silent = Site({name: {"error": "It is off."} for name in yarn.facts}, yarn.inventory)
    findings = judge(check, silent).findings
    assert hosts(findings) == (set(yarn.facts) if check == "ssh" else set())


def test_ssh_tells_who_cannot_be_asked_and_who_is_not_root(yarn: Site) -> None:
    silent = yarn.but(WORKER, lambda known: known.update(error="node2 cannot be reached."))
    assert only(judge("ssh", silent)).what == "node2 cannot be reached."
    assert judge("ssh", silent).summary.startswith("2 of 3")
    ordinary = yarn.but(WORKER, lambda known: known.update(root=False))
    assert "sudo" in only(judge("ssh", ordinary)).what


@pytest.mark.parametrize(
    ("offset_s", "error_s", "severity"),
    [(0.3, 0.05, WARNING), (-0.3, 0.05, WARNING), (90, 0.1, PROBLEM), (0.3, 0.2, None)],
)
def test_a_clock_is_wrong_only_beyond_what_the_round_trip_hides(
    yarn: Site, offset_s: float, error_s: float, severity: Severity | None
) -> None:
    middle = sorted(known["clock"]["offset_s"] for known in yarn.facts.values())[1]
    off = yarn.but(
        WORKER,
        lambda known: known.update(clock={"offset_s": middle + offset_s, "error_s": error_s}),
    )
    findings = judge("clock", off).findings
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_a_machine_without_a_time_service_gets_one(yarn: Site) -> None:
    def machine(known: Any, **services: str) -> None:
        known.update(container="", services=services)

    none = only(judge("clock", yarn.but(WORKER, machine)))
    assert (none.severity, none.fix) == (WARNING, None)
    stopped = yarn.but(WORKER, lambda known: machine(known, chrony="inactive"))
    fix = only(judge("clock", stopped)).fix
    assert fix == Fix(what="start chrony", command="systemctl enable --now chrony")
    assert not judge(
        "clock", yarn.but(WORKER, lambda known: machine(known, chrony="active"))
    ).findings


def test_a_name_that_leads_back_to_its_own_host_is_a_problem(yarn: Site) -> None:
    wrong = {"asked": WORKER, "expected": "192.168.57.12", "got": "127.0.1.1"}
    finding = only(judge("names", yarn.but(WORKER, lambda known: known["names"].append(wrong))))
    assert finding.severity is PROBLEM
    assert "node2 is 127.0.1.1, not 192.168.57.12" in finding.what
    assert finding.fix
    assert finding.fix.role == "base"
    renamed = yarn.but(WORKER, lambda known: known.update(hostname="debian"))
    assert "debian" in only(judge("names", renamed)).what


def test_names_are_not_missed_before_a_deployment_but_addresses_are(fresh: Site) -> None:
    assert any(known["names"] for known in fresh.facts.values())
    moved = fresh.with_variables("slow1", cluster_address="10.9.9.9")
    finding = only(judge("names", moved))
    assert (finding.host, finding.severity) == ("slow1", PROBLEM)
    assert "10.9.9.9" in finding.what
    assert "192.168.58.13" in finding.what


def test_a_disk_is_held_against_the_limits_that_yarn_has(yarn: Site) -> None:
    def full(known: Any, free_mb: int, **settings: str) -> None:
        disk = next(disk for disk in known["disks"] if disk["folder"] == "/data")
        disk.update(free_mb=free_mb, used_percent=92.0)
        known["settings"].update(settings)

    share = "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage"
    over = only(judge("disk-space", yarn.but(WORKER, lambda k: full(k, 400))))
    assert (over.severity, over.host) == (PROBLEM, WORKER)
    assert "400 MiB" in over.what
    near = only(judge("disk-space", yarn.but(WORKER, lambda k: full(k, 900))))
    assert near.severity is WARNING
    assert not judge("disk-space", yarn.but(WORKER, lambda k: full(k, 9000))).findings
    stricter = yarn.but(WORKER, lambda k: full(k, 9000, **{share: "90.0"}))
    assert only(judge("disk-space", stricter)).severity is PROBLEM


def test_folders_of_one_file_system_are_one_finding(yarn: Site) -> None:
    def full(known: Any) -> None:
        on_data = [disk for disk in known["disks"] if disk["folder"].startswith("/data")]
        assert len(on_data) > 1
        for disk in on_data:
            disk.update(free_mb=1)

    only(judge("disk-space", yarn.but(WORKER, full)))


def test_few_inodes_are_a_finding(yarn: Site) -> None:
    few = yarn.but(WORKER, lambda known: known["disks"][0].update(inodes_free_percent=1.0))
    assert "inodes" in only(judge("disk-space", few)).what


def test_memory_adds_heaps_and_what_containers_get(yarn: Site) -> None:
    offered = int(yarn.facts[WORKER]["settings"]["yarn.nodemanager.resource.memory-mb"])
    state = yarn.facts[WORKER]["units"]
    heaps = [state[unit]["heap_mb"] for unit in ("hdfs-datanode", "yarn-nodemanager")]
    assert all(heaps)
    for has, severity in ((sum(heaps) + offered - 1, PROBLEM), (sum(heaps) + offered, WARNING)):
        finding = only(judge("memory", yarn.with_variables(WORKER, lab_memory_mb=has)))
        assert (finding.host, finding.severity) == (WORKER, severity)
        assert f"= {sum(heaps) + offered} MiB of its {has} MiB" in finding.what


def test_memory_promised_by_the_inventory_counts_before_a_deployment(fresh: Site) -> None:
    greedy = fresh.with_variables("slow1", hadoop_yarn_memory_mb=5000)
    assert only(judge("memory", greedy)).severity is PROBLEM
    template = fresh.with_variables("slow1", hadoop_yarn_memory_mb="{{ base_capacity }}")
    assert not judge("memory", template).findings


def test_swap_is_a_warning_with_its_size(yarn: Site) -> None:
    on = yarn.but(WORKER, lambda known: known["swap"].update(size_mb=2048, used_mb=17))
    finding = only(judge("swap", on))
    assert finding.severity is WARNING
    assert "2048 MiB, 17 MiB of it used" in finding.what
    assert finding.fix is None


@pytest.mark.parametrize(("limit", "severity"), [(1024, PROBLEM), (8192, WARNING)])
def test_a_daemon_with_few_files(yarn: Site, limit: int, severity: Severity) -> None:
    few = yarn.but(WORKER, lambda known: unit_of(known, "hdfs-datanode").update(open_files=limit))
    assert only(judge("open-files", few)).severity is severity


def test_java_is_missed_after_a_deployment_only(fresh: Site, yarn: Site) -> None:
    assert judge("java", yarn).summary.startswith("17.")
    none = only(judge("java", yarn.but(WORKER, lambda known: known.update(java=None))))
    assert none.severity is PROBLEM
    assert not judge("java", fresh.but("slow1", lambda known: known.update(java=None))).findings


def test_another_java_is_named(yarn: Site) -> None:
    def older(known: Any) -> None:
        known["java"] = "11.0.20"
        for unit in known["units"].values():
            unit["java"] = "11.0.20"

    findings = judge("java", yarn.but(WORKER, older)).findings
    assert hosts(findings) == {WORKER}
    assert [f.severity for f in findings] == [PROBLEM, WARNING]
    stale = yarn.but(WORKER, lambda known: unit_of(known, "hdfs-datanode").update(java="17.0.1"))
    assert "still runs Java 17.0.1" in only(judge("java", stale)).what


def test_a_daemon_that_is_down_can_be_started_again(yarn: Site) -> None:
    def down(known: Any) -> None:
        unit_of(known, "yarn-nodemanager").update(active="failed", result="exit-code")

    finding = only(judge("ports", yarn.but(WORKER, down)))
    assert (finding.host, finding.severity) == (WORKER, PROBLEM)
    assert finding.fix
    assert finding.fix.command == "systemctl restart yarn-nodemanager"


def test_a_daemon_that_does_not_listen_or_keeps_ending(yarn: Site) -> None:
    def deaf(known: Any) -> None:
        known["listening"] = [s for s in known["listening"] if s["port"] != 8042]

    assert "8042" in only(judge("ports", yarn.but(WORKER, deaf))).what
    weary = yarn.but(WORKER, lambda known: unit_of(known, "hdfs-datanode").update(restarts=7))
    assert "7 times" in only(judge("ports", weary)).what


def test_a_daemon_that_was_never_installed(yarn: Site) -> None:
    def without(known: Any) -> None:
        del known["units"]["hdfs-datanode"]

    assert "not installed" in only(judge("ports", yarn.but(WORKER, without))).what


def test_a_port_that_another_program_has(fresh: Site, yarn: Site) -> None:
    taken = {
        "address": "127.0.0.1",
        "port": 8042,
        "user": "www",
        "unit": "nginx",
        "program": "nginx",
    }
    finding = only(judge("ports", fresh.but("slow1", lambda k: k["listening"].append(taken))))
    assert finding.severity is PROBLEM
    assert "nginx" in finding.what
    assert judge("ports", yarn.but(WORKER, lambda k: k["listening"].append(taken))).findings


def test_a_port_behind_a_firewall(yarn: Site) -> None:
    failed = {"address": "192.168.57.11", "port": 8031, "error": "timed out"}
    shut = yarn.but(WORKER, lambda known: known["unreachable"].append(failed))
    assert "node1:8031" in only(judge("ports", shut)).what
    # Where nothing listens, that is the finding, not the firewall.
    silent = {**failed, "port": 7077}
    assert not judge("ports", yarn.but(WORKER, lambda k: k["unreachable"].append(silent))).findings


def listening(known: Any, port: int, address: str) -> None:
    for socket in known["listening"]:
        if socket["port"] == port:
            socket["address"] = address


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_daemon_on_every_address(yarn: Site, address: str) -> None:
    alone = only(judge("exposure", yarn.but(NAMENODE, lambda k: listening(k, 8088, address))))
    assert (alone.host, alone.severity) == (NAMENODE, WARNING)

    def public(known: Any) -> None:
        listening(known, 8088, address)
        known["interfaces"].append({**known["interfaces"][0], "address": "203.0.113.5"})

    finding = only(judge("exposure", yarn.but(NAMENODE, public)))
    assert finding.severity is PROBLEM
    assert "203.0.113.5" in finding.what
    assert "run programs" in finding.what


def test_a_daemon_on_another_network(yarn: Site) -> None:
    moved = yarn.but(NAMENODE, lambda known: listening(known, 9870, "203.0.113.5"))
    finding = only(judge("exposure", moved))
    assert finding.severity is PROBLEM
    assert "run programs" not in finding.what
    inside = yarn.but(NAMENODE, lambda known: listening(known, 9870, "127.0.0.1"))
    assert not judge("exposure", inside).findings


def test_someone_elses_port_is_no_exposure_but_anyones_yarn_is(fresh: Site) -> None:
    foreign = {"address": "0.0.0.0", "port": 8088, "user": "root", "unit": "", "program": "java"}
    site = fresh.but("slow1", lambda known: known["listening"].append(foreign))
    assert hosts(judge("exposure", site).findings) == {"slow1"}
    assert any(s["port"] == 22 for known in fresh.facts.values() for s in known["listening"])


def test_a_cache_that_is_too_small_for_two_environments(yarn: Site) -> None:
    target = "yarn.nodemanager.localizer.cache.target-size-mb"
    small = yarn.but(WORKER, lambda known: known["settings"].update({target: "3000"}))
    assert "3000 MiB" in only(judge("cache", small)).what
    large = yarn.but(WORKER, lambda known: known["settings"].update({target: "20000"}))
    assert "20000 MiB" in only(judge("cache", large)).what


def test_a_cpu_that_is_held_back(yarn: Site) -> None:
    cpu = {
        "scaling_governor": ["powersave"],
        "scaling_driver": ["acpi-cpufreq"],
        "scaling_max_freq": ["1800000"],
        "cpuinfo_max_freq": ["3600000"],
        "thermal_throttles": 12,
    }
    findings = judge("cpu-limits", yarn.but(WORKER, lambda known: known.update(cpu=cpu))).findings
    assert [finding.severity for finding in findings] == [WARNING] * 3
    assert "1800 MHz" in findings[1].what
    free = {**cpu, "scaling_driver": ["intel_pstate"], "scaling_max_freq": ["3600000"]}
    free["thermal_throttles"] = 0
    assert not judge("cpu-limits", yarn.but(WORKER, lambda known: known.update(cpu=free))).findings


def test_every_title_and_why_says_something() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.title
        assert check.why.endswith(".")
