"""What the executors' environment leaves out, and why: no executor and no driver needs it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that a wheel brings and a run does not use; patterns are below site-packages."""

    name: str
    patterns: tuple[str, ...]


PARTS = (
    Part(
        name="Spark's programs and jars, which are on the hosts and on HDFS",
        patterns=(
            "pyspark/jars",
            "pyspark/bin",
            "pyspark/sbin",
            "pyspark/data",
            "pyspark/python",
            "bin",
        ),
    ),
    Part(name="BigDL's jars, which only the engine orca loads", patterns=("bigdl/share/*/lib",)),
    Part(
        name="pandas on Spark, programs and examples",
        patterns=(
            *("pyspark/pandas", "pyspark/examples", "examples", "benchmarks", "share"),
            *("bigdl/share/*/bin", "bigdl/scripts", "scripts"),
        ),
    ),
    Part(
        name="OpenVINO's GPU plugin",
        patterns=("openvino/libs/libopenvino_intel_gpu_plugin.so", "openvino/libs/cache.json"),
    ),
    Part(
        name="OpenVINO's readers of other formats, and its tools",
        patterns=(
            *(
                f"openvino/libs/libopenvino_{name}_frontend.*"
                for name in ("onnx", "paddle", "pytorch", "tensorflow", "tensorflow_lite")
            ),
            "openvino/libs/libopenvino_gapi_preproc.so",
            "openvino/tools",
            "openvino/frontend/*/*.so",
            "openvino/torch",
        ),
    ),
    Part(
        name="Arrow beyond Parquet: Flight, ORC, object stores",
        patterns=(
            "pyarrow/libarrow_flight.*",
            *(f"pyarrow/_{name}.*.so" for name in ("flight", "orc", "azurefs", "gcsfs", "s3fs")),
        ),
    ),
    Part(
        name="what packages bring to be built against or tested",
        patterns=(
            "**/tests",
            "**/test",
            "**/include",
            "**/*.pyi",
            "**/*.pyx",
            "**/*.pxi",
            "**/*.pxd",
            "**/*.h",
            "**/*.a",
            "**/*.c",
        ),
    ),
    Part(
        name="what only builds packages",
        patterns=(
            "setuptools",
            "pkg_resources",
            "_distutils_hack",
            "distutils-precedence.pth",
            "setuptools-*",
            "cmake_modules",
            "numpy/f2py",
            "numpy/distutils",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A part that was there, and its size in bytes."""

    name: str
    bytes: int


def slim(packages: Path, parts: Sequence[Part] = PARTS) -> list[Dropped]:
    """Remove PARTS from the folder PACKAGES; gives what was there, in PARTS' order."""
    dropped = []
    for part in parts:
        total = 0
        for path in [found for pattern in part.patterns for found in packages.glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                total += size(path)
                shutil.rmtree(path)
            elif path.exists():  # a pattern before may have taken it
                total += path.stat().st_size
                path.unlink()
        if total:
            dropped.append(Dropped(name=part.name, bytes=total))
    return dropped


def size(folder: Path) -> int:
    """Bytes of the files below FOLDER, links not followed."""
    return sum(
        path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    )
