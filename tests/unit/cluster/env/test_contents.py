from pathlib import Path

from cluster.env.contents import Dropped, Part, size, slim


def test_parts_go_with_their_size_and_the_rest_stays(tmp_path: Path) -> None:
    for name in ("a/jars/x.jar", "a/jars/deep/y.jar", "a/b.py", "b/tests/t.py", "b/c.pyi"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "a" / "link").symlink_to("b.py")
    parts = (
        Part(name="jars", patterns=("a/jars",)),
        Part(name="not there", patterns=("nothing/*",)),
        Part(name="tests", patterns=("**/tests", "**/tests/*", "**/*.pyi")),
    )
    assert slim(tmp_path, parts) == [
        Dropped(name="jars", bytes=10),
        Dropped(name="tests", bytes=10),
    ]
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["a", "a/b.py", "a/link", "b"]
    assert size(tmp_path) == 5 + len("b.py")
