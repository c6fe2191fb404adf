"""``cluster run --mode yarn`` on three machines: results, and what may happen to the machines."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.labs import OperatedLab, until
from tests.scenarios.readme import IN_README, as_in_readme
from tests.scenarios.running import (
    SAMPLES,
    InsideLab,
    Machine,
    Running,
    assert_complete,
    assert_same,
    many,
    run_json,
    timings,
)

INVENTORY = "lab-yarn"
HOSTS = ["node1", "node2", "node3"]
# Hosts are lost after 60 s; HDFS and YARN look every few seconds.
LOST_AFTER_S = (45, 110)
# Enough that a fault comes in the middle: some 30 s of work.
IMAGES = 1200
# On executors before anything else of theirs: some images kill who decodes them, and while a file
# is there all wait.
POISON = """
import os, time
from PIL import Image
decode = Image.open
def poisoned(file, *options, **more):
    while os.path.exists("/tmp/wait"):
        time.sleep(0.5)
    end = file.getvalue()[-6:]
    if end == b"CRASH!":
        os.kill(os.getpid(), 11)
    if end == b"MEMORY":
        hoard = b"x" * 2**31
        time.sleep(20)
    return decode(file, *options, **more)
Image.open = poisoned
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("input") / "photos", IMAGES)


def start(lab: OperatedLab, source: Path | str, output: Path | str, *more: str) -> Running:
    return Running(lab, ["--mode", "yarn", "--input", str(source), "--output", str(output), *more])


def poisoned(lab: OperatedLab) -> tuple[str, str]:
    """What to give a run so that its executors decode images as ``POISON`` does."""
    for host in HOSTS:
        lab.run(host, f"mkdir -p /tmp/poison; cat > /tmp/poison/sitecustomize.py <<'E'\n{POISON}E")
    return "--conf", "spark.executorEnv.PYTHONPATH=/tmp/poison"


@contextmanager
def waiting(lab: OperatedLab) -> Iterator[None]:
    """Executors that are poisoned do nothing."""
    for host in HOSTS:
        lab.run(host, "touch /tmp/wait")
    try:
        yield
    finally:
        for host in HOSTS:
            lab.run(host, "rm /tmp/wait")


def master_of(lab: OperatedLab) -> str:
    """The host of the application master of what runs."""
    apps = lab.fetch("http://node1:8088/ws/v1/cluster/apps?states=RUNNING")["apps"]["app"]
    host, _ = apps[0]["amHostHttpAddress"].split(":")
    return str(host)


@pytest.mark.parametrize("engine", ["native", "orca"])
def test_every_host_works_and_finds_what_local_mode_finds(
    lab: OperatedLab, pushed: Any, local: Path, tmp_path: Path, engine: str
) -> None:
    output = tmp_path / "run"
    assert start(lab, SAMPLES, output, "--engine", engine).end() == 0
    assert_same(output, local)
    run = run_json(output)
    assert (run["status"], run["input"]) == ("finished", str(SAMPLES))
    assert [host["host"] for host in run["hosts"]] == HOSTS
    assert {row["host"] for row in timings(output)} == set(HOSTS)
    # One executor on each host.
    places = {(row["host"], row["executor_id"]) for row in timings(output)}
    assert len(places) == len(HOSTS)
    assert any("one on each host" in reason for reason in run["plan"]["reasons"])
    phases = Counter(phase["name"] for phase in run["phases"])
    assert phases["submit"] == phases["write"] == 1
    assert all(phases[name] >= 3 for name in ("executor_start", "model_load", "steady")), phases
    assert (output / "report.html").stat().st_size > 10_000
    assert list((output / "spark-events").iterdir())


def test_the_readme_ends_with_a_report(lab: OperatedLab, pushed: Any, tmp_path: Path) -> None:
    as_in_readme(lab, "env push")
    (command,) = (each for each in IN_README if each.startswith("run"))
    said = as_in_readme(lab, command, tmp_path)
    assert "Verdict:" in said
    assert (tmp_path / "yarn" / "report.html").exists()


