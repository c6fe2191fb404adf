"""Parts: how an executor hands over finished images while the job goes on.

Nothing here imports Arrow: its first array in a process imports pandas, which would cost every
worker a second and 60 MB.
"""

import json
from pathlib import Path

from job.timing import ImageRecord


def write_atomically(path: Path, text: str) -> None:
    """Write TEXT so that a reader sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class PartWriter:
    """Gathers the records of one task attempt and writes them as JSON lines."""

    def __init__(self, folder: Path, name: str) -> None:
        """NAME is unique to the task attempt; the images of each part are counted in its name."""
        self._folder, self._name = folder, name
        self._lines: list[str] = []
        self._sequence = 0

    def add(self, record: ImageRecord) -> None:
        """Take one finished image; it is safe once ``flush`` has returned."""
        line = {
            "timing": record.timing,
            "width": record.width,
            "height": record.height,
            "objects": record.objects,
            "error": record.error,
        }
        self._lines.append(json.dumps(line, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        """Write what was gathered as one part."""
        if self._lines:
            name = f"{self._name}-{self._sequence:05}-n{len(self._lines)}.jsonl"
            write_atomically(self._folder / name, "".join(self._lines))
            self._lines.clear()
            self._sequence += 1
