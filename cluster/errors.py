"""Errors of the operator's side, and the exit code of every error."""

from job.errors import JobError, UsageError

DONE, FAILED, WRONG_USAGE, STRAGGLER_FOUND = 0, 1, 2, 3


class ClusterError(JobError):
    """Something on the operator's side failed; one sentence says what and what to do."""


def exit_code(error: JobError) -> int:
    """What the command ends with."""
    return WRONG_USAGE if isinstance(error, UsageError) else FAILED
