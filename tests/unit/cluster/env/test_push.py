import platform
from pathlib import Path

import pytest

from cluster.env.build import Environment
from cluster.env.push import refuse_other_kind
from cluster.env.store import archive_of
from cluster.errors import ClusterError
from job.webhdfs import FileStatus

ENVIRONMENT = Environment(
    digest="0123", folder=Path("/none"), bytes=1, dropped=(), bigdl="4567", glibc="2.34"
)


@pytest.mark.parametrize("glibc", ["2.34", "2.36", "2.100"])
def test_a_host_of_the_same_kind_is_taken(glibc: str) -> None:
    refuse_other_kind("node1", {"machine": platform.machine(), "glibc": glibc}, ENVIRONMENT)


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        ({"machine": "riscv64", "glibc": "2.36"}, "node1 is riscv64, the environment is built for"),
        ({"glibc": "2.31"}, r"node1 has glibc 2\.31, the environment needs 2\.34 or later"),
        ({"glibc": "2.4"}, r"node1 has glibc 2\.4,"),
        ({"glibc": ""}, "node1 has no glibc"),
    ],
)
def test_another_kind_of_host_is_refused(seen: dict[str, str], sentence: str) -> None:
    with pytest.raises(ClusterError, match=sentence):
        refuse_other_kind("node1", {"machine": platform.machine(), **seen}, ENVIRONMENT)


def test_of_two_archives_the_last_one_put_there_counts() -> None:
    def status(name: str, at: float) -> FileStatus:
        return FileStatus(
            name=name,
            path=f"/apps/envs/{name}",
            is_folder=False,
            bytes=1,
            modified_at=at,
            accessed_at=at,
            mode="644",
            replication=3,
            owner="jo",
        )

    names = ("environment-0123.tar.gz", "environment-0123.tar", "environment-9999.tar")
    listed = [status(name, at) for at, name in enumerate(names)]
    found = archive_of(listed, "0123")
    assert found is not None and found.name == "environment-0123.tar"
    assert archive_of(listed, "5555") is None
