"""How much work one host's CPUs do: the same work everywhere, on one thread and on all.

A unit is one compression of the same 64 KiB. It runs in C, so threads do not wait for one another.
Each measurement takes a fixed time, long against the 100 ms in which a quota is renewed.
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
        "cpu_share": (time.process_time() - cpu) / wall,  # CPUs that the work really had
    }


def busy() -> list[int]:
    """CPU time of this host since it started: all, idle, and taken by other guests."""
    with open("/proc/stat", encoding="utf-8") as file:  # noqa: PTH123
        times = [int(number) for number in file.readline().split()[1:9]]
    return [sum(times), times[3] + times[4], times[7]]


def main() -> None:
    """Measure, and say how busy the host was just before."""
    seconds = float(sys.argv[1])
    before = busy()
    time.sleep(0.5)
    total, idle, _ = (now - then for now, then in zip(busy(), before, strict=True))
    threads = len(os.sched_getaffinity(0))
    start = busy()
    single, every = measure(1, seconds), measure(threads, seconds)
    ticks, _, stolen = (now - then for now, then in zip(busy(), start, strict=True))
    print(
        json.dumps(
            {
                "zlib": zlib.ZLIB_RUNTIME_VERSION,
                "single": single,
                "all": every,
                "busy_before": 1 - idle / max(total, 1),
                "stolen": stolen / max(ticks, 1),
            }
        )
    )


main()
