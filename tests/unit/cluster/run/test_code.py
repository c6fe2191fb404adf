import io
import subprocess
import sys
import tarfile
from pathlib import Path

from cluster.run.code import PRODUCT, ZIP, Code


def unpacked(folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(Code.here().tar())) as archive:
        archive.extractall(folder, filter="data")
    return folder


def python(code: str, path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_driver_finds_program_data_and_version(tmp_path: Path) -> None:
    folder = unpacked(tmp_path)
    assert (folder / "job" / "report" / "report.html.j2").is_file()
    assert (folder / "job" / "log4j2.properties").is_file()
    code = f"import job, importlib.metadata as m; print(job.__path__[0], m.version({PRODUCT!r}))"
    where, version = python(code, folder).split()
    assert where == str(folder / "job")
    assert version


def test_executors_import_it_from_one_file(tmp_path: Path) -> None:
    path = unpacked(tmp_path) / ZIP
    assert python("import job.engines.native as n; print(n.__file__)", path).startswith(str(path))


def test_the_same_program_has_the_same_name() -> None:
    assert Code.here().digest == Code.here().digest
    assert all("__pycache__" not in name for name in Code.here().files)
