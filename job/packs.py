"""Many small files as a few large ones: a file of its own costs HDFS some 50 ms, a part nothing."""

from collections.abc import Callable, Iterable
from pathlib import Path

from job.origins import Part

PACK_BYTES = 2**25
# A path that is not there, for files that cannot be read: who reads them will say so.
UNREADABLE = "/unreadable"


def pack(
    paths: Iterable[str], put: Callable[[str, bytes], str]
) -> dict[str, tuple[str, Part | None]]:
    """Put the bytes of files into packs of some 32 MiB, by PUT(name, bytes), which tells the path.

    Gives for each file the path of its pack, and its part there.
    """
    there: dict[str, tuple[str, Part | None]] = {}
    waiting: list[tuple[str, bytes]] = []
    number = 0

    def flush() -> None:
        nonlocal number
        if not waiting:
            return
        pack = put(f"{number:05}.pack", b"".join(content for _, content in waiting))
        offset = 0
        for path, content in waiting:
            there[path] = pack, (offset, len(content))
            offset += len(content)
        waiting.clear()
        number += 1

    size = 0
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError:
            there[path] = UNREADABLE, None
            continue
        waiting.append((path, content))
        size += len(content)
        if size >= PACK_BYTES:
            flush()
            size = 0
    flush()
    return there
