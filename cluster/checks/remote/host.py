"""What one host offers a run: its processor, memory and Spark.

Comes after the text of job/cgroup.py, which reads the limits of control groups.
"""

import json
import os
import platform
import re
import socket
import sys
from pathlib import Path


def text(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Print the fields of job.host.HostFacts, and what the host must share with the others.

    The arguments are folders that a run uses, as `cluster env gc` is to know.
    """
    for folder in sys.argv[1:]:
        mark = Path(folder, ".used")
        if mark.exists():
            os.utime(mark)
    processor = dict(re.findall(r"^(model name|flags)\s*: (.*)$", text("/proc/cpuinfo"), re.M))
    total_mb = int(re.findall(r"^MemTotal:\s+(\d+)", text("/proc/meminfo"), re.M)[0]) // 1024
    limit_mb = memory_limit_mb()  # type: ignore[name-defined]  # noqa: F821
    flags = processor.get("flags", "").split()
    print(
        json.dumps(
            {
                "facts": {
                    "host": socket.gethostname().split(".")[0],
                    "cpus_visible": os.cpu_count() or 1,
                    "cpus_quota": cpu_quota(),  # type: ignore[name-defined]  # noqa: F821
                    "memory_mb": int(min(total_mb, limit_mb or total_mb)),
                    "cpu_model": processor.get("model name", "unknown"),
                    "bf16": "avx512_bf16" in flags or "amx_bf16" in flags,
                },
                "machine": platform.machine(),
                "spark": text("/opt/spark/.digest").strip(),
            }
        )
    )


main()
