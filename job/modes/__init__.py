"""The modes by name."""

from job.modes.base import Mode
from job.modes.local import LocalMode
from job.modes.standalone import StandaloneMode
from job.modes.yarn import YarnMode

MODES: dict[str, type[Mode]] = {mode.name: mode for mode in (LocalMode, StandaloneMode, YarnMode)}
