"""What an ``hdfs:`` input names, of a tree that is in a folder here."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import JobError, UsageError
from job.images.source import listing_of
from job.webhdfs import FileStatus


class Tree:
    """As WebHdfs lists it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def status(self, path: str) -> FileStatus | None:
        here = self._root / path.lstrip("/")
        if not here.exists():
            return None
        fields: dict[str, Any] = {"modified_at": 0.0, "accessed_at": 0.0, "mode": "644"}
        return FileStatus(
            name=here.name if path != "/" else "",
            path=path,
            is_folder=here.is_dir(),
            bytes=0 if here.is_dir() else here.stat().st_size,
            replication=1,
            owner="jo",
            **fields,
        )

    def list(self, path: str) -> tuple[FileStatus, ...]:
        here = self._root / path.lstrip("/")
        inside = [self.status(f"{path.rstrip('/')}/{each.name}") for each in sorted(here.iterdir())]
        return tuple(each for each in inside if each)


@pytest.fixture
def tree(tmp_path: Path) -> Any:
    for name in ("in/b.jpg", "in/a/c.PNG", "in/a/d/e.jpg", "in/.part/f.jpg", "in/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("source", "images", "ignored"),
    [
        ("hdfs:///in", ["a/c.PNG", "a/d/e.jpg", "b.jpg"], ["notes.txt"]),
        ("hdfs://node1:8020/in/a", ["c.PNG", "d/e.jpg"], []),
        ("hdfs:/in/b.jpg", ["b.jpg"], []),
        ("hdfs:///in/*.jpg", ["b.jpg"], []),
        ("hdfs:///in/**/*.jpg", ["a/d/e.jpg", "b.jpg"], []),
        ("hdfs:///in/*/*.PNG", ["a/c.PNG"], []),
        ("hdfs:///", ["in/a/c.PNG", "in/a/d/e.jpg", "in/b.jpg"], ["in/notes.txt"]),
    ],
)
def test_names_are_relative_to_the_input(
    tree: Any, source: str, images: list[str], ignored: list[str]
) -> None:
    found = listing_of(tree, source)
    assert [image.image_id for image in found.images] == images
    assert list(found.ignored) == ignored
    read = tree.status(found.images[0].path)
    assert read and read.bytes == found.images[0].bytes > 0


def test_an_input_without_images_is_told(tree: Any) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        listing_of(tree, "hdfs:///none")
    with pytest.raises(JobError, match="1 other files"):
        listing_of(tree, "hdfs:///in/notes.txt")
