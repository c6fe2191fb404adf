"""How fast one host's CPU unpacks gzip, on one thread as gzip itself does.

gunzip.py SECONDS
"""

import json
import random
import sys
import time
import zlib

SEED = 1


def material() -> bytes:
    """1 MiB that compresses to a little under half, as an environment does."""
    letters = bytes(int(256 * value**3) for value in (step / 4096 for step in range(4096)))
    return bytes(random.Random(SEED).choices(letters, k=2**16)) * 16


def main() -> None:
    """Unpack the same again and again; MB/s of what comes out."""
    packed, seconds, done = zlib.compress(material(), 1), float(sys.argv[1]), 0
    started = time.monotonic()
    while (took := time.monotonic() - started) < seconds:
        done += len(zlib.decompress(packed))
    print(json.dumps({"mb_per_s": done / 1e6 / took}))


main()
