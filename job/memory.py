"""A bound on a worker's memory, so that an image too large for it is an error and not its end."""

import re
import resource
from pathlib import Path

from job.cgroup import MIB


def bound(total_mb: int) -> None:
    """Let this process grow to some TOTAL_MB MiB resident; what goes beyond raises MemoryError.

    The kernel bounds what is reserved, of which threads' stacks and allocators never use all: so
    it is what is reserved now, and what there is between resident now and the total. Called when
    the model is loaded.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    now_kb = {name: int(kb) for name, kb in re.findall(r"^(Vm\w+):\s+(\d+) kB", status, re.M)}
    room = max(total_mb * MIB - now_kb["VmRSS"] * 1024, 0)
    limit = now_kb["VmData"] * 1024 + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
