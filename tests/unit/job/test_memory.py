import subprocess
import sys

GROW = """
from job import memory
memory.bound({total_mb})
kept = b"x" * (100 * 2**20)
try:
    more = b"x" * (400 * 2**20)
except MemoryError:
    print("bounded")
else:
    print("grown")
"""


def grown(total_mb: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", GROW.format(total_mb=total_mb)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_process_grows_to_its_bound_and_no_further() -> None:
    assert grown(300) == "bounded"
    assert grown(900) == "grown"
