"""Makes .venv, and .venv-export if asked, from the locks: `make setup` and what builds on it.

    requirements/setup [test] [export] [--check]

test adds the linters and the test runner to .venv; export makes .venv-export. --check changes
nothing and fails where something is missing. Needs CPython 3.11 and its standard library alone.

An environment is finished when it holds the stamp, a file that says what was installed from which
locks. The stamp is taken away before an environment changes and written when all is done, so an
interrupted or damaged one is made anew. Changed locks are installed over what is there, and what
no lock names any more is removed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
CACHE = ROOT / ".cache"
LOG = CACHE / "setup.log"
PROJECT = "pyproject.toml"

sys.path.insert(0, str(ROOT))
from job.java import system_java_home  # noqa: E402  (the same rule as the job's own)


class SetupError(Exception):
    """One sentence for the person who ran the setup."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One virtual environment: its folder and what goes into it, in this order.

    A part is the name of a lock (env for env.lock) or PROJECT, the project itself. ``sees`` are
    folders outside it that it also imports from.
    """

    folder: Path
    parts: tuple[str, ...]
    sees: tuple[Path, ...] = ()

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        return self.folder / "lib" / "python3.11" / "site-packages"

    @property
    def stamp(self) -> Path:
        """What it holds, as JSON; there only while it is whole."""
        return self.folder / "setup.json"


def main() -> int:
    """Bring the environments asked for up to date; the exit code."""
    parser = argparse.ArgumentParser(prog="requirements/setup")
    parser.add_argument("extras", nargs="*", metavar="test|export")
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.extras) - {"test", "export"}:
        parser.error(f"unknown: {' '.join(sorted(unknown))}; test and export can be added")
    try:
        with only_one_setup():
            if not arguments.check:
                LOG.unlink(missing_ok=True)
            for environment in wanted(arguments.extras):
                bring_up_to_date(environment, check=arguments.check)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


def wanted(extras: Iterable[str]) -> list[Environment]:
    """The environments that EXTRAS ask for, on this machine."""
    java = [] if system_java_home() else ["java"]
    test = ["test"] if "test" in extras else []
    main_one = Environment(folder=ROOT / ".venv", parts=("env", "tools", *java, *test, PROJECT))
    if "export" not in extras:
        return [main_one]
    sees = (main_one.packages, ROOT)
    return [
        main_one,
        Environment(folder=ROOT / ".venv-export", parts=("export",), sees=sees),
    ]


@contextlib.contextmanager
def only_one_setup() -> Iterator[None]:
    """Hold the lock of this checkout, so that two at once do not write one environment."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("setup: waiting for another setup of this checkout", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        # A pip that outlives a killed setup inherits the lock and so holds the next one up.
        os.set_inheritable(file.fileno(), True)
        yield


def bring_up_to_date(environment: Environment, *, check: bool) -> None:
    """Install what ENVIRONMENT lacks; raises SetupError where that fails, or with CHECK."""
    done = read_stamp(environment)
    missing = [part for part in environment.parts if done.get(part) != digest(part)]
    if not missing:
        return
    if check:
        raise SetupError(f"{environment.folder.name} is not up to date: run this without --check")
    if not done:
        create(environment)
    for part in missing:
        environment.stamp.unlink(missing_ok=True)
        try:
            with step(f"{environment.folder.name}: {title(part)}") as show:
                install(environment, part, show)
        except SetupError:
            # pip puts back what it had replaced, so a failure leaves the earlier state.
            write_stamp(environment, done)
            raise
        done[part] = digest(part)
        write_stamp(environment, done)
    remove_unnamed(environment, done)
    write_stamp(environment, done)


def create(environment: Environment) -> None:
    """Make ENVIRONMENT empty and new, whatever was in its folder."""
    try:
        import ensurepip  # noqa: F401, PLC0415
        import venv  # noqa: F401, PLC0415
    except ImportError:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments: add its venv module"
            " (Debian: `apt-get install python3.11-venv`)"
        ) from None
    environment.stamp.unlink(missing_ok=True)
    with step(f"{environment.folder.name}: Python {sys.version.split()[0]}") as show:
        run([sys.executable, "-I", "-m", "venv", "--clear", str(environment.folder)], show)
    if environment.sees:
        lines = "".join(f"{path}\n" for path in environment.sees)
        (environment.packages / "beside.pth").write_text(lines, encoding="utf-8")


