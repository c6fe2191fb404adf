"""Builds and packs the environment: named by what goes into it, the same bytes every time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import conda_pack  # type: ignore[import-untyped]

from cluster.env import contents, modules, prefix
from cluster.env.contents import Dropped
from cluster.env.prefix import WITH_US
from cluster.errors import ClusterError
from cluster.places import cache, locked, repository
from job.environment import MANIFEST, manifest_of

LOCK = Path("requirements", "env.lock")
FOLDER = "environments"
ABOUT = "environment.json"
JARS = "bigdl"
FORMATS = ("tar", "tar.gz")
DESTINATION = "/environment"
# The modules that decide what is in an environment.
RECIPE = ("build.py", "contents.py", "modules.py", "prefix.py")
# Of every file in an archive: the first second that ZIP can name, too.
EPOCH = 315532800
# What a run imports.
IMPORTS = (
    "import ssl, sqlite3, cv2, numpy, openvino, PIL.Image, psutil, pyarrow.parquet, pyspark, "
    "pycocotools.mask, jinja2; import bigdl.orca.learn.openvino"
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A built environment; ``bytes`` is its size unpacked, without what was left out.

    ``bigdl`` names BigDL's jars, by what they are called and what is in them; ``glibc`` is the
    least version of the C library that a host needs.
    """

    digest: str
    folder: Path
    bytes: int
    dropped: tuple[Dropped, ...]
    bigdl: str
    glibc: str

    @property
    def prefix(self) -> Path:
        """The interpreter's prefix, runnable where it lies."""
        return self.folder / "prefix"

    @property
    def bigdl_jars(self) -> list[Path]:
        """BigDL's jars, which go to the hosts beside the environment."""
        return sorted((self.folder / JARS).glob("*.jar"))

    @property
    def whole_bytes(self) -> int:
        """Its size before anything was left out."""
        return self.bytes + sum(part.bytes for part in self.dropped)

    def archive(self, format_: str, level: int) -> Path:
        """Where its archive of that format is, or will be."""
        suffix = f"-{level}" if format_ == "tar.gz" else ""
        return self.folder / f"environment-{self.digest}{suffix}.{format_}"

    @classmethod
    def load(cls, folder: Path) -> "Environment":
        """One that was built."""
        said = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        dropped = tuple(Dropped(**part) for part in said.pop("dropped"))
        return cls(folder=folder, dropped=dropped, **said)

    def to_json(self) -> dict[str, Any]:
        """What is kept beside the prefix."""
        said = asdict(self)
        del said["folder"]
        return said


def digest(lock: Path) -> str:
    """Names an environment: its lock, its interpreter and platform, and how it is packed."""
    parts = {
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "python": sys.version,
        "platform": sysconfig.get_platform(),
        "packer": f"conda-pack {conda_pack.__version__}",
        "recipe": [
            hashlib.sha256(Path(__file__).with_name(name).read_bytes()).hexdigest()
            for name in RECIPE
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def build(
    lock: Path | None = None, *, imports: str = IMPORTS, tell: Callable[[str], None]
) -> Environment:
    """The environment of LOCK, made where it is not there yet; IMPORTS must run in it.

    Killed at any moment, the next call begins anew; what has its final name is whole.

    Raises:
        ClusterError: pip failed, or the environment does not start.
    """
    lock = lock or repository() / LOCK
    named = digest(lock)
    root = cache() / FOLDER
    root.mkdir(exist_ok=True)
    folder = root / named
    with locked(root / "lock"):
        if not folder.is_dir():
            for left in root.glob("*.part"):
                shutil.rmtree(left, ignore_errors=True)
            part = Path(tempfile.mkdtemp(prefix=f"{named}-", suffix=".part", dir=root))
            part.chmod(0o755)
            about = _build(part, lock, named, imports, tell)
            (part / ABOUT).write_text(json.dumps(about.to_json(), indent=2), encoding="utf-8")
            part.rename(folder)
    return Environment.load(folder)


def _build(
    folder: Path, lock: Path, named: str, imports: str, tell: Callable[[str], None]
) -> Environment:
    whole = folder / "prefix"
    tell("Copying CPython")
    packages = prefix.make(whole)
    tell(f"Installing {lock.name}")
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--quiet", "--target", str(packages), "--require-hashes", "--no-deps", "--no-compile"]
    pip += ["--no-build-isolation", "--use-pep517", "--requirement", str(lock)]
    _run(pip, log=folder / "pip.log")
    bigdl = _keep_jars(packages, folder / JARS)
    dropped = contents.slim(packages)
    _make_reproducible(whole, packages)
    _try(whole, imports)
    return Environment(
        digest=named,
        folder=folder,
        bytes=contents.size(whole),
        dropped=tuple(dropped),
        bigdl=bigdl,
        glibc=prefix.glibc(whole),
    )


def _keep_jars(packages: Path, folder: Path) -> str:
    """Keep BigDL's jars beside the environment, which is without them; gives their digest."""
    folder.mkdir()
    kept = []
    for jar in sorted(packages.glob("bigdl/share/*/lib/*.jar"), key=lambda path: path.name):
        os.link(jar, folder / jar.name)
        with jar.open("rb") as file:
            kept.append([jar.name, hashlib.file_digest(file, "sha256").hexdigest()])
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def _make_reproducible(whole: Path, packages: Path) -> None:
    """Leave out what says where and when it was installed, compile with fixed names; list it."""
    for record in packages.glob("*.dist-info"):
        for name in ("RECORD", "direct_url.json", "REQUESTED", "INSTALLER"):
            (record / name).unlink(missing_ok=True)
    # A host's copy cannot be written to, so that its modules would be compiled at every start.
    command = [str(whole / "bin" / "python"), "-m", "compileall", "-q", "-b", "-s", str(whole)]
    command += ["--invalidation-mode", "unchecked-hash", str(whole / "lib")]
    # Some packages bring files for other versions of Python, which do not compile.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*WITH_US, *command], check=False, capture_output=True, env=environment)
    for left in (whole / "lib").rglob("__pycache__"):
        shutil.rmtree(left)
    modules.bundle(whole)
    (whole / "conda-meta").mkdir()
    (whole / "conda-meta" / "history").touch()
    (whole / MANIFEST).write_text(manifest_of(whole), encoding="utf-8")
    for path in whole.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o700
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _try(whole: Path, imports: str) -> None:
    python = whole / "bin" / "python"
    done = subprocess.run(
        [*WITH_US, str(python), "-I", "-c", imports],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        raise ClusterError(f"The environment does not start: {reason}.")


def pack(
    environment: Environment, format_: str, level: int, *, tell: Callable[[str], None]
) -> Path:
    """The environment's archive of FORMAT (tar or tar.gz, of LEVEL), made where it is not there."""
    archive = environment.archive(format_, level)
    with locked(environment.folder / "lock"):
        if not archive.exists():
            tell(f"Packing {archive.name}")
            part = archive.with_name(f"part-{archive.name}")
            conda_pack.pack(
                prefix=str(environment.prefix),
                output=str(part),
                format=format_,
                # No file names the prefix, so that none has to be mended where it is unpacked.
                dest_prefix=DESTINATION,
                compress_level=level,
                n_threads=-1,
                force=True,
            )
            part.rename(archive)
    return archive


def _run(command: list[str], log: Path) -> None:
    with log.open("wb") as output:
        done = subprocess.run(
            [*WITH_US, *command], stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        kept = log.parent.with_name(log.name)
        shutil.copy(log, kept)
        raise ClusterError(f"pip failed (exit {done.returncode}): see {kept}.")
