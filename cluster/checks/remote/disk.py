"""How fast one folder's disk writes and reads, by a file that no one else ever sees."""

import json
import mmap
import os
import sys
import tempfile
import time

MEBIBYTE = 2**20
BLOCK = 4 * MEBIBYTE


def main() -> None:
    """Write with fsync, then read past the page cache; both end by size or by time."""
    folder, megabytes, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    while not os.path.isdir(folder):  # noqa: PTH112
        folder = os.path.dirname(folder)  # noqa: PTH120
    # Removed before the first byte is written, so that nothing stays however this ends.
    descriptor, path = tempfile.mkstemp(prefix=".speed-probe-", dir=folder)
    os.unlink(path)  # noqa: PTH108
    block = mmap.mmap(-1, BLOCK)  # O_DIRECT wants memory that begins on a page
    block.write(os.urandom(BLOCK))

    started = time.monotonic()
    written = 0
    while written < megabytes * MEBIBYTE and time.monotonic() - started < seconds:
        written += os.write(descriptor, block)
        os.fdatasync(descriptor)
    writing = time.monotonic() - started

    direct = True
    try:
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT)
    except OSError:  # tmpfs, for one, has no direct reads
        direct = False
        reader = descriptor
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.monotonic()
    count = 0
    while count < written and time.monotonic() - started < seconds:
        count += os.preadv(reader, [block], count)
    reading = time.monotonic() - started
    print(
        json.dumps(
            {
                "folder": folder,
                "written_mb": written // MEBIBYTE,
                "write_mb_s": written / MEBIBYTE / writing,
                "read_mb_s": count / MEBIBYTE / max(reading, 1e-6),
                "direct": direct,
            }
        )
    )


main()
