#!/usr/bin/python
"""Ansible module: the cluster's names in /etc/hosts."""

import re
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hosts_file
short_description: Keep the cluster's names in /etc/hosts
description:
  - Keeps a block of lines, address and name, at the end of the file.
  - Takes these names out of the lines above, for the first line that has a name decides. Debian
    writes one of the host's own name, 127.0.1.1, to which a daemon must not bind.
  - Other lines stay as they are.
options:
  hosts:
    description: The address of each name.
    type: dict
    required: true
  path:
    description: The file.
    type: path
    default: /etc/hosts
author: The toolkit's maintainers
"""

EXAMPLES = r"""
- name: Name the hosts of the cluster
  hosts_file:
    hosts: {node1: 192.0.2.11, node2: 192.0.2.12}
"""

RETURN = ""

BEGIN = "# The cluster's hosts, by Ansible"
END = "# End of the cluster's hosts"


def renewed(text, hosts):
    """The text of the file as it has to be."""
    outside = re.sub(rf"^{BEGIN}\n(?:.*\n)*?{END}\n", "", text, flags=re.MULTILINE)
    lines = [
        line for line in (_without(old, hosts) for old in outside.splitlines()) if line is not None
    ]
    block = [f"{address} {name}" for name, address in hosts.items()]
    return "\n".join([*lines, BEGIN, *block, END, ""])


def _without(line, hosts):
    entry, hash_sign, comment = line.partition("#")
    address, *names = entry.split() or [""]
    kept = [name for name in names if name not in hosts]
    if kept == names:
        return line
    return " ".join([address, *kept, hash_sign + comment]).rstrip() if kept else None


def main():
    """Compare, then write."""
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "dict", "required": True},
            "path": {"type": "path", "default": "/etc/hosts"},
        },
        supports_check_mode=True,
    )
    path, hosts = Path(module.params["path"]), module.params["hosts"]
    before = path.read_text() if path.exists() else ""
    after = renewed(before, hosts)
    if after != before and not module.check_mode:
        with tempfile.NamedTemporaryFile("w", dir=module.tmpdir, delete=False) as file:
            file.write(after)
        # Keeps owner, group and mode of a file that is there; a new one is for all to read.
        module.atomic_move(file.name, str(path))
        path.chmod(0o644)
    headers = {"before_header": str(path), "after_header": str(path)}
    module.exit_json(changed=after != before, diff={"before": before, "after": after, **headers})


if __name__ == "__main__":
    main()
