"""The modules, run by Ansible on this computer: one play, whose results the tests look at."""

import base64
import grp
import json
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.inventory import ansible
from cluster.places import repository
from job.cgroup import cpu_quota, memory_limit_mb

OWN = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
FILES = {"core-site.xml": "<configuration/>\n", "deep/er/empty": ""}
OTHER = {**FILES, "core-site.xml": "<configuration> </configuration>\n"}
HOSTS = """\
127.0.0.1\tlocalhost
127.0.1.1 node1.example.org node1
192.0.2.77 printer node2 # in the hall
# 192.0.2.9 node2
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What each task registered, and how many files and modes there were after it."""

    folder: Path
    results: dict[str, dict[str, Any]]

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.results[name]


def conf(dest: str, files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"config_files": {"dest": dest, "files": files, **OWN, **more}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "hosts").write_text(HOSTS, encoding="utf-8")
    (folder / "hosts").chmod(0o644)
    (folder / "kept").mkdir(mode=0o700)
    (folder / "kept" / "other").write_text("not Ansible's", encoding="utf-8")
    new, kept, hosts = str(folder / "new" / "conf"), str(folder / "kept"), str(folder / "hosts")
    check = {"check_mode": True, "diff": True}
    addresses = {"hosts": {"node1": "192.0.2.1", "node2": "192.0.2.2"}, "path": hosts}
    moved = {"hosts": {"node1": "192.0.2.1", "node3": "192.0.2.3"}, "path": hosts}
    nobody = {"owner": "no-such-user", "group": "no-such-group"}
    tasks = {
        "checked": {**conf(new, FILES), **check},
        "absent_after_check": {"ansible.builtin.stat": {"path": str(folder / "new")}},
        "made": {**conf(new, FILES), "diff": True},
        "again": {**conf(new, FILES), "diff": True},
        "checked_change": {**conf(new, OTHER), **check},
        "changed": conf(new, OTHER),
        "checked_nobody": {**conf(new, OTHER, **nobody), **check},
        "nobody": conf(new, {**OTHER, "more": ""}, **nobody),
        "mode": {**conf(new, OTHER, mode="0600"), "diff": True},
        "mode_again": conf(new, OTHER, mode="0600"),
        "kept": conf(kept, FILES),
        "kept_mode": conf(kept, FILES, dir_mode="0750"),
        "kept_mode_again": conf(kept, FILES, dir_mode="0750"),
        "relative": conf("etc", FILES),
        "above": conf(new, {"../out": ""}),
        "absolute": conf(new, {"/etc/out": ""}),
        "itself": conf(new, {".": ""}),
        "number": conf(new, {"file": 17}),
        "no_mode": conf(new, FILES, mode="rw"),
        "in_a_file": conf(f"{kept}/other", FILES),
        "hosts_checked": {"hosts_file": addresses, **check},
        "hosts_after_check": {"ansible.builtin.slurp": {"src": hosts}},
        "hosts": {"hosts_file": addresses},
        "hosts_written": {"ansible.builtin.slurp": {"src": hosts}},
        "hosts_again": {"hosts_file": addresses},
        "hosts_moved": {"hosts_file": moved, "diff": True},
        "hosts_new": {"hosts_file": {**moved, "path": str(folder / "hosts2")}},
        "capacity": {"capacity": {"packages": ["no-such-package", "base-files", "dash"]}},
        "granted": {"capacity": {"memory_mb": 64, "cpus": 0.25}, "check_mode": True},
    }
    results = folder / "results.json"
    kept_results = "{{ " + "{" + ", ".join(f"'{n}': _{n}" for n in tasks) + "} | to_json }}"
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            *({**task, "register": f"_{n}", "ignore_errors": True} for n, task in tasks.items()),
            {"ansible.builtin.copy": {"dest": str(results), "content": kept_results}},
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    command = [ansible("ansible-playbook"), "-i", "localhost,", str(folder / "play.yml")]
    done = subprocess.run(command, cwd=repository(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Run(folder=folder, results=json.loads(results.read_text(encoding="utf-8")))


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def test_a_check_of_a_fresh_host_tells_all_and_makes_nothing(run: Run) -> None:
    assert run["checked"]["changed"]
    assert run["checked"]["changed_files"] == list(FILES)
    conf = run.folder / "new" / "conf"
    told = [(entry["after_header"], entry["after"]) for entry in run["checked"]["diff"]]
    assert told == [
        (str(conf), "a folder\n"),
        *((str(conf / name), content) for name, content in FILES.items()),
    ]
    assert not run["absent_after_check"]["stat"]["exists"]


def test_files_are_made_and_then_left(run: Run) -> None:
    assert run["made"]["changed"]
    assert run["made"]["changed_files"] == list(FILES)
    assert run["made"]["diff"] == run["checked"]["diff"]
    assert not run["again"]["changed"]
    assert (run["again"]["changed_files"], run["again"]["diff"]) == ([], [])
    conf = run.folder / "new" / "conf"
    assert (conf / "deep/er/empty").read_text(encoding="utf-8") == ""
    assert [mode(path) for path in (conf, conf / "deep", conf / "deep/er")] == ["0755"] * 3


def test_only_what_differs_is_written(run: Run) -> None:
    [entry] = run["checked_change"]["diff"]
    assert (entry["before"], entry["after"]) == (FILES["core-site.xml"], OTHER["core-site.xml"])
    for result in (run["checked_change"], run["changed"]):
        assert result["changed"]
        assert result["changed_files"] == ["core-site.xml"]
    assert "diff" not in run["changed"]
    written = run.folder / "new" / "conf" / "core-site.xml"
    assert written.read_text(encoding="utf-8") == OTHER["core-site.xml"]
    # No file that a rename had to follow is left.
    assert sorted(path.name for path in written.parent.iterdir()) == ["core-site.xml", "deep"]


def test_a_user_to_come_is_no_error_of_a_check(run: Run) -> None:
    assert run["checked_nobody"]["changed_files"] == list(FILES)
    assert "owner: no-such-user" in run["checked_nobody"]["diff"][0]["after"]
    assert run["nobody"]["failed"]
    assert "no-such-user" in run["nobody"]["msg"]


def test_a_mode_is_corrected(run: Run) -> None:
    assert run["mode"]["changed_files"] == list(FILES)
    assert [entry["before"] for entry in run["mode"]["diff"]] == ["mode: 0644\n"] * 2
    assert not run["mode_again"]["changed"]
    conf = run.folder / "new" / "conf"
    assert [mode(conf / name) for name in FILES] == ["0600"] * 2


def test_a_folder_and_what_else_is_in_it_stay(run: Run) -> None:
    assert run["kept"]["changed_files"] == list(FILES)
    assert (run.folder / "kept" / "other").read_text(encoding="utf-8") == "not Ansible's"
    assert run["kept_mode"]["changed"]
    assert run["kept_mode"]["changed_files"] == []
    assert not run["kept_mode_again"]["changed"]
    assert mode(run.folder / "kept") == "0750"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("relative", "dest is etc: give an absolute path"),
        ("above", "files: '../out' is no name below"),
        ("absolute", "files: '/etc/out' is no name below"),
        ("itself", "files: '.' is no name below"),
        ("number", "files: the content of file is no text: 17"),
        ("no_mode", "mode is rw: give octal digits, such as 0644"),
        ("in_a_file", "kept/other"),
    ],
)
def test_wrong_arguments_are_refused(run: Run, name: str, said: str) -> None:
    assert run[name]["failed"]
    assert said in run[name]["msg"]
    assert "Traceback" not in json.dumps(run[name])


