"""``cluster bench throughput``: both engines against OpenVINO's own benchmark_app.

Every contender runs in a process of its own on the same images, cores and precision, in rounds:
a ratio is taken inside a round and the median of the rounds is the figure, for machines drift.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bench.memory import Peak, run_watched
from cluster.bench.result import Result
from cluster.errors import ClusterError
from cluster.model.export import export_model
from job.cgroup import cpu_quota
from job.host import host_facts, threads_for
from job.model import SHIPPED, Model

SAMPLES = SHIPPED / "images"
SEEDED_CACHE = SHIPPED.parent / ".cache" / "models"
DRAIN_TASKS = 8

TARGETS = {
    "native_infer_ratio": (">=", 0.95),
    "native_end_to_end_ratio": (">=", 0.90),
    "memory_ratio": ("<=", 1.3),
    "instrumentation_cost": ("<=", 0.01),
}


@dataclass
class Contender:
    """Its figures of every round."""

    name: str
    rates: list[float] = field(default_factory=list)
    peaks: list[Peak] = field(default_factory=list)
    detections: float | None = None


def measure(
    *,
    model: str,
    precisions: Sequence[str],
    images: int,
    runs: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Result:
    """Run every contender RUNS times on IMAGES images at each precision.

    Args:
        model: a name in models/, a folder, or ``seeded:N`` for YOLACT-ResNet50 at 550 px.
        precisions: f32, bf16; empty for all that the CPU computes in.
        images: how many, taken in turn from the shipped samples.
        runs: rounds; the figures are medians over them.
        tell: called with a line about what is measured now.
    """
    found = model_of(model, tell)
    bf16 = host_facts().bf16
    precisions = precisions or (("f32", "bf16") if bf16 else ("f32",))
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cluster-bench-") as folder:
        source = _images(Path(folder) / "images", images)
        for precision in precisions:
            rounds = _Rounds(found, source, precision, Path(folder), images)
            for number in range(runs):
                rounds.run(f"{precision}, round {number + 1} of {runs}", tell)
            suffix = "" if precision == "f32" else f"_{precision}"
            rows += rounds.rows()
            figures |= {f"{name}{suffix}": value for name, value in rounds.figures().items()}
    notes = [
        f"{found.name}, {images} images, {runs} rounds; medians, each ratio against benchmark_app"
        " in the same round; objects: in a median image"
    ]
    if not bf16:
        notes.append("bf16 is not measured: this CPU does not compute in it")
    targets = {
        f"{name}{suffix}": target for name, target in TARGETS.items() for suffix in ("", "_bf16")
    }
    return Result(
        bench="throughput",
        rows=rows,
        figures=figures,
        targets={name: target for name, target in targets.items() if name in figures},
        notes=notes,
    )


def model_of(name: str, tell: Callable[[str], None]) -> Model:
    """A model by its name in models/ or its folder; ``seeded:N`` is exported once."""
    if not name.startswith("seeded:"):
        return Model.find(name)
    folder = SEEDED_CACHE / f"yolact-resnet50-{name.removeprefix('seeded:')}"
    if not (folder / "model.json").exists():
        tell(f"exporting {name} to {folder} (once)")
        export_model(weights=name, precision="fp32", output=folder)
    return Model.load(folder)


def _images(folder: Path, count: int) -> Path:
    samples = sorted(path for path in SAMPLES.rglob("*.jpg"))
    if not samples:
        raise ClusterError(f"no sample images in {SAMPLES}")
    folder.mkdir()
    for number in range(count):
        sample = samples[number % len(samples)]
        shutil.copy(sample, folder / f"{number:05}-{sample.name}")
    return folder


class _Rounds:
    """The contenders at one precision."""

    def __init__(
        self, model: Model, source: Path, precision: str, folder: Path, images: int
    ) -> None:
        self._model, self._source, self._images = model, source, images
        self._precision, self._folder = precision, folder
        self._output = 0
        self.contenders: dict[str, Contender] = {}

    def run(self, label: str, tell: Callable[[str], None]) -> None:
        inference = {"model": str(self._model.folder), "precision": self._precision}
        steps: dict[str, Callable[[], tuple[dict[str, Any], Peak]]] = {
            # What is compared most closely runs side by side.
            "native, not instrumented": lambda: self._spark("native", instrumentation=False),
            "native": lambda: self._spark("native"),
            "benchmark_app": self._benchmark_app,
            "native, inference only": lambda: _contend(
                "native_inference", **inference, images=self._images
            ),
            f"native, {DRAIN_TASKS} tasks": lambda: self._spark("native", partitions=DRAIN_TASKS),
            "orca": lambda: self._spark("orca"),
            "plain loop": lambda: _contend("plain_loop", **inference, input=str(self._source)),
        }
        for name, step in steps.items():
            tell(f"{label}: {name}")
            answer, peak = step()
            contender = self.contenders.setdefault(name, Contender(name))
            contender.rates.append(answer["images_per_second"])
            contender.peaks.append(peak)
            contender.detections = answer.get("detections")

    def _spark(self, engine: str, **options: Any) -> tuple[dict[str, Any], Peak]:
        self._output += 1
        # One task for each slot, unless the tasks are what is measured.
        options = {"partitions": None if engine == "orca" else 1, **options}
        return _contend(
            "spark_job",
            engine=engine,
            model=str(self._model.folder),
            precision=self._precision,
            input=str(self._source),
            output=str(self._folder / f"{self._precision}-{self._output}"),
            **options,
        )

    def _benchmark_app(self) -> tuple[dict[str, Any], Peak]:
        report = self._folder / "benchmark_app"
        report.mkdir(exist_ok=True)
        # Beside a performance hint benchmark_app takes the number of threads from a file only.
        config = report / "config.json"
        threads = threads_for(cpu_quota(), 1)
        config.write_text(json.dumps({"CPU": {"INFERENCE_NUM_THREADS": threads}}), "utf-8")
        _, peak = _watched(
            [
                *(str(Path(sys.executable).with_name("benchmark_app")), "-m", str(self._model.xml)),
                *("-d", "CPU", "-hint", "throughput", "-niter", str(self._images)),
                *("-load_config", str(config)),
                *("-infer_precision", f"CPU:{self._precision}"),
                *("-report_type", "no_counters", "-json_stats", "-report_folder", str(report)),
            ]
        )
        statistics_ = json.loads((report / "benchmark_report.json").read_text(encoding="utf-8"))
        return {"images_per_second": float(_find(statistics_, "throughput"))}, peak

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "contender": contender.name,
                "in": self._precision,
                "images/s": statistics.median(contender.rates),
                "ratio": self._ratio(contender.name),
                "least": min(self._ratios(contender.name)),
                "most": max(self._ratios(contender.name)),
                "MiB": round(statistics.median(p.total_mb for p in contender.peaks)),
                "no JVM": round(statistics.median(p.without_jvm_mb for p in contender.peaks)),
                "objects": contender.detections,
            }
            for contender in self.contenders.values()
        ]

    def figures(self) -> dict[str, float]:
        memory = [
            ours.without_jvm_mb / theirs.total_mb
            for ours, theirs in zip(
                self.contenders["native"].peaks, self.contenders["benchmark_app"].peaks, strict=True
            )
        ]
        # Time lost at a task's end, in image times: n images take n / r in one task and
        # n / r + (tasks - 1) * drain in several.
        drain = self._ratios("native", f"native, {DRAIN_TASKS} tasks")
        return {
            "native_infer_ratio": self._ratio("native, inference only"),
            "native_end_to_end_ratio": self._ratio("native"),
            "orca_end_to_end_ratio": self._ratio("orca"),
            "loop_end_to_end_ratio": self._ratio("plain loop"),
            "memory_ratio": statistics.median(memory),
            "instrumentation_cost": 1
            - statistics.median(self._ratios("native", "native, not instrumented")),
            "drain_images": (statistics.median(drain) - 1) * self._images / (DRAIN_TASKS - 1),
        }

    def _ratio(self, name: str) -> float:
        return statistics.median(self._ratios(name))

    def _ratios(self, name: str, base: str = "benchmark_app") -> list[float]:
        pairs = zip(self.contenders[name].rates, self.contenders[base].rates, strict=True)
        return [rate / against for rate, against in pairs]


def _contend(name: str, **arguments: Any) -> tuple[dict[str, Any], Peak]:
    command = [sys.executable, "-m", "cluster.bench.contenders", name, json.dumps(arguments)]
    output, peak = _watched(command)
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer, peak


def _watched(command: Sequence[str]) -> tuple[str, Peak]:
    try:
        return run_watched(command)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.output or "").strip().splitlines() or ["no message"]
        raise ClusterError(f"{Path(command[0]).name} failed: {lines[-1]}") from error


def _find(data: Any, name: str) -> Any:
    """The value of NAME wherever it is in benchmark_app's report."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        if key == name:
            return value
        if isinstance(value, dict | list) and (found := _find(value, name)) is not None:
            return found
    return None
