"""Mistakes in an inventory, found before a host is touched: ``python -m cluster.validation``.

What the roles accept is read from their argument specifications, so a role's new variable is known
here at once. Ansible reads the inventory, and Ansible's own validator judges types and choices.
"""

import difflib
import ipaddress
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # type: ignore[import-untyped]

from cluster.daemons import DAEMONS, ROLES
from cluster.inventory import EDGE, Host, Inventory
from cluster.variable_files import GROUP, Place, place_of, places
from job.errors import JobError, UsageError

ROLES_PATH = Path(__file__).parent.parent / "ansible" / "roles"

# A group that has hosts, the group that then must have some too, and what for.
NEEDS = (
    ("hdfs_datanode", "hdfs_namenode", "DataNodes report to one"),
    ("hdfs_namenode", "hdfs_datanode", "files have no other place"),
    ("yarn_nodemanager", "yarn_resourcemanager", "NodeManagers report to one"),
    ("yarn_resourcemanager", "yarn_nodemanager", "containers run nowhere else"),
    ("yarn_resourcemanager", "hdfs_namenode", "YARN hands out the files of applications from HDFS"),
    ("spark_worker", "spark_master", "workers join one"),
    ("spark_master", "spark_worker", "executors run nowhere else"),
)
LAB_NUMBERS = ("lab_cpus", "lab_memory_mb", "lab_bandwidth_mbit")
OTHERS = ("cluster_address",)
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
# Sums over the memory of a lab's machine: what a host in the group gives away there.
MEMORY = {
    "yarn_nodemanager": ("hadoop_yarn_memory_mb", "hadoop_yarn_reserve_mb"),
    "spark_worker": ("spark_worker_memory_mb", "spark_worker_reserve_mb"),
}

Options = Mapping[str, Mapping[str, Any]]


def require_valid(inventory: Inventory, roles_path: Path = ROLES_PATH) -> None:
    """Refuse an inventory with mistakes.

    Raises:
        UsageError: the first mistake, and how many more there are.
    """
    if problems := validate(inventory, roles_path):
        command = f"{sys.executable} -m cluster.validation {inventory.path}"
        more = f" ({len(problems) - 1} more: {command})"
        raise UsageError(problems[0] + (more if len(problems) > 1 else ""))


def validate(inventory: Inventory, roles_path: Path = ROLES_PATH) -> list[str]:
    """Every mistake, a sentence each, which names the host or group, the key, and what to do."""
    options = _options(roles_path)
    found = places(inventory.path)
    checks = (
        _hosts(inventory),
        _addresses(inventory),
        _groups(inventory, found),
        _roles(inventory),
        _variables(inventory, found, options),
        _memory(inventory, options),
    )
    return [problem for check in checks for problem in check]


def _hosts(inventory: Inventory) -> Iterator[str]:
    if not inventory.hosts:
        yield f"The inventory {inventory.path} has no host: add one under all, hosts."
    for host in inventory.hosts:
        labels = host.name.split(".")
        # A name of digits only is read as an address.
        if not all(map(LABEL.fullmatch, labels)) or labels[-1].isdigit() or len(host.name) > 253:
            yield (
                f"Host {host.name} has a name that is not valid in DNS: use letters, digits and "
                "hyphens, and put its address into ansible_host."
            )
        if host.name in inventory.groups:
            yield f"{host.name} is the name of a host and of a group: rename one of them."


def _addresses(inventory: Inventory) -> Iterator[str]:
    known: dict[tuple[str, str], str] = {}

    def twice(host: Host, key: str, place: str) -> Iterator[str]:
        other = known.setdefault((key, place), host.name)
        if other != host.name:
            yield f"Host {host.name}: {key} {place} is {other}'s too: give each host its own."

    for host in inventory.hosts:
        key = "cluster_address" if "cluster_address" in host.variables else "ansible_host"
        if key not in host.variables:
            yield f"Host {host.name} has no address: give its IP address in ansible_host."
        elif not _is_template(host.address):
            yield from _no_address(host, key)
            yield from twice(host, key, host.address)
        if key == "cluster_address" and "ansible_host" in host.variables:
            # Forwarded ports of one address are hosts of their own.
            port = host.variables.get("ansible_port", 22)
            yield from twice(host, "ansible_host", f"{host.ssh_address} (port {port})")


def _no_address(host: Host, key: str) -> Iterator[str]:
    try:
        ipaddress.ip_address(host.address)
    except ValueError:
        other = "" if key == "cluster_address" else " in cluster_address, beside it"
        yield (
            f"Host {host.name}: {key} {host.address} is no IP address, which the other hosts need: "
            f"give one{other}."
        )


