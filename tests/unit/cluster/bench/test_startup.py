import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest

from cluster.bench import links, startup
from cluster.bench.labs import bounded
from cluster.bench.starts import host_rows
from cluster.errors import ClusterError


def phase(name: str, host: str | None, started_at: float, seconds: float) -> dict[str, Any]:
    return {"name": name, "host": host, "started_at": started_at, "seconds": seconds}


def test_a_hosts_phases_add_up_to_its_first_image() -> None:
    phases = [
        phase("submit", None, 101.0, 9.0),  # the driver's own, 1 s after systemd started it
        phase("executor_start", "node1", 110.0, 5.0),
        phase("executor_start", "node2", 110.0, 2.0),
        phase("model_load", "node1", 117.0, 1.0),
        phase("model_load", "node1", 150.0, 1.0),  # of a worker that came later
        phase("model_load", "node2", 116.5, 0.5),
        phase("steady", "node1", 119.0, 4.0),
        phase("steady", "node2", 117.5, 4.0),
        phase("localise", "node1", 103.0, 2.0),
        phase("localise", "node1", 104.0, 8.0),
    ]
    first, second = host_rows({"phases": phases}, submitted_at=100.0)
    assert first == {
        "host": "node1",
        "submit_s": 10.0,
        "localise_s": 9.0,
        "executor_s": 5.0,
        "wait_s": 2.0,
        "model_load_s": 1.0,
        "first_image_s": 1.0,
        "total_s": 19.0,
    }
    assert (second["host"], second["localise_s"], second["total_s"]) == ("node2", None, 17.5)
    for row in (first, second):
        parts = ("submit_s", "executor_s", "wait_s", "model_load_s", "first_image_s")
        assert sum(row[part] for part in parts) == pytest.approx(row["total_s"])


def starts(lab: str, number: int, **seconds: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"lab": lab, "round": number, "way": getattr(startup, way), "host": at, "total_s": each}
        for way, of_hosts in seconds.items()
        for at, each in enumerate(of_hosts)
    ]


def photos(number: int, way: str, host: str, **values: Any) -> dict[str, Any]:
    usual = {"remote": True, "slowed": False, "link_mb": 0.2, "images_per_s": 1.0}
    return {"lab": "lab-hetero", "round": number, "way": way, "host": host, **usual, **values}


def test_a_figure_is_the_median_of_what_rounds_give_by_their_last_host() -> None:
    rows = [
        *starts("lab-yarn", 1, NAIVE=[90, 100], COLD=[30, 40], PI=[10], WARM=[15, 20]),
        *starts("lab-yarn", 2, NAIVE=[200], COLD=[100], PI=[20], WARM=[32]),
        *starts("lab-yarn", 3, NAIVE=[100], COLD=[90], PI=[10], WARM=[50]),
        *starts("lab-hetero", 1, NAIVE=[400], COLD=[100]),
    ]
    assert startup.figures(rows) == {
        "warm_over_spark_pi_s": 12,
        "cold_over_naive": 0.5,
        "cold_over_naive_hetero": 0.25,
    }


def test_the_slow_links_host_is_held_against_itself_in_the_same_round() -> None:
    rows = [
        photos(1, startup.PHOTOS, "fast1", remote=False, link_mb=9.0),
        photos(1, startup.PHOTOS, "medium1", slowed=True, images_per_s=1.8, link_mb=0.3),
        photos(1, startup.PHOTOS, "slow1", link_mb=0.1),
        photos(1, startup.UNSHAPED, "medium1", images_per_s=2.0, link_mb=5.0),
    ]
    figures = startup.figures(rows)
    assert figures["link_loss"] == pytest.approx(0.1)
    # The edge host holds the images, and its link carries what the others read.
    assert figures["network_mb_per_image"] == pytest.approx(0.2)
    assert figures.keys() <= startup.TARGETS.keys()


def test_the_tables_show_medians_side_by_side() -> None:
    rows = [
        *starts("lab-yarn", 1, WARM=[15.0]),
        *starts("lab-yarn", 2, WARM=[17.0]),
        photos(1, startup.PHOTOS, "slow1"),
    ]
    table, of_links = startup.tables(rows)
    assert [row["total_s"] for row in table] == [16.0]
    assert table[0]["submit_s"] is None
    assert [row["link_mb"] for row in of_links] == [0.2]


def test_a_hosts_link_is_measured_from_its_first_to_its_last_image() -> None:
    timings = [
        {
            "host": "slow1",
            "kind": "image",
            "started_at": 100.0 + 2 * n,
            "total_ms": 500.0,
            "bytes_in": 100_000,
        }
        for n in range(6)
    ]
    samples = [
        {"host": "slow1", "at": 99.0 + n, "net_rx_mbs": 0.05, "net_tx_mbs": 0.01} for n in range(12)
    ]
    samples += [
        # While the environment came, of another host, and of a second that was not measured.
        {"host": "slow1", "at": 100.2, "net_rx_mbs": 90.0, "net_tx_mbs": 0.0},
        {"host": "fast1", "at": 103.0, "net_rx_mbs": 90.0, "net_tx_mbs": 0.0},
        {"host": "slow1", "at": 103.0, "net_rx_mbs": None, "net_tx_mbs": None},
    ]
    (row,) = links.steady_rows(timings, samples)
    assert row["images_per_s"] == pytest.approx(0.5)
    assert row["image_mb"] == pytest.approx(0.1)
    assert row["link_mb"] == pytest.approx(0.12)


def test_two_images_make_no_steady_phase() -> None:
    timings = [
        {"host": "a", "kind": "image", "started_at": n, "total_ms": 1.0, "bytes_in": 1}
        for n in range(2)
    ]
    with pytest.raises(ClusterError, match="--photos"):
        links.steady_rows(timings, [])


def test_photos_have_all_pixels_that_the_network_takes(tmp_path: Path) -> None:
    links.write_photos(tmp_path / "photos", 5)
    written = sorted((tmp_path / "photos").iterdir())
    assert len(written) == 5
    assert {min(cv2.imread(str(path)).shape[:2]) for path in written} == {550}
    mean = sum(path.stat().st_size for path in written) / 5
    assert 100_000 < mean < 200_000


def test_what_takes_too_long_is_ended_by_one_sentence() -> None:
    sentence = r"^a nap was not done in 0\.1 s\.$"
    with pytest.raises(ClusterError, match=sentence), bounded(0.1, "a nap"):
        time.sleep(20)
