import io
import json
import random
import tarfile
from pathlib import Path

from cluster.run.edge import _Stream, _tarred, rewrite


def test_files_travel_under_other_names(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(700_000)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "link").symlink_to("b")
    (tmp_path / "broken").symlink_to("nothing")
    names = {"a": "x/1.jpg", "b": "2.jpg", "link": "3.jpg", "broken": "4.jpg"}
    chunks = _tarred((tmp_path / name, into) for name, into in names.items())
    there = tmp_path / "there"
    with tarfile.open(fileobj=_Stream(iter(chunks)), mode="r|") as archive:
        archive.extractall(there, filter="fully_trusted")
    assert (there / "x" / "1.jpg").read_bytes() == content
    assert (there / "2.jpg").read_bytes() == (there / "3.jpg").read_bytes() == b"b"
    # The run says of it that it cannot be read, instead of not knowing of it.
    assert (there / "4.jpg").is_symlink()
    assert not (there / "4.jpg").exists()


def test_a_stream_gives_all_bytes_in_any_pieces() -> None:
    chunks = [b"", b"abc", b"d", b"", b"efghij"]
    stream = _Stream(iter([chunk for chunk in chunks if chunk]))
    assert [stream.read(size) for size in (2, 0, 3, 100, 1)] == [b"ab", b"", b"cde", b"fghij", b""]
    assert isinstance(stream, io.RawIOBase)


def test_paths_of_this_machine_come_back_into_run_json(tmp_path: Path) -> None:
    record = {"model": {"folder": "/data/m", "name": "m"}, "input": "/data/in", "mode": "yarn"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    rewrite(tmp_path, model="/models/m", input="photos")
    changed = json.loads((tmp_path / "run.json").read_text())
    assert changed["model"] == {"folder": "/models/m", "name": "m"}
    assert (changed["input"], changed["mode"]) == ("photos", "yarn")
