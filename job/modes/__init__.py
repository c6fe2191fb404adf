"""The modes by name."""

from job.modes.base import Mode
from job.modes.local import LocalMode

MODES: dict[str, type[Mode]] = {mode.name: mode for mode in (LocalMode,)}
