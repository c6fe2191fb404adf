"""Errors a person reads: one sentence that names the file, host or option, and what to do."""


class JobError(Exception):
    """The work failed; the command ends with exit code 1."""


class UsageError(JobError):
    """The request itself is wrong; nothing was started; the command ends with exit code 2."""
