"""In which file of an inventory a variable is set, so that a mistake can be pointed at.

Ansible merges all files and does not tell. Only places are read here, never values to use.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.inventory import Host

SUFFIXES = ("", ".yml", ".yaml", ".json")
HOST, GROUP = "host", "group"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Variables of one host or group (``kind``) in one file."""

    kind: str
    name: str
    file: Path
    variables: Mapping[str, Any]


class _Loader(yaml.SafeLoader):
    """Passes over Ansible's own tags, such as !vault and !unsafe."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def places(inventory: Path) -> tuple[Place, ...]:
    """Those of an inventory's YAML files, group_vars and host_vars."""
    folder = inventory if inventory.is_dir() else inventory.parent
    sources = sorted(folder.iterdir()) if inventory.is_dir() else [inventory]
    found: list[Place] = []
    for source in sources:
        if _is_read(source):
            content = _mapping(source)
            # Every key at the top is a group.
            for name, body in content.items():
                found.extend(_of_group(source, str(name), body))
            if not content:
                found.extend(_of_ini(source))
    for kind in (HOST, GROUP):
        for entry in sorted((folder / f"{kind}_vars").glob("*")):
            files = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
            found.extend(
                Place(kind=kind, name=entry.stem, file=file, variables=_mapping(file))
                for file in files
                if _is_read(file)
            )
    return tuple(found)


def place_of(found: tuple[Place, ...], host: Host, variable: str) -> Path | None:
    """The file that gives a host this variable; None where it is in none that can be read.

    Where several set it, the one with the host's value.
    """
    having = [
        place
        for place in found
        if variable in place.variables
        and (place.name == host.name if place.kind == HOST else place.name in {*host.groups, "all"})
    ]
    having.sort(key=lambda place: place.variables[variable] != host.variables.get(variable))
    return having[0].file if having else None


def _of_group(source: Path, name: str, body: object) -> Iterator[Place]:
    if not isinstance(body, dict):
        return
    yield Place(kind=GROUP, name=name, file=source, variables=body.get("vars") or {})
    for host, variables in (body.get("hosts") or {}).items():
        yield Place(kind=HOST, name=str(host), file=source, variables=variables or {})
    for child, below in (body.get("children") or {}).items():
        yield from _of_group(source, str(child), below)


def _of_ini(source: Path) -> Iterator[Place]:
    """The sections [GROUP:vars]; the variables in a host's line are not looked at."""
    sections = re.split(r"^\[(.+)\]\s*$", source.read_text(errors="replace"), flags=re.MULTILINE)
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if title.endswith(":vars"):
            pairs = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", body, re.MULTILINE))
            name = title.removesuffix(":vars")
            yield Place(kind=GROUP, name=name, file=source, variables=pairs)


def _is_read(path: Path) -> bool:
    return path.is_file() and path.suffix in (*SUFFIXES, ".ini") and not path.name.startswith(".")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
