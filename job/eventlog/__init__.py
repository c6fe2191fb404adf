"""Spark's event logs: where one lies, its bytes in any of Spark's codecs, and the tables in it."""

from job.eventlog.events import EventLog, read
from job.eventlog.files import Here, OnHdfs, Storage, find

__all__ = ["EventLog", "Here", "OnHdfs", "Storage", "find", "read"]
