"""What `cluster lab down` says, of labs that are folders of the test's own."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main
from cluster.lab import cgroups, network, nspawn, vagrant


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nspawn.Lab:
    """Nothing is there of it; its network would be files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(nspawn, "LABS", tmp_path / "labs")
    monkeypatch.setattr(network, "NAMESPACES", tmp_path / "netns")
    monkeypatch.setattr(network, "_ip", lambda *words: (tmp_path / "netns" / words[-1]).unlink())
    (tmp_path / "netns").mkdir()
    (tmp_path / "pair").mkdir()
    return nspawn.Lab.of(tmp_path / "pair")


def down(lab: nspawn.Lab, *options: str) -> str:
    done = CliRunner().invoke(main, ["-i", str(lab.inventory), "lab", "down", *options])
    assert done.exit_code == 0, done.output
    return done.output


def made(lab: nspawn.Lab, *machines: str) -> None:
    for machine in machines:
        (lab.folder / machine / "upper").mkdir(parents=True)
    (lab.folder / "inventory").write_text(str(lab.inventory))


def test_what_was_there_is_said_and_the_second_time_that_there_is_nothing(
    lab: nspawn.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(lab, "one", "two")
    for name in ("", "one", "two"):
        (network.NAMESPACES / network.namespace(lab.name, name)).touch()
    lives, mounts = {"one", "two"}, iter([2, 1, 0])
    monkeypatch.setattr(cgroups, "processes", lambda _, name="", **__: {1} & {name in lives})
    monkeypatch.setattr(nspawn, "_mounts", lambda _: next(mounts))
    monkeypatch.setattr(cgroups, "kill", lambda _: lives.clear())
    assert (
        down(lab) == f"Removed {lab.name}: machines one, two, the network, 2 mounts, the files.\n"
    )
    assert not lab.folder.exists() and not list(network.NAMESPACES.iterdir())
    monkeypatch.setattr(nspawn, "_mounts", lambda _: 0)
    assert down(lab) == f"Nothing to do: there is no lab of {lab.inventory}.\n"


@pytest.mark.parametrize("options", [(), ("--all",)])
def test_what_a_reboot_has_taken_is_said(lab: nspawn.Lab, options: tuple[str, ...]) -> None:
    made(lab, "one")
    gone = "Gone before: machine one, the network, the mounts."
    assert down(lab, *options) == f"Removed {lab.name}: the files. {gone}\n"
    assert "Nothing to do: there is no lab " in down(lab, *options)


def test_virtual_machines_are_destroyed_before_what_leads_to_them(
    lab: nspawn.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab.inventory / ".lab" / "ssh_config"
    config.parent.mkdir()
    config.write_text("Host one\n")
    there = []
    monkeypatch.setattr(vagrant, "destroy", lambda _: there.append(config.exists()))
    assert down(lab) == f"Removed the virtual machines of {lab.inventory}.\n"
    assert there == [True]
