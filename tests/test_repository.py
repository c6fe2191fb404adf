"""What holds for the repository as a whole: its locks, its sizes, what may not be in its files."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
MEGABYTE = 1_000_000

# orca.in is compiled into env.lock too; see its first line.
LOCK_OF = {
    source: REQUIREMENTS / ("env.lock" if source.stem == "orca" else f"{source.stem}.lock")
    for source in sorted(REQUIREMENTS.glob("*.in"))
}
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def tracked_texts() -> dict[str, str]:
    texts = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            texts[str(path.relative_to(ROOT))] = content.decode("utf-8")
    return texts


def requirements(path: Path) -> dict[str, str]:
    """A requirements file's packages: name to what else its entry says."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    entries = (re.match(r"([\w.-]+)(.*)", line) for line in lines if not line.startswith("-"))
    return {found[1].lower(): found[2] for found in entries if found}


def test_the_lists_are_not_empty() -> None:
    assert len(tracked()) > 50
    assert {path.stem for path in LOCKS} == {"env", "tools", "java", "export", "test"}


@pytest.mark.parametrize("source", LOCK_OF, ids=lambda path: path.name)
def test_each_name_in_a_list_is_in_its_lock(source: Path) -> None:
    locked = requirements(LOCK_OF[source])
    wanted = requirements(source)
    assert wanted
    assert set(wanted) <= set(locked)
    for name, version in wanted.items():
        if version.startswith("=="):
            assert locked[name].split()[0] == version


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_each_locked_package_has_one_version_and_digests(lock: Path) -> None:
    for name, entry in requirements(lock).items():
        assert re.fullmatch(r"==[\w.]+( +--hash=sha256:[0-9a-f]{64})+", entry.rstrip()), name


def test_locks_that_share_an_environment_agree() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, entry in requirements(lock).items():
            versions.setdefault(name, set()).add(entry.split()[0])
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_requirements_hold_no_address() -> None:
    for path in REQUIREMENTS.iterdir():
        assert not re.search(r"https?:|--(extra-)?index-url|--find-links", path.read_text("utf-8"))


@pytest.mark.parametrize("source", LOCK_OF, ids=lambda path: path.name)
def test_each_library_that_we_ask_for_is_explained(source: Path) -> None:
    explained = set(re.findall(r"`([\w-]+)`", (ROOT / "docs" / "decisions.md").read_text("utf-8")))
    assert set(requirements(source)) <= explained


def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    pattern = re.compile(r"(?<![\w.~$}/-])/(root|work|home/\w+)(?=[/\s'\"`])")
    found = {
        f"{name}:{number}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    }
    assert found == set()


def test_no_merge_marker_was_left_behind() -> None:
    pattern = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
    assert [name for name, text in tracked_texts().items() if pattern.search(text)] == []


def test_no_tracked_file_is_large() -> None:
    large = [path for path in tracked() if path.stat().st_size > 5 * MEGABYTE]
    # A model has a bound of its own, below.
    assert [path for path in large if path.name != "model.bin"] == []


def test_the_shipped_models_are_small() -> None:
    networks = [path for path in tracked() if path.match("models/*/model.bin")]
    precisions = {
        json.loads(path.with_name("model.json").read_text(encoding="utf-8"))["precision"]
        for path in networks
    }
    assert precisions == {"fp32", "fp16"}
    graphs = [path.with_suffix(".xml") for path in networks]
    assert sum(path.stat().st_size for path in (*networks, *graphs)) <= 12 * MEGABYTE


def test_every_schema_is_valid() -> None:
    schemas = [path for path in tracked() if path.name.endswith(".schema.json")]
    assert {"run.schema.json", "report.schema.json"} <= {path.name for path in schemas}
    for path in schemas:
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validators.validator_for(schema).check_schema(schema)