def _groups(inventory: Inventory, found: tuple[Place, ...]) -> Iterator[str]:
    with_variables = {place.name for place in found if place.kind == GROUP and place.variables}
    for group in sorted(inventory.groups - ROLES - with_variables):
        # A group of roles, or one that a role takes its hosts from, needs no variables.
        if not any(_is_within(inventory, group, role) for role in ROLES):
            yield (
                f"Group {group} is no role and sets no variables{_nearest(group, ROLES)}: "
                "rename it, take it out, or give it group_vars."
            )


def _is_within(inventory: Inventory, group: str, other: str) -> bool:
    def below(name: str) -> Iterator[str]:
        for child in inventory.children.get(name, ()):
            yield child
            yield from below(child)

    return other in below(group) or group in below(other)


def _roles(inventory: Inventory) -> Iterator[str]:
    counts = {group: inventory.group(group) for group in ROLES}
    for daemon in DAEMONS:
        if daemon.single and len(hosts := counts[daemon.group]) > 1:
            names = ", ".join(host.name for host in hosts)
            yield (
                f"Group {daemon.group} has {len(hosts)} hosts ({names}): "
                f"leave one, for {daemon.single}."
            )
    for group, needed, reason in NEEDS:
        if counts[group] and not counts[needed]:
            yield (
                f"Group {needed} has no host, and {counts[group][0].name} is in {group}: "
                f"put one into {needed}, for {reason}."
            )
    if inventory.hosts and not counts[EDGE]:
        yield "Group edge has no host: put the one into it that jobs are to be started from."


def _variables(inventory: Inventory, found: tuple[Place, ...], options: Options) -> Iterator[str]:
    """Once per place: a mistake in group_vars is one, not one per host."""
    known = {*options, *LAB_NUMBERS, *OTHERS}
    seen: set[tuple[Path | None, str]] = set()
    for host in inventory.hosts:
        for name, value in host.variables.items():
            # Ansible's own, and with an underscore the inventory's own, for its templates.
            if name.startswith(("ansible_", "_")):
                continue
            wrong = _wrong(name, value, known, options)
            file = place_of(found, host, name) if wrong else None
            if wrong and (file, name) not in seen:
                seen.add((file, name))
                where = f" in {file}" if file else ""
                yield f"Host {host.name}: {name}{where} is {wrong}."


def _wrong(name: str, value: object, known: set[str], options: Options) -> str | None:
    """How the sentence "NAME is ..." goes on; None where nothing is wrong."""
    if name not in known:
        return f"known to no role{_nearest(name, known)}: correct it, or take it out"
    if name in LAB_NUMBERS:
        wanted = None if _is_positive(value) else "a number above 0, not a template"
    else:
        wanted = None if _is_template(value) else _other_type(name, value, options)
    return f"{value!r}, and must be {wanted}" if wanted else None


def _other_type(name: str, value: object, options: Options) -> str | None:
    """What the role takes instead of this value; None where it takes it."""
    # Whether other variables are missing, the role itself finds out.
    own = {
        key: said
        for key, said in options.get(name, {}).items()
        if key not in ("required", "default")
    }
    if not ArgumentSpecValidator({name: own}).validate({name: value}).error_messages:
        return None
    if choices := own.get("choices"):
        return f"one of {', '.join(map(str, choices))}"
    return f"of type {own.get('type', 'str')}" + (
        f" of {own['elements']}" if "elements" in own else ""
    )


def _memory(inventory: Inventory, options: Options) -> Iterator[str]:
    """What can be known without the hosts: the play compares with the real memory, too."""
    for group, names in MEMORY.items():
        for host in inventory.group(group):
            has = host.variables.get("lab_memory_mb")
            said = {n: host.variables.get(n, options.get(n, {}).get("default")) for n in names}
            parts = {n: int(float(str(value))) for n, value in said.items() if _is_number(value)}
            too_much = _is_number(has) and sum(parts.values()) > float(str(has))
            if names[0] in parts and too_much:
                terms = " + ".join(f"{name} ({number})" for name, number in parts.items())
                yield (
                    f"Host {host.name}: {terms} is more than its lab_memory_mb ({has}): "
                    f"lower {names[0]}, or raise lab_memory_mb."
                )


def _options(roles_path: Path) -> dict[str, Mapping[str, Any]]:
    """The specification of every variable of every role."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(roles_path.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found.update(entry.get("options", {}))
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(str(value)))
    except ValueError:
        return False


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and value > 0


def main(arguments: list[str]) -> int:
    """Print every mistake of the inventory, a line each; 1 where there is one."""
    if len(arguments) != 1:
        print(f"Give one inventory, not {len(arguments)}: {' '.join(arguments)}")
        return 2
    try:
        problems = validate(Inventory.load(Path(arguments[0])))
    except JobError as error:
        problems = [str(error)]
    print("\n".join(problems))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
