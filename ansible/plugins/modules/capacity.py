#!/usr/bin/python
"""Ansible module: what a host has for daemons and their work."""

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cgroup import cpu_quota, memory_limit_mb, read

DOCUMENTATION = r"""
---
module: capacity
short_description: Tell what this host has - memory, CPUs, missing packages
description:
  - Reads a host's memory and CPUs as its cgroups limit them. Facts show the physical host's where
    the host is a container.
  - Says which Debian packages are missing, so that apt is started only where it has work.
  - Changes nothing.
options:
  memory_mb:
    description: An upper limit of the memory told, such as what the inventory grants, in MiB.
    type: int
  cpus:
    description: An upper limit of the CPUs told, such as what the inventory grants.
    type: float
  packages:
    description: Debian packages to look for.
    type: list
    elements: str
    default: []
author: The toolkit's maintainers
"""

EXAMPLES = r"""
- name: See what the host has
  capacity:
    memory_mb: "{{ lab_memory_mb | default(omit) }}"
    packages: [openjdk-17-jre-headless]
  register: host_capacity
"""

RETURN = r"""
memory_mb:
  description: The least of MemTotal, the memory limits of the cgroups and O(memory_mb), in MiB.
  returned: always
  type: int
cpus:
  description: The least of the CPUs seen, the quotas of the cgroups and O(cpus); may be a fraction.
  returned: always
  type: float
container:
  description: What kind of container this is, as systemd says; empty where it is a machine.
  returned: always
  type: str
swap_mb:
  description: Size of all swap, in MiB.
  returned: always
  type: int
swappiness:
  description: The kernel's vm.swappiness.
  returned: always
  type: int
sysctl_writable:
  description: Whether kernel settings can be written. In containers they are read-only.
  returned: always
  type: bool
open_files:
  description:
    - The open files that a login can be allowed, which is the hard limit of process 1. A container
      may have to do with few.
  returned: always
  type: int
missing_packages:
  description: Those of O(packages) that are not installed, in the order given.
  returned: always
  type: list
  elements: str
"""

SWAPPINESS = "/proc/sys/vm/swappiness"


def installed(status):
    """Names of the packages that dpkg's status file calls installed."""
    fields = r"^Package: (\S+)\n(?:.+\n)*?Status: \S+ \S+ installed$"
    return set(re.findall(fields, status, re.MULTILINE))


def main():
    """Read, and tell."""
    module = AnsibleModule(
        argument_spec={
            "memory_mb": {"type": "int"},
            "cpus": {"type": "float"},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    granted_mb, granted_cpus = module.params["memory_mb"], module.params["cpus"]
    memory = dict(re.findall(r"^(\w+):\s+(\d+)", read("/proc/meminfo") or "", re.MULTILINE))
    memory_limits = [int(memory["MemTotal"]) / 1024, memory_limit_mb(), granted_mb]
    open_files = re.search(r"^Max open files +\d+ +(\d+)", read("/proc/1/limits"), re.MULTILINE)
    there = installed(read("/var/lib/dpkg/status") or "")
    module.exit_json(
        changed=False,
        memory_mb=int(min(limit for limit in memory_limits if limit is not None)),
        cpus=min(cpus for cpus in (cpu_quota(), granted_cpus) if cpus is not None),
        container=(read("/run/systemd/container") or "").strip(),
        swap_mb=int(memory["SwapTotal"]) // 1024,
        swappiness=int(read(SWAPPINESS) or 60),
        open_files=int(open_files[1]),
        sysctl_writable=os.access(SWAPPINESS, os.W_OK),
        missing_packages=[name for name in module.params["packages"] if name not in there],
    )


if __name__ == "__main__":
    main()
