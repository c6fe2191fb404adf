"""Against Ansible itself, on hosts that are all this machine."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.inventory import Inventory
from cluster.playbooks import (
    Listener,
    Options,
    PlaybookError,
    Task,
    TaskResult,
    run_playbook,
    tags_of,
)

ROOT = Path(__file__).parents[3]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "hosts.yml"
    hosts: dict[str, dict[str, str]] = {"node1": {}, "node2": {}}
    variables = {**LOCAL, "place": str(tmp_path)}
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
    return Inventory.parse(path, {"all": {"hosts": list(hosts)}, "_meta": {"hostvars": {}}})


def playbook(tmp_path: Path, tasks: str) -> Path:
    path = tmp_path / "play.yml"
    head = "- name: Some play\n  hosts: all\n  gather_facts: false\n  tasks:\n"
    path.write_text(head + textwrap.indent(textwrap.dedent(tasks), "    "), encoding="utf-8")
    return path


class Kept(Listener):
    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.hosts: list[str] = []
        self.results: list[TaskResult] = []
        self.diffs = ""

    def task_started(self, task: Task) -> None:
        self.tasks.append(str(task))

    def host_started(self, task: Task, host: str) -> None:
        self.hosts.append(f"{host} {task.name}")

    def result(self, result: TaskResult) -> None:
        self.results.append(result)

    def diff(self, text: str) -> None:
        self.diffs += text


WRITE = """\
- name: Write
  ansible.builtin.copy:
    content: "new\\n"
    dest: "{{ place }}/{{ inventory_hostname }}"
    mode: "0600"
- name: Wait
  ansible.builtin.command: sleep 0.5
  changed_when: false
  when: inventory_hostname == 'node1'
- name: Read
  ansible.builtin.command: cat {{ place }}/node1
  changed_when: false
  tags: reading
"""


def test_events_counts_and_times(tmp_path: Path, inventory: Inventory, state: Path) -> None:
    kept = Kept()
    first = run_playbook(playbook(tmp_path, WRITE), inventory, listener=kept)
    assert kept.tasks == ["Some play : Write", "Some play : Wait", "Some play : Read"]
    assert kept.hosts[:2] == ["node1 Write", "node2 Write"]
    assert tuple(kept.results) == first.results
    assert first.hosts == {
        "node1": {"ok": 2, "changed": 1, "skipped": 0, "failed": 0, "unreachable": 0},
        "node2": {"ok": 1, "changed": 1, "skipped": 1, "failed": 0, "unreachable": 0},
    }
    assert {(r.host, r.task.name) for r in first.changed} == {
        *(("node1", "Write"), ("node2", "Write")),
    }
    times = {task.name: seconds for task, seconds in first.task_seconds.items()}
    assert 0.5 < times["Wait"] < first.seconds
    assert first.step_seconds == {"Some play": pytest.approx(sum(times.values()))}
    assert first.log.is_relative_to(state)
    said = first.log.read_text(encoding="utf-8")
    assert "PLAY [Some play]" in said and "changed: [node1]" in said and "PLAY RECAP" in said
    assert "\r" not in said and "\x1b" not in said

    again = run_playbook(playbook(tmp_path, WRITE), inventory)
    assert again.changed == ()


def test_check_and_diff_tell_and_change_nothing(tmp_path: Path, inventory: Inventory) -> None:
    kept = Kept()
    options = Options(check=True, diff=True, limit="node2", skip_tags=("reading",))
    told = run_playbook(playbook(tmp_path, WRITE), inventory, options, kept)
    assert [(r.host, r.task.name) for r in told.changed] == [("node2", "Write")]
    assert "+new" in kept.diffs
    assert kept.tasks == ["Some play : Write", "Some play : Wait"]
    assert not (tmp_path / "node2").exists()


def test_tags(tmp_path: Path, inventory: Inventory) -> None:
    (tmp_path / "node1").touch()
    kept = Kept()
    run_playbook(playbook(tmp_path, WRITE), inventory, Options(tags=("reading",)), kept)
    assert kept.tasks == ["Some play : Read"]


FAIL = """\
- name: Ignored
  ansible.builtin.command: sh -c 'echo begin >&2; echo no such disk >&2; exit 3'
  ignore_errors: true
- name: Loop
  ansible.builtin.command: sh -c 'echo bad {{ item }} >&2; exit {{ item }}'
  changed_when: false
  loop: [0, 4]
  ignore_errors: true
- name: Ask
  block:
    - name: Rescued
      ansible.builtin.command: 'false'
  rescue:
    - name: Judge
      ansible.builtin.fail: {msg: "First line.\\nsecond"}
      when: inventory_hostname == 'node2'
