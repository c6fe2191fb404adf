"""What was measured, held against what should have been."""

from typing import Any

import pytest

from cluster.checks import CHECKS
from cluster.checks.base import Severity, Verdict
from cluster.checks.link_speed import rounds
from cluster.inventory import Host, Inventory
from tests.unit.cluster.checks.recordings import Site

JUDGES = {check.name: check.judge for check in CHECKS if check.probe}
FAST, MEDIUM, SLOW = "fast1", "medium1", "slow1"


def judge(check: str, site: Site) -> Verdict:
    return JUDGES[check](site.facts, site.inventory)


def with_cpus(site: Site, used: dict[str, float], units_of_a_cpu: float = 290.0) -> Site:
    """Each host had so many CPUs for its measurement."""
    allowed = {FAST: 1.0, MEDIUM: 0.5, SLOW: 0.25}
    for host, cpus in used.items():
        result = {
            "all": {"threads": 2, "units_per_s": units_of_a_cpu * cpus, "cpus_used": cpus},
            "cpus_allowed": allowed[host],
            "stolen": 0.0,
        }
        site = site.but(host, lambda known, result=result: known.update({"cpu-speed": result}))
    return site


@pytest.fixture(scope="module")
def quiet(fresh: Site) -> Site:
    """Nothing else ran: each host had what its quota allows, less what a period's end costs."""
    return with_cpus(fresh, {FAST: 0.99, MEDIUM: 0.47, SLOW: 0.23})


def test_a_weak_host_is_no_finding_where_it_is_declared(quiet: Site) -> None:
    verdict = judge("cpu-speed", quiet)
    assert verdict.findings == ()
    assert verdict.summary == "of the fastest host: fast1 1.00, medium1 0.47, slow1 0.23"


def test_hosts_that_others_take_cpus_from(fresh: Site) -> None:
    # As a lab measured on a computer that had much else to do.
    findings = judge("cpu-speed", with_cpus(fresh, {FAST: 0.26, MEDIUM: 0.28, SLOW: 0.22})).findings
    assert [finding.host for finding in findings] == [FAST, MEDIUM]
    assert findings[0].severity is Severity.WARNING
    assert "It got 0.26 CPUs for the measurement, of 1 that it may use" in findings[0].what


def test_a_host_that_does_less_with_its_cpus(quiet: Site) -> None:
    def slower(known: Any) -> None:
        known["cpu-speed"]["all"]["units_per_s"] *= 0.5

    (finding,) = judge("cpu-speed", quiet.but(MEDIUM, slower)).findings
    assert finding.host == MEDIUM
    assert "hosts like it" in finding.what


def test_a_quota_that_is_not_applied(quiet: Site) -> None:
    def unlimited(known: Any) -> None:
        known["cpu-speed"]["cpus_allowed"] = 2.0

    (finding,) = judge("cpu-speed", quiet.but(SLOW, unlimited)).findings
    assert "lab_cpus is 0.25" in finding.what


def test_machines_are_compared_within_their_hardware_class(yarn: Site) -> None:
    def site(**classes: str) -> Site:
        hosts = tuple(
            Host(
                name=host.name,
                # node1 has more roles than the others: that makes it no other machine.
                groups=host.groups | ({classes[host.name]} if host.name in classes else set()),
                variables={"ansible_host": host.address},
            )
            for host in yarn.inventory.hosts
        )
        measured = {
            name: {
                **known,
                "cpu-speed": {
                    "all": {"threads": 4, "units_per_s": rate, "cpus_used": 4.0},
                    "cpus_allowed": 4.0,
                    "stolen": 0.0,
                },
            }
            for (name, known), rate in zip(yarn.facts.items(), (1160, 1150, 500), strict=True)
        }
        inventory = Inventory(path=yarn.inventory.path, hosts=hosts, groups=frozenset())
        return Site(measured, inventory)

    (finding,) = judge("cpu-speed", site()).findings
    assert finding.host == "node3"
    assert judge("cpu-speed", site(node3="class_old")).findings == ()


def test_a_disk_is_held_against_its_peers(fresh: Site) -> None:
    slow = fresh.but(SLOW, lambda known: known["disk-speed"].update(read_mb_s=12.0))
    (finding,) = judge("disk-speed", slow).findings
    assert finding.host == SLOW
    assert "reads 12 MiB/s" in finding.what


def test_a_declared_link_is_no_fault_and_a_slower_one_is(fresh: Site) -> None:
    rates = fresh.facts[MEDIUM]["link-speed"]["to_mbit"]
    assert max(rates.values()) < 26

    def halve(known: Any) -> None:
        sent = known["link-speed"]["to_mbit"]
        sent.update({neighbour: rate / 2 for neighbour, rate in sent.items()})

    (finding,) = judge("link-speed", fresh.but(MEDIUM, halve)).findings
    assert finding.host == MEDIUM
    assert "declared are 26" in finding.what
    fast = fresh.but(MEDIUM, lambda known: known["link-speed"]["to_mbit"].update({FAST: 900.0}))
    assert {finding.host for finding in judge("link-speed", fast).findings} == {MEDIUM}


def with_links(site: Site, rates: dict[str, dict[str, float]]) -> Site:
    for host, to in rates.items():
        site = site.but(host, lambda known, to=to: known.update({"link-speed": {"to_mbit": to}}))
    return site


def test_only_the_host_with_the_bad_cable_is_named(yarn: Site) -> None:
    links = {
        "node1": {"node2": 90.0, "node3": 940.0},
        "node2": {"node1": 91.0, "node3": 92.0},
        "node3": {"node1": 941.0, "node2": 90.0},
    }
    findings = judge("link-speed", with_links(yarn, links)).findings
    assert {finding.host for finding in findings} == {"node2"}
    assert len(findings) == 2


def test_a_pair_that_cannot_talk(yarn: Site) -> None:
    cut = yarn.but(
        "node1",
        lambda known: known.update(
            {"link-speed": {"to_mbit": {}, "failed": {"node2": "timed out."}}}
        ),
    )
    (finding,) = judge("link-speed", cut).findings
    assert finding.severity is Severity.PROBLEM
    assert "node2" in finding.what


def test_a_link_that_came_up_slow(yarn: Site) -> None:
    old = yarn.but("node2", lambda known: known["interfaces"][0].update(speed_mbit=100))
    (finding,) = judge("link-speed", old).findings
    assert "100 Mbit/s" in finding.what


@pytest.mark.parametrize("check", ["cpu-speed", "disk-speed"])
def test_a_probe_that_failed_is_told(check: str, yarn: Site) -> None:
    failed = yarn.but("node2", lambda known: known.update({check: {"error": "It broke."}}))
    (finding,) = judge(check, failed).findings
    assert (finding.host, finding.what) == ("node2", "It broke.")


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("lab", [True, False])
def test_every_neighbour_is_measured_once_and_no_host_twice_at_a_time(
    count: int, lab: bool
) -> None:
    variables = {"lab_cpus": 1} if lab else {}
    hosts = [Host(name=f"n{at}", groups=frozenset(), variables=variables) for at in range(count)]
    groups = rounds(hosts)
    pairs = [frozenset((one.name, other.name)) for group in groups for one, other in group]
    wanted = (
        {frozenset((f"n{at}", f"n{(at + 1) % count}")) for at in range(count)}
        if count > 1
        else set()
    )
    assert set(pairs) == wanted
    assert len(pairs) == len(set(pairs))
    for group in groups:
        members = [host.name for pair in group for host in pair]
        assert len(members) == len(set(members))
        assert not lab or len(group) == 1
    assert lab or len(groups) <= 3
