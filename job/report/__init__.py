"""report.json and report.html: what a run directory tells, for programs and for people."""

from job.report.build import Report, build, write
from job.report.compare import compare
from job.report.comparison import render_comparison
from job.report.log import render_log

__all__ = ["Report", "build", "compare", "render_comparison", "render_log", "write"]
