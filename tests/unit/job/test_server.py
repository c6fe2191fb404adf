import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from job import origins
from job.images.decode import ImageError
from job.origins import Driver, UnreachableError
from job.server import FileServer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FileServer]:
    for name in ("a photo%.jpg", "other.jpg", "secret"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    paths = [str(tmp_path / name) for name in ("a photo%.jpg", "other.jpg", "gone.jpg")]
    with closing(FileServer("127.0.0.1", paths)) as server:
        yield server


def test_executors_read_the_files_of_the_input(served: FileServer, tmp_path: Path) -> None:
    origin = Driver(served.url)
    for name in ("a photo%.jpg", "other.jpg"):
        assert origin.read(str(tmp_path / name)) == name.encode() * 1000
    copies = tmp_path / "copies"
    copies.mkdir()
    copy = origin.local(str(tmp_path / "other.jpg"), None, lambda: copies)
    assert copy.parent == copies
    assert copy.read_bytes() == b"other.jpg" * 1000


def test_no_other_file_is_served(served: FileServer, tmp_path: Path) -> None:
    outside, _, secret = served.url.rpartition("/")
    for url in (
        f"{served.url}{tmp_path}/secret",
        f"{served.url}{tmp_path}/other.jpg/../secret",
        f"{outside}{tmp_path}/other.jpg",
        f"{outside}/{secret[:-1]}x{tmp_path}/other.jpg",
    ):
        assert httpx.get(url).status_code == 404, url


def test_a_file_that_is_gone_is_the_fault_of_the_image(served: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        Driver(served.url).read(str(tmp_path / "gone.jpg"))


def test_a_driver_that_is_gone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "ATTEMPTS", 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(UnreachableError, match="does not answer"):
        Driver(url).read("/a.jpg")
