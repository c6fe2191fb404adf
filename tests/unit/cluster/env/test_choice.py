import pytest

from cluster.env.choice import Speed, choose

UNPACKED = 495_000_000


@pytest.mark.parametrize(
    ("link_mbit", "gunzip_mb", "expected"),
    [
        # A quarter of a core on a fast link waits for gunzip, a host behind WiFi for the link.
        (1000.0, 40.0, ("tar", 0)),
        (26.0, 170.0, ("tar.gz", 6)),
        (100.0, 60.0, ("tar.gz", 1)),
        # Nothing to gain: the smaller one, which packs quickly.
        (1000.0, 250.0, ("tar.gz", 1)),
        (None, 400.0, ("tar.gz", 1)),
    ],
)
def test_the_archive_fits_the_host(
    link_mbit: float | None, gunzip_mb: float, expected: tuple[str, int]
) -> None:
    found = choose({"node1": Speed(link_mbit=link_mbit, gunzip_mb=gunzip_mb)}, UNPACKED)
    assert (found.format, found.level) == expected


def test_the_slowest_host_decides_and_is_named() -> None:
    speeds = {
        "fast": Speed(link_mbit=10_000, gunzip_mb=170),
        "slow": Speed(link_mbit=26, gunzip_mb=80),
    }
    found = choose(speeds, UNPACKED)
    assert (found.format, found.level) == ("tar.gz", 6)
    assert found.reason.startswith("slow is the slowest with 26 Mbit/s and 80 MB/s of gunzip")


def test_without_measurements_the_usual_one() -> None:
    found = choose({}, UNPACKED)
    assert (found.format, found.level) == ("tar.gz", 1)
