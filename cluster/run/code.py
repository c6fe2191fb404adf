"""The package ``job`` as it travels: to the driver as a folder, to executors as one file."""

import hashlib
import importlib.metadata
import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import job

PRODUCT = "yarn-cluster-toolkit"
ZIP = "job.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The files of a release by their path, and a name made from their content."""

    digest: str
    files: dict[str, bytes]

    @classmethod
    def here(cls) -> "Code":
        """That of this program."""
        root = Path(job.__path__[0])
        files = {
            f"job/{path.relative_to(root)}": path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        version = importlib.metadata.version(PRODUCT)
        # So that run.json can name the version.
        metadata = f"{PRODUCT.replace('-', '_')}-{version}.dist-info/METADATA"
        files[metadata] = f"Metadata-Version: 2.1\nName: {PRODUCT}\nVersion: {version}\n".encode()
        total = hashlib.sha256()
        for name, content in files.items():
            total.update(f"{name} {len(content)}\n".encode() + content)
        return cls(digest=total.hexdigest()[:16], files=files)

    def tar(self) -> bytes:
        """A compressed archive of the files, and of job.zip for executors."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in {**self.files, ZIP: self._zip()}.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
        return packed.getvalue()

    def _zip(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.files.items():
                if name.endswith(".py"):
                    archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
        return packed.getvalue()
