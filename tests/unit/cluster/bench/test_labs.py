import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.bench import labs

INVENTORY = "all: {hosts: {a: {ansible_host: 192.168.77.1, lab_cpus: 1, lab_memory_mb: 512}}}\n"
STUBBORN = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('removed')"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lab_is_removed_to_the_end_whatever_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    removed = []

    def command(_: Path, *arguments: str) -> str:
        if arguments == ("lab", "down"):
            os.kill(os.getpid(), number)
            words = [sys.executable, "-c", STUBBORN]
            removed.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        return ""

    (tmp_path / "hosts.yml").write_text(INVENTORY)
    monkeypatch.setattr(labs, "command", command)
    monkeypatch.setattr("cluster.bench.labs.requirements.check", lambda _machines: None)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), labs.operated(tmp_path, lambda _: None):
        raise KeyboardInterrupt
    assert removed == ["removed\n"]
    assert signal.getsignal(number) == before
