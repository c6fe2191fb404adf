"""Exports a model by starting ``cluster.model.convert`` in the environment that has PyTorch."""

import os
import subprocess
from pathlib import Path

from cluster.errors import WRONG_USAGE, ClusterError
from job.errors import UsageError
from job.model import Model

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-export" / "bin" / "python"
END_SECONDS = 30.0
SCORE_THRESHOLD = 0.15  # as the original's README evaluates


def export_model(
    *,
    weights: str,
    precision: str,
    output: Path,
    name: str | None = None,
    images: str | None = None,
    score_threshold: float = SCORE_THRESHOLD,
) -> Model:
    """Export WEIGHTS (a file or ``seeded:N``) into OUTPUT; progress goes to standard error.

    ``precision`` of the IR's weights: fp32 or fp16. ``name``: the folder's, unless given.
    ``images``: what to compare the forms on; a few of the shipped ones, unless given.
    ``score_threshold``: objects that a run reports have a higher score.
    Raises UsageError or ClusterError, one sentence.
    """
    if not PYTHON.exists():
        raise ClusterError(f"{PYTHON} is missing: run `make export-env`, which installs PyTorch")
    output = output.absolute()
    # Said at once, before PyTorch takes its seconds to start; `convert` replaces no files either.
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(f"{output} exists and is not an empty folder: choose another --output")
    command = [str(PYTHON), "-m", "cluster.model.convert"]
    command += ["--weights", weights, "--precision", precision, "--output", str(output)]
    command += ["--name", name or output.name, "--score-threshold", str(score_threshold)]
    if images is not None:
        command += ["--images", images]
    # The folder on sys.path, not the current one: names of files stay what they are.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    # PyTorch's threads wait for each other by spinning unless told otherwise: beside one other
    # busy process that took 80 times as long.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # In a process group of its own, so that Ctrl-C reaches this process alone, which ends it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, process_group=0
    ) as child:
        try:
            answer, _ = child.communicate()
        except BaseException:
            _end(child)
            raise
    if child.returncode == WRONG_USAGE and answer:
        raise UsageError(answer.strip())
    if child.returncode:
        raise ClusterError(answer.strip() or f"the export ended with exit code {child.returncode}")
    return Model.load(output)


def _end(child: "subprocess.Popen[str]") -> None:
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
