"""report.json and report.html: what a run directory tells, for programs and for people."""

from job.report.build import Report, build, write

__all__ = ["Report", "build", "write"]
