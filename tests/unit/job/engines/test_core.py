"""One core, so that signals are safe whatever is freed."""

import subprocess
import sys

PROGRAM = """
import os, signal, sys
from job.engines.core import core
from job.model import Model

xml = Model.find("yolact-shapes").xml
models = [core().compile_model(xml, "CPU") for _ in range(2)]
del models[0], models[0]
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_after_models_are_freed_does_not_end_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n")