def install(environment: Environment, part: str, show: "Show") -> None:
    """Install one part with pip, packages only as the lock's digests say."""
    pip = [str(environment.python), "-I", "-m", "pip", "--disable-pip-version-check"]
    if part == PROJECT:
        # "compat" is a plain path to the checkout, which mypy and Spark's workers can follow.
        options = ["--no-build-isolation", "--no-deps", "--config-settings", "editable_mode=compat"]
        run([*pip, "install", *options, "--editable", str(ROOT)], show)
        return
    # Without build isolation a source package (pyspark) is built with the lock's setuptools and
    # nothing else, so that one has to be there first.
    options = ["--require-hashes", "--no-deps", "--no-build-isolation", "--use-pep517"]
    lock = LOCKS / f"{part}.lock"
    if setuptools := locked(lock).get("setuptools"):
        first = CACHE / "setuptools.lock"
        first.write_text(setuptools, encoding="utf-8")
        run([*pip, "install", *options, "--requirement", str(first)], show)
    run([*pip, "install", *options, "--requirement", str(lock)], show)


def remove_unnamed(environment: Environment, done: dict[str, str]) -> None:
    """Uninstall the packages that no lock of ENVIRONMENT names."""
    locks = [lock for part in done if (lock := LOCKS / f"{part}.lock").exists()]
    keep = {"pip", project_name(), *(name for lock in locks for name in locked(lock))}
    if extra := sorted(installed(environment) - keep):
        environment.stamp.unlink()
        pip = [str(environment.python), "-I", "-m", "pip", "--disable-pip-version-check"]
        with step(f"{environment.folder.name}: without {', '.join(extra)}") as show:
            run([*pip, "uninstall", "--yes", *extra], show)


def read_stamp(environment: Environment) -> dict[str, str]:
    """What was installed, part to digest; empty unless all of it is there and works."""
    try:
        stamp: dict[str, Any] = json.loads(environment.stamp.read_text(encoding="utf-8"))
        whole = (
            stamp["folder"] == str(environment.folder)  # its scripts do not work elsewhere
            and set(stamp["installed"]) <= installed(environment)
            and subprocess.run([environment.python, "-I", "-c", ""], check=False).returncode == 0
        )
        return dict(stamp["parts"]) if whole else {}
    except (OSError, ValueError, KeyError):
        return {}


def write_stamp(environment: Environment, done: dict[str, str]) -> None:
    """Say that ENVIRONMENT holds the parts of DONE."""
    stamp = {
        "folder": str(environment.folder),
        "parts": done,
        "installed": sorted(installed(environment)),
    }
    new = environment.stamp.with_suffix(".new")
    new.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    new.replace(environment.stamp)


def installed(environment: Environment) -> set[str]:
    """Names of the packages that are in ENVIRONMENT; pip writes RECORD last."""
    records = environment.packages.glob("*.dist-info/RECORD")
    return {plain(record.parent.name.split("-")[0]) for record in records}


def locked(lock: Path) -> dict[str, str]:
    """The packages of a lock: name to its lines, with version and digests."""
    entries = re.split(r"^(?=[a-zA-Z0-9])", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {plain(entry.split("==")[0]): entry for entry in entries if "==" in entry}


def plain(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project_name() -> str:
    """The project's own name."""
    found = re.search(r'^name = "(.+)"$', (ROOT / PROJECT).read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return plain(found[1])


def digest(part: str) -> str:
    """The digest of the file that fixes PART."""
    path = ROOT / PROJECT if part == PROJECT else LOCKS / f"{part}.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def title(part: str) -> str:
    """PART for a person."""
    if part == PROJECT:
        return "the project"
    count = len(locked(LOCKS / f"{part}.lock"))
    return f"{part}.lock, {count} package{'s' if count > 1 else ''}"


class Show:
    """One line of progress: on a terminal it also tells what pip is at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()
        if self.live:
            self.detail("")

    def detail(self, text: str) -> None:
        """Say what goes on, on a terminal."""
        if self.live:
            line = f"setup: {self.text} {text}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", flush=True)

    def end(self, word: str) -> None:
        """Close the line."""
        start = "\r\x1b[K" if self.live else ""
        seconds = time.monotonic() - self.started
        print(f"{start}setup: {self.text}, {word} {seconds:.0f} s", flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[Show]:
    """Show TEXT as one line, with the time it took."""
    show = Show(text)
    try:
        yield show
    except BaseException:
        show.end("failed after")
        raise
    show.end("done in")


def run(command: list[str], show: Show) -> None:
    """Run COMMAND into the log; raises SetupError with the log's end when it fails."""
    # A person's pip configuration (its index, its proxy) counts, except what would install
    # elsewhere than into the environment.
    settings = {**os.environ, "PIP_USER": "0", "PIP_TARGET": "", "PYTHONNOUSERSITE": "1"}
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=settings,
            close_fds=False,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if re.match(r"Collecting|  Downloading|Building|Installing", line):
                    show.detail(line.strip())
    if process.returncode != 0:
        tail = LOG.read_text(encoding="utf-8").splitlines()[-15:]
        print("\n".join(f"  | {line}" for line in tail), file=sys.stderr)
        raise SetupError(f"the step above failed; see {LOG.relative_to(ROOT)}, and run it again")


if __name__ == "__main__":
    sys.exit(main())
