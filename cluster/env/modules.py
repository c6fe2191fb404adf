"""As few files as can be: most modules in one zip, the others compiled and without their source.

A NodeManager without Hadoop's native library starts a process for each file and folder that it
unpacks, to set its mode; that took 14 of 15 s for the 4600 that the wheels bring.
"""

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from cluster.env.prefix import VERSION

# Python looks there before it looks into the folder of its library.
ZIP = f"{VERSION.replace('.', '')}.zip"
# Of a package that is nothing but modules; other files may be read by their path.
TEXT = frozenset((".py", ".pyc", ".typed", ".txt", ".rst", ".md", ".conf", ""))
# By os.py Python finds its library; the other is ours, and small.
STAY = ("os.py", "sitecustomize.py")
# Runs its own source.
WITH_SOURCE = "cv2"
OLDEST = (1980, 1, 1, 0, 0, 0)


def bundle(whole: Path) -> None:
    """Do so with the prefix WHOLE, whose modules are compiled beside their source."""
    library = whole / "lib" / VERSION
    packages = library / "site-packages"
    units = [
        unit
        for folder in (library, packages)
        for unit in sorted(folder.iterdir())
        if unit.name not in STAY and unit != packages and _is_for_zip(unit)
    ]
    with zipfile.ZipFile(whole / "lib" / ZIP, "w", zipfile.ZIP_STORED) as archive:
        for unit in units:
            for path in _files(unit):
                name = path.relative_to(packages if packages in path.parents else library)
                archive.writestr(zipfile.ZipInfo(str(name), OLDEST), path.read_bytes())
    for unit in units:
        if unit.is_dir():
            shutil.rmtree(unit)
        else:
            unit.unlink()
    _keep_one_of_each(_files(library), packages / WITH_SOURCE)
    for folder in sorted(library.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _is_for_zip(unit: Path) -> bool:
    if unit.is_dir():
        return unit.suffix == ".dist-info" or all(path.suffix in TEXT for path in _files(unit))
    return unit.suffix in (".py", ".pyc")


def _files(unit: Path) -> list[Path]:
    return [unit] if unit.is_file() else sorted(each for each in unit.rglob("*") if each.is_file())


def _keep_one_of_each(files: Iterable[Path], with_source: Path) -> None:
    for source, compiled in _pairs(files):
        if with_source in source.parents or source.name in STAY:
            compiled.unlink()
        else:
            source.unlink()


def _pairs(files: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    for source in files:
        compiled = source.with_suffix(".pyc")
        if source.suffix == ".py" and compiled.exists():
            yield source, compiled
