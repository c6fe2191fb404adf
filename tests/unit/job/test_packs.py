from pathlib import Path

import pytest

from job import packs
from job.packs import UNREADABLE, pack


def test_every_file_is_found_again_in_its_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 100)
    contents = {f"{n:02}": bytes([n]) * (7 * n + 1) for n in range(20)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    kept: dict[str, bytes] = {}

    def put(name: str, content: bytes) -> str:
        kept[f"/hdfs/{name}"] = content
        return f"/hdfs/{name}"

    there = pack([str(tmp_path / name) for name in contents], put)
    assert len(kept) > 5
    assert sum(map(len, kept.values())) == sum(map(len, contents.values()))
    for name, content in contents.items():
        path, part = there[str(tmp_path / name)]
        assert part is not None
        offset, length = part
        assert kept[path][offset : offset + length] == content


def test_a_file_that_cannot_be_read_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"bytes")
    names = [str(tmp_path / name) for name in ("gone", "there")]
    there = pack(names, lambda name, content: name)
    assert there[names[0]] == (UNREADABLE, None)
    assert there[names[1]] == ("00000.pack", (0, 5))


def test_nothing_is_put_where_there_is_nothing() -> None:
    assert pack([], lambda *_: pytest.fail("there is nothing to put")) == {}
