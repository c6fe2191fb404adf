"""Every command of the README runs, in the README's order, as a newcomer would type it."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Commands that are not run here, each with the reason.
ELSEWHERE = {
    "make test": "it runs this test; that CI calls it is tested below",
    "LAB=lab-hetero vagrant up": "tests/scenarios/vagrant makes two machines so",
    ".venv/bin/cluster -i inventory/lab-hetero deploy": "tests/scenarios/hetero runs it",
    ".venv/bin/cluster bench deploy": "tests/scenarios/bench runs it, with one node",
}
# Commands on a lab: tests/scenarios/yarn runs each of them as it is here.
ON_A_LAB = re.compile(r"\.venv/bin/cluster (lab|deploy|status|doctor|env|run --mode yarn)\b")
# Commands that run with less to do: what the README has them do takes many minutes.
REDUCED = {
    ".venv/bin/cluster model export --weights seeded:0 --precision fp32"
    " --output runs/yolact-resnet50": "--images models/images/scenes/scene-002.jpg",
    ".venv/bin/cluster bench throughput": "--model yolact-shapes --images 4 --runs 1"
    " --precision f32",
    ".venv/bin/cluster bench accuracy": "--scenes 4",
}


def fences(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a Markdown text: language and content."""
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """What follows "$ " in its console blocks, a continued line being one command."""
    blocks = [content for language, content in fences(text) if language == "console"]
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


COMMANDS = commands(README)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for runs/, since a run directory that exists is refused."""
    # A setup that finds something to do would change the environment that this test runs in.
    check = ["requirements/setup", "test", "export", "--check"]
    if subprocess.run(check, cwd=ROOT, check=False).returncode != 0:
        pytest.fail("bring the environments up to date first: requirements/setup test export")
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(
    "command",
    [each for each in COMMANDS if each not in ELSEWHERE and not ON_A_LAB.match(each)],
    ids=shlex.quote,
)
def test_command_runs(command: str, runs: Path) -> None:
    shorter = f"{command} {REDUCED.get(command, '')}"
    script = re.sub(r"(?<![\w./-])runs/", f"{shlex.quote(str(runs))}/", shorter)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={**outside, "RUNS": str(runs)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    if command == "make demo":
        (folder,) = runs.glob("demo-*")
        assert "Verdict:" in done.stdout
        assert str(folder) in done.stdout


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_ci_calls_make_test() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(r"(timeout .+ )?make test", line) for line in lines)


def test_every_shell_command_is_where_it_is_run() -> None:
    """A block in another shell language would not be run, nor one without a language."""
    assert {language for language, _ in fences(README)} <= {"console", "json", "text"}
    assert README.count("```") == 2 * len(fences(README))


@pytest.mark.parametrize("command", [*ELSEWHERE, *REDUCED])
def test_exceptions_are_still_in_the_readme(command: str) -> None:
    assert command in COMMANDS


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README))
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^make ([a-z-]+) +\w", shown, re.MULTILINE) == phony.split()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_parser_takes_commands_and_leaves_output() -> None:
    text = "`make x`\n```console\n$ one \\\n    --two\nthree\n$ four\n```\n```text\n$ five\n```\n"
    assert [command.split() for command in commands(text)] == [["one", "--two"], ["four"]]