def test_the_event_log_of_another_job_on_hdfs_is_read_from_here(lab: OperatedLab) -> None:
    pi = "/opt/spark/examples/src/main/python/pi.py"
    said = lab.run(lab.edge, f"spark-submit --master yarn --num-executors 2 {pi} 40 2>&1")
    application = re.findall(r"application_\d+_\d+", said)[-1]
    done = lab.cluster("report", f"hdfs:///spark-events/{application}", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["application"]["id"] == application
    assert sum(host["tasks"] for host in told["hosts"]) == 40
    # The folder holds the logs of all that ran.
    done = lab.cluster("report", "hdfs:///spark-events")
    assert done.returncode == 2 and " event logs: name one of " in done.stderr


def test_killed_processes_and_a_cut_connection_cost_no_result(
    lab: OperatedLab, pushed: Any, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    running = start(lab, photos, output)
    running.until_done(30)
    Machine(lab, "node2").kill_executor()
    lab.kill("node3", ["yarn-nodemanager"])
    lab.kill("node1", ["hdfs-datanode"])
    # The operator's ssh, which cluster run has started.
    mine = ["pgrep", "-P", str(running.process.pid)]
    for process in subprocess.run(mine, capture_output=True, text=True, check=True).stdout.split():
        os.killpg(int(process), signal.SIGKILL)
    assert running.end() == 0
    assert_complete(output, IMAGES)
    assert any(row["attempt"] > 0 for row in timings(output))
    # Before anything else every executor did the same few images; one was killed, perhaps before.
    did: dict[str, dict[Any, set[str]]] = {"calibration": {}, "image": {}}
    for row in timings(output):
        executor = row["host"], row["executor_id"]
        did[row["kind"]].setdefault(executor, set()).add(row["image_id"])
    assert {host for host, _ in did["image"]} >= {"node1", "node3"}
    first = {frozenset(did["calibration"][executor]) for executor in did["image"]}
    assert list(map(len, first)) == [4]


@pytest.mark.parametrize("fault", ["frozen for 60 s", "cut off", "disk full"])
def test_a_host_in_trouble_costs_no_result(
    lab: OperatedLab, pushed: Any, photos: Path, tmp_path: Path, fault: str
) -> None:
    output = tmp_path / "run"
    running = start(lab, photos, output)
    running.until_done(30)
    # The one with the application master has more to lose.
    machine = Machine(lab, max(master_of(lab), "node2"))
    print(f"{fault}: {machine.host}")
    with ExitStack() as stack:
        began = time.monotonic()
        if fault == "disk full":
            stack.enter_context(machine.disk_full("/data/yarn/local"))
        elif fault == "cut off":
            stack.enter_context(machine.cut_off())
        else:
            with machine.frozen():
                time.sleep(60)
        assert running.end() == 0
        print(f"{fault}: {time.monotonic() - began:.0f} s until the end")
    assert_complete(output, IMAGES)
    lab.until_ready()


def test_images_that_kill_are_lines_in_errors(
    lab: OperatedLab, pushed: Any, tmp_path: Path
) -> None:
    source, output = tmp_path / "photos", tmp_path / "run"
    many(source, 24)
    for name, end in (("0005.jpg", b"CRASH!"), ("0011.jpg", b"MEMORY")):
        path = source / name
        path.write_bytes(path.read_bytes() + end)
    running = start(lab, source, output, *poisoned(lab))
    assert running.end() == 0
    counts = run_json(output)["counts"]
    assert (counts["done"], counts["errors"], counts["missing"]) == (22, 2, 0)
    lines = map(json.loads, (output / "errors.jsonl").read_text(encoding="utf-8").splitlines())
    said = {line["image"]: line["message"] for line in lines}
    assert "SIGSEGV" in said["0005.jpg"]
    assert "--executor-memory" in said["0011.jpg"]


def test_a_run_goes_on_alone_is_stopped_and_finished(
    lab: OperatedLab, pushed: Any, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    running = start(lab, photos, output, *poisoned(lab))
    running.until_done(1)
    with waiting(lab):
        # However long another command takes to begin, the run is not at its end by then.
        running.process.kill()
        running.end()
        attached = Running(lab, ["--attach", running.id])
        until(lambda: "" if attached.said else "the first word of the run")
        attached.process.send_signal(signal.SIGINT)
        assert attached.end() == 1
    stopped = run_json(output)["counts"]
    assert stopped["missing"] > 0
    assert any("--resume" in line for line in attached.said)
    assert Running(lab, ["--resume", str(output)]).end() == 0
    assert_complete(output, IMAGES)
    assert run_json(output)["counts"]["resumed"] == IMAGES - stopped["missing"]
    assert lab.run("node1", "ls /data/runs") == ""


def test_input_and_output_stay_on_hdfs(
    lab: OperatedLab, pushed: Any, local: Path, tmp_path: Path
) -> None:
    put = f"tar -C {SAMPLES} -cf - . | ssh -F {lab.inventory}/.lab/ssh_config node1"
    put += " 'mkdir -p /tmp/in && tar -C /tmp/in -xf - && hdfs dfs -put -f /tmp/in /tmp/'"
    subprocess.run(put, shell=True, check=True)
    running = start(lab, "hdfs:///tmp/in", "hdfs:///tmp/out", "--avoid", "node2")
    assert running.end() == 0
    assert "Run directory: hdfs:///tmp/out" in running.said
    lab.run("node1", "hdfs dfs -get /tmp/out /tmp/out && chmod -R a+r /tmp/out")
    output = tmp_path / "run"
    output.mkdir()
    fetch = f"ssh -F {lab.inventory}/.lab/ssh_config node1 tar -C /tmp/out -cf - ."
    subprocess.run(f"{fetch} | tar -C {output} -xf -", shell=True, check=True)
    assert_same(output, local)
    assert {row["host"] for row in timings(output)} == {"node1", "node3"}
    again = start(lab, "hdfs:///tmp/in/scenes/*.jpg", "hdfs:///tmp/out")
    assert again.end() == 2
    assert "there already" in again.said[-1]
    denied = start(lab, SAMPLES, "hdfs:///out")
    assert denied.end() == 2
    assert "Users may write below /user/" in denied.said[-1]
    nothing = start(lab, "hdfs:///nothere", tmp_path / "nothing")
    assert nothing.end() == 2
    assert "input 'hdfs:///nothere' does not exist" in nothing.said[-1]
    assert not (tmp_path / "nothing").exists()
    assert lab.run("node1", "ls /data/runs") == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--executors", "9"], "--executors 9: YARN's hosts can hold 3"),
        (["--executor-memory", "90g"], "the largest host, node"),
        (["--avoid", "nosuch"], "--avoid nosuch: there is no such host; there are node"),
        (["--queue", "nosuch"], "--queue nosuch: YARN has no such queue; it has default"),
    ],
)
def test_what_yarn_cannot_give_is_one_sentence(
    lab: OperatedLab, pushed: Any, tmp_path: Path, options: Sequence[str], sentence: str
) -> None:
    running = start(lab, SAMPLES, tmp_path / "run", *options)
    assert running.end() == 2
    assert sentence in running.said[-1]
    assert not (tmp_path / "run").exists()


def test_a_driver_inside_the_network_finds_the_same(
    lab: OperatedLab, pushed: Any, local: Path, tmp_path: Path
) -> None:
    named = tmp_path / "hosts"
    addresses = lab.run("node1", "grep -E '[^0-9]node[0-9]+$' /etc/hosts")
    named.write_text(f"127.0.0.1 localhost\n{addresses}", encoding="utf-8")
    inside = InsideLab(lab, named)
    options = ["--mode", "yarn", "--input", str(SAMPLES), "--submit-from", "here"]
    refused = Running(lab, [*options, "--output", str(tmp_path / "refused")])
    assert refused.end() == 2
    assert "does not know node1 as" in refused.said[-1]
    running = inside.start([*options, "--output", str(tmp_path / "run")])
    assert running.end() == 0
    assert f"Started as {running.id} on this machine" in running.said
    assert_same(tmp_path / "run", local)
    assert {row["host"] for row in timings(tmp_path / "run")} == set(HOSTS)
    stopped = inside.start([*options, "--output", str(tmp_path / "stopped")])
    until(lambda: "" if stopped.id else "its start")
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.end() == 1


def test_a_machine_powered_off_costs_no_result_and_is_noticed(
    lab: OperatedLab, pushed: Any, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    running = start(lab, photos, output)
    running.until_done(30)
    at = time.monotonic()
    Machine(lab, "node3").power_off()
    took: dict[str, float] = {}

    def waits_for() -> str:
        nodes = lab.fetch("http://node1:8088/ws/v1/cluster/nodes")["nodes"]["node"]
        if {"node3": "LOST"}.items() <= {n["nodeHostName"]: n["state"] for n in nodes}.items():
            took.setdefault("YARN", time.monotonic() - at)
        query = "Hadoop:service=NameNode,name=FSNamesystemState"
        (names,) = lab.fetch(f"http://node1:9870/jmx?qry={query}")["beans"]
        if names["NumDeadDataNodes"] == 1:
            took.setdefault("HDFS", time.monotonic() - at)
        return "" if len(took) == 2 else f"{nodes}, {took}"

    until(waits_for)
    assert running.end() == 0
    print(f"a lost host was noticed after {took} s")
    for seconds in took.values():
        assert LOST_AFTER_S[0] < seconds < LOST_AFTER_S[1], took
    assert_complete(output, IMAGES)
    assert lab.cluster("status").returncode == 1
    assert lab.cluster("lab", "up").returncode == 0
    lab.reboot("node2")
    lab.until_ready()
