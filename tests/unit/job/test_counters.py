import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from job.counters import Counters

Tree = Callable[[dict[str, str]], Path]

TASK = "proc/self/task"


def waited(**milliseconds: int) -> dict[str, str]:
    """Threads by name, with the run delay their schedstat shows."""
    return {f"{TASK}/{t}/schedstat": f"123 {ms * 10**6} 9\n" for t, ms in milliseconds.items()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_busy_thread_raises_cpu_ms() -> None:
    counters = Counters()

    def burn() -> None:
        while time.thread_time() < 0.1:
            pass

    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
    assert 100 <= counters.delta().cpu_ms < 1000
    time.sleep(0.2)
    assert counters.delta().cpu_ms < 50
    counters.close()


def test_run_delay_is_what_was_waited_since_the_last_call(tree: Tree) -> None:
    root = tree(waited(a=5, b=7))
    counters = Counters(root)
    assert counters.delta().run_delay_ms == 0.0
    tree(waited(a=6, b=9))
    assert counters.delta().run_delay_ms == 3.0
    assert counters.delta().run_delay_ms == 0.0


def test_threads_that_come_and_go_never_make_it_negative(tree: Tree) -> None:
    root = tree(waited(a=5, b=700))
    counters = Counters(root)
    shutil.rmtree(root / TASK / "b")
    tree(waited(a=6))
    assert counters.delta().run_delay_ms == 1.0
    tree(waited(b=2))  # its number is given to a new thread
    assert counters.delta().run_delay_ms == 2.0


def test_real_threads_that_come_and_go_leave_no_files_open() -> None:
    before = open_files()
    counters = Counters()
    for _ in range(50):
        threads = [threading.Thread(target=time.sleep, args=(0.001 * i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        delay = counters.delta().run_delay_ms
        assert delay is not None
        assert delay >= 0
        for thread in threads:
            thread.join()
    counters.delta()
    assert open_files() <= before + len(list(Path("/proc/self/task").iterdir()))
    counters.close()
    assert open_files() == before


def test_what_the_kernel_does_not_offer_is_none(tmp_path: Path, tree: Tree) -> None:
    assert Counters(tmp_path).delta()[1:] == (None, None)
    assert Counters(tree({f"{TASK}/a/comm": "python\n"})).delta()[1:] == (None, None)


def test_throttling_is_what_was_added_since_the_last_call(tree: Tree) -> None:
    stat = "nr_periods 9\nnr_throttled 1\nthrottled_usec {}\n"
    root = tree(
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n",
            "cg/cpu.stat": stat.format(4000),
        }
    )
    counters = Counters(root)
    assert counters.delta().throttled_ms == 0.0
    tree({"cg/cpu.stat": stat.format(6500)})
    assert counters.delta().throttled_ms == 2.5


def test_two_processes_on_one_cpu_wait_for_each_other() -> None:
    code = """
import os, time
from job.counters import Counters
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
end = time.monotonic() + 0.5
child = os.fork()
counters = Counters()
while time.monotonic() < end: pass
if child:
    print(counters.delta().run_delay_ms)
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < 500


def test_a_call_is_cheap_with_twenty_threads() -> None:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    counters = Counters()
    costs = []
    for _ in range(5):
        before = time.thread_time()
        for _ in range(50):
            counters.delta()
        costs.append((time.thread_time() - before) / 50)
    end.set()
    counters.close()
    assert min(costs) < 0.3e-3
