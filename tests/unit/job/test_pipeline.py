import importlib
import sys
import zipfile
import zipimport
from pathlib import Path

import pytest

from job.pipeline import read_archives_once


def test_a_worker_reads_the_directory_of_an_archive_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "shipped.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("shipped/__init__.py", "")
        files.writestr("shipped/part.py", "NUMBER = 1")
        files.writestr("shipped/other.py", "NUMBER = 2")
    monkeypatch.syspath_prepend(str(archive))
    importer = zipimport.zipimporter
    monkeypatch.setattr(importer, "invalidate_caches", importer.invalidate_caches)
    read: list[str] = []
    directory = zipimport._read_directory  # type: ignore[attr-defined]
    monkeypatch.setattr(
        zipimport, "_read_directory", lambda path: read.append(path) or directory(path)
    )
    assert importlib.import_module("shipped.part").NUMBER == 1
    read.clear()
    importlib.invalidate_caches()
    assert str(archive) in read  # as before every task
    read_archives_once()
    read.clear()
    importlib.invalidate_caches()
    assert read == []
    assert importlib.import_module("shipped.other").NUMBER == 2
    for name in ("shipped", "shipped.part", "shipped.other"):
        del sys.modules[name]