- name: Later
  ansible.builtin.fail: {msg: "It ends here"}
- name: Never
  ansible.builtin.command: 'true'
"""


def test_a_failure_names_host_task_reason_and_log(tmp_path: Path, inventory: Inventory) -> None:
    kept = Kept()
    with pytest.raises(PlaybookError) as caught:
        run_playbook(playbook(tmp_path, FAIL), inventory, listener=kept)
    outcome = caught.value.outcome
    assert str(caught.value) == (
        "node1 failed in Some play : Later: It ends here; node2 failed too;"
        f" the whole output is in {outcome.log}."
    )
    assert [(r.host, r.task.name) for r in outcome.failed] == [
        ("node1", "Later"),
        ("node2", "Judge"),
    ]
    said = {r.task.name: (r.message, r.ignored) for r in kept.results if r.outcome == "failed"}
    assert said == {
        "Ignored": ("non-zero return code (no such disk)", True),
        "Loop": ("non-zero return code (bad 4)", True),
        "Rescued": ("non-zero return code", False),
        "Judge": ("First line.", False),
        "Later": ("It ends here", False),
    }


def test_a_role_is_a_step(tmp_path: Path, inventory: Inventory) -> None:
    tasks = tmp_path / "roles" / "some_role" / "tasks"
    tasks.mkdir(parents=True)
    task = "- name: Say\n  ansible.builtin.debug: {msg: hello}\n"
    (tasks / "main.yml").write_text(task, encoding="utf-8")
    path = tmp_path / "play.yml"
    play = "- hosts: all\n  gather_facts: false\n  roles: [some_role]\n"
    path.write_text(play, encoding="utf-8")
    outcome = run_playbook(path, inventory)
    assert list(outcome.task_seconds) == [Task(step="some_role", name="Say")]


def test_an_unreachable_host_is_named_and_its_key_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANSIBLE_HOST_KEY_CHECKING", raising=False)
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@" >&2\nexit 255\n', encoding="utf-8")
    ssh.chmod(0o755)
    path = tmp_path / "hosts.yml"
    variables = {"ansible_host": "10.0.0.9", "ansible_ssh_executable": str(ssh)}
    path.write_text(yaml.safe_dump({"all": {"hosts": {"node1": variables}}}), encoding="utf-8")
    play = playbook(tmp_path, "- name: Look\n  ansible.builtin.command: 'true'\n")
    with pytest.raises(PlaybookError, match=r"^node1 cannot be reached \(Some play : Look\)") as e:
        run_playbook(play, Inventory.load(path))
    assert "10.0.0.9" in str(e.value)
    assert "StrictHostKeyChecking=no" not in e.value.outcome.log.read_text(encoding="utf-8")


def test_a_playbook_that_cannot_be_read(tmp_path: Path, inventory: Inventory) -> None:
    with pytest.raises(PlaybookError, match=r"^Ansible could not run play.yml: .*no_such_module"):
        run_playbook(playbook(tmp_path, "- name: Try\n  no_such_module: {}\n"), inventory)


def test_a_limit_without_hosts(tmp_path: Path, inventory: Inventory) -> None:
    with pytest.raises(PlaybookError, match=r"could not run play.yml: .*limit.* no hosts"):
        run_playbook(playbook(tmp_path, WRITE), inventory, Options(limit="node9"))


def test_ctrl_c_ends_ansible_before_it_is_raised(
    tmp_path: Path, inventory: Inventory, state: Path
) -> None:
    play = playbook(tmp_path, "- name: Hang\n  ansible.builtin.command: sleep 301.5\n")

    told = []

    class Stop(Listener):
        def host_started(self, task: Task, host: str) -> None:
            if host == "node2":
                threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

        def stopping(self) -> None:
            told.append("stopping")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_playbook(play, inventory, listener=Stop())
    assert told == ["stopping"]
    (log,) = state.rglob("*.log")
    assert str(log) in str(caught.value)
    assert "interrupted" in log.read_text(encoding="utf-8")
    assert signal.getsignal(signal.SIGINT) is before
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"{play}" not in listed.stdout


def test_tags_are_those_of_all_playbooks(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        "- ansible.builtin.import_playbook: part.yml\n- hosts: all\n  tags: one\n", encoding="utf-8"
    )
    (tmp_path / "part.yml").write_text(
        "- hosts: all\n  roles: [{role: a, tags: [two, three]}]\n"
        "  tasks: [{block: [{debug: {}, tags: [four, always]}]}]\n",
        encoding="utf-8",
    )
    assert tags_of(tmp_path / "site.yml") == {"one", "two", "three", "four"}
