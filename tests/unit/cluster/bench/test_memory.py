import subprocess
import sys
import time

import psutil
import pytest

from cluster.bench.memory import run_watched

HOLD = "data = bytearray({mib} << 20); import time; time.sleep(1.5)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_peak_counts_children_too() -> None:
    child = HOLD.format(mib=100)
    parent = (
        "import subprocess, sys; held = bytearray(50 << 20);"
        f"subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
    )
    output, peak = run_watched(python(parent))
    assert output == "done\n"
    assert 150 < peak.total_mb < 220
    assert peak.without_jvm_mb == peak.total_mb


def test_a_process_named_java_is_left_out_of_the_second_sum() -> None:
    named = "open('/proc/self/comm', 'w').write('java');" + HOLD.format(mib=80)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {named!r}])"
    _, peak = run_watched(python(parent))
    assert peak.total_mb - peak.without_jvm_mb > 80


def test_a_failure_keeps_what_was_printed() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_watched(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert (caught.value.returncode, caught.value.output, caught.value.stderr) == (
        3,
        "out\n",
        "err\n",
    )


def test_the_command_ends_with_the_benchmark_however_that_ends() -> None:
    sleeper = python("import time; print('up', flush=True); time.sleep(60)")
    watcher = f"from cluster.bench.memory import run_watched; run_watched({sleeper!r})"
    with subprocess.Popen(python(watcher)) as process:
        for _ in range(200):
            children = psutil.Process(process.pid).children()
            if children and "time.sleep" in " ".join(children[0].cmdline()):
                break
            time.sleep(0.05)
        process.kill()
    gone, left = psutil.wait_procs(children, timeout=10)
    assert len(gone) == 1 and not left
