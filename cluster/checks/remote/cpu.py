"""How much work one host's CPUs do: the same work everywhere, on one thread and on all.

A unit is one compression of the same 64 KiB. It runs in C, so threads do not wait for one another.
Each measurement takes a fixed time, long against the 100 ms in which a quota is renewed.

Comes after the text of job/cgroup.py, which reads what the host may use of its CPUs.
"""

import json
import os
import random
import sys
import threading
import time
import zlib
from typing import Any

SEED = 1


def material() -> bytes:
    """64 KiB that compress to about half: as in text, some bytes are much more frequent."""
    letters = bytes(int(256 * value**3) for value in (step / 4096 for step in range(4096)))
    return bytes(random.Random(SEED).choices(letters, k=65536))


def measure(threads: int, seconds: float) -> dict[str, Any]:
    """Units each second with so many threads at once."""
    data, done = material(), [0] * threads
    started = time.monotonic()

    def work(mine: int) -> None:
        while time.monotonic() - started < seconds:
            zlib.compress(data, 6)
            done[mine] += 1

    pool = [threading.Thread(target=work, args=(mine,)) for mine in range(threads)]
    cpu = time.process_time()
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    wall = time.monotonic() - started
    return {
        "threads": threads,
        "units_per_s": sum(done) / wall,
        "cpus_used": (time.process_time() - cpu) / wall,
    }


def stolen() -> tuple[int, int]:
    """CPU time of this host since it started: what other guests of its machine took, and all."""
    with open("/proc/stat", encoding="utf-8") as file:  # noqa: PTH123
        times = [int(number) for number in file.readline().split()[1:9]]
    return times[7], sum(times)


def main() -> None:
    """Measure one thread, then as many as there are CPUs."""
    seconds, before = float(sys.argv[1]), stolen()
    single = measure(1, seconds)
    every = measure(len(os.sched_getaffinity(0)), seconds)
    taken, ticks = (now - then for now, then in zip(stolen(), before, strict=True))
    print(
        json.dumps(
            {
                "single": single,
                "all": every,
                "cpus_allowed": cpu_quota(),  # type: ignore[name-defined]  # noqa: F821
                "stolen": taken / max(ticks, 1),
                "zlib": zlib.ZLIB_RUNTIME_VERSION,
            }
        )
    )


main()
