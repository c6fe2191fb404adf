"""Which host is slow: pure functions from timing rows to a verdict; no Spark, files or clock."""

from job.stragglers.causes import Cause
from job.stragglers.compare import HostChange, compare_runs
from job.stragglers.findings import HostFactor
from job.stragglers.pace import speeds
from job.stragglers.verdict import Verdict, verdict
from job.stragglers.whatif import WhatIf
from job.stragglers.work import STAGES

__all__ = [
    "STAGES",
    "Cause",
    "HostChange",
    "HostFactor",
    "Verdict",
    "WhatIf",
    "compare_runs",
    "speeds",
    "verdict",
]
