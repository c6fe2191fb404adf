"""report.json and report.html: what a run directory tells, for programs and for people."""

from job.report.build import Report, build, write
from job.report.compare import compare

__all__ = ["Report", "build", "compare", "write"]
