"""Which host is slow: pure functions from timing rows to a verdict; no Spark, files or clock."""

from job.stragglers.compare import HostChange, compare_runs
from job.stragglers.model import HostFactor, compare_hosts
from job.stragglers.pace import speeds
from job.stragglers.verdict import Verdict, verdict
from job.stragglers.work import STAGES

__all__ = [
    "STAGES",
    "HostChange",
    "HostFactor",
    "Verdict",
    "compare_hosts",
    "compare_runs",
    "speeds",
    "verdict",
]
