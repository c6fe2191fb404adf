import signal
from pathlib import Path

import pytest

from cluster.bench.stragglers import live
from cluster.bench.stragglers.live import _Interrupts, missing, order_options, write_inventory
from cluster.bench.stragglers.recipes import CPUS, RECIPES, Recipe, items
from cluster.inventory import EDGE, Inventory
from cluster.lab.machines import machines_of
from job.errors import JobError


def names(*there: str) -> list[Path]:
    return [Path("traces", name) for name in there]


def test_what_is_recorded_on_any_lab_of_the_cluster_is_not_recorded_again() -> None:
    wanted = items(1)
    first, second = wanted[:2]
    there = names(
        "alike-20260101-000000/00-learn-1.zip",
        f"{first.cluster}-20260101-000000/{first.name}.zip",
        # As a folder of another cluster has it, it is another run.
        f"{first.cluster}-20260101-000000/{second.name}.zip",
    )
    assert missing(wanted, there) == wanted[1:]
    assert missing(wanted, []) == wanted


@pytest.mark.parametrize("cluster", [*CPUS])
def test_a_cluster_has_its_workers_and_a_master_that_does_no_images(
    tmp_path: Path, cluster: str
) -> None:
    folder = tmp_path / cluster
    write_inventory(folder, cluster)
    inventory = Inventory.load(folder)
    workers = inventory.group("yarn_nodemanager")
    assert [host.variables["lab_cpus"] for host in workers] == [*CPUS[cluster]]
    assert [host.name for host in workers] == ["node1", "node2", "node3"]
    assert inventory.first(EDGE).name == live.MASTER not in {host.name for host in workers}
    assert len(machines_of(inventory)) == len(inventory.group("hdfs_datanode")) == 4


def test_links_and_disks_are_ordered_by_what_their_host_reads() -> None:
    link = Recipe(kind="link", name="link", at=0.4, slows=2.0)
    disk = Recipe(kind="disk", name="disk", at=0.4, slows=2.0)
    # 8 images/s of 0.05 MB are 0.4 MB/s, of which half is left.
    assert order_options(link, 8.0, 0.05) == {"mbit": pytest.approx(1.6)}
    assert order_options(disk, 8.0, 0.05) == {"mbs": pytest.approx(0.2)}
    quota = next(recipe for recipe in RECIPES if recipe.kind == "cpu-quota")
    assert order_options(quota, 8.0, 0.05) == quota.options


def test_with_all_runs_recorded_no_lab_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a lab is made")

    monkeypatch.setattr(live, "prepare", refuse)
    for item in items(1):
        path = tmp_path / f"{item.cluster}-1" / f"{item.name}.zip"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    told: list[str] = []
    words = {"kinds": (), "clusters": (), "model": "yolact-shapes"}
    assert live.record(tmp_path, rounds=1, **words, tell=told.append) == 0  # type: ignore[arg-type]
    assert told == [f"0 runs to record, 22 are in {tmp_path}"]


def test_ctrl_c_is_one_where_a_run_makes_an_error_of_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="is kept"), _Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.came
        raise JobError("stopped by you")
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(JobError), _Interrupts():
        raise JobError("a run that failed by itself")