def test_hosts_are_named_and_other_lines_stay(run: Run) -> None:
    def text(name: str) -> str:
        return base64.b64decode(run[name]["content"]).decode()

    others = "127.0.0.1\tlocalhost\n127.0.1.1 node1.example.org\n"
    others += "192.0.2.77 printer # in the hall\n# 192.0.2.9 node2\n"
    begin, end = "# The cluster's hosts, by Ansible\n", "# End of the cluster's hosts\n"
    block = begin + "192.0.2.1 node1\n192.0.2.2 node2\n" + end
    assert run["hosts_checked"]["changed"]
    assert run["hosts_checked"]["diff"]["before"] == text("hosts_after_check") == HOSTS
    assert run["hosts_checked"]["diff"]["after"] == text("hosts_written") == others + block
    assert run["hosts"]["changed"]
    assert not run["hosts_again"]["changed"]
    # node2 left the cluster, node3 came.
    moved = begin + "192.0.2.1 node1\n192.0.2.3 node3\n" + end
    hosts = run.folder / "hosts"
    assert hosts.read_text(encoding="utf-8") == others + moved
    assert (run.folder / "hosts2").read_text(encoding="utf-8") == moved
    assert [mode(path) for path in (hosts, run.folder / "hosts2")] == ["0644"] * 2


def test_capacity_is_what_this_computer_may_use(run: Run) -> None:
    found = run["capacity"]
    total_kb = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    assert found["memory_mb"] == int(min(total_kb / 1024, memory_limit_mb() or float("inf")))
    assert found["cpus"] == cpu_quota()
    assert found["swappiness"] == int(Path("/proc/sys/vm/swappiness").read_text(encoding="utf-8"))
    assert found["open_files"] > 0
    assert not found["changed"]


def test_capacity_is_at_most_what_the_inventory_grants(run: Run) -> None:
    assert (run["granted"]["memory_mb"], run["granted"]["cpus"]) == (64, 0.25)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="looks for Debian's packages")
def test_missing_packages(run: Run) -> None:
    # base-files and dash have fields before their status.
    assert run["capacity"]["missing_packages"] == ["no-such-package"]
