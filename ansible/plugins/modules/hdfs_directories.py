#!/usr/bin/python
"""Ansible module: folders of HDFS, in one call."""

import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.hadoop import NoAnswerError, ask

DOCUMENTATION = r"""
---
module: hdfs_directories
short_description: Keep up folders of HDFS, in one call
description:
  - Makes each folder that is missing, and gives each the owner, group and mode wanted.
  - Asks the NameNode by WebHDFS, as its superuser. Removes nothing; what is inside is left alone.
options:
  namenode:
    description: Where the NameNode answers HTTP, host:port.
    type: str
    required: true
  user:
    description: HDFS's superuser.
    type: str
    default: hdfs
  directories:
    description: The folders; one above another comes first.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute.
        type: str
        required: true
      owner:
        description: Who owns it.
        type: str
        default: hdfs
      group:
        description: Its group.
        type: str
        default: hadoop
      mode:
        description: Octal, as a string.
        type: str
        default: "755"
author: The toolkit's maintainers
"""

EXAMPLES = r"""
- name: Make a folder for event logs
  hdfs_directories:
    namenode: node1:9870
    directories:
      - {path: /spark-events, owner: spark, mode: "1777"}
"""

RETURN = r"""
changed_directories:
  description: Those that were made or corrected (in check mode, would be).
  returned: always
  type: list
  elements: str
"""


class WebHdfs:
    """The calls of WebHDFS that are needed, as one user."""

    def __init__(self, namenode, user):
        self.namenode, self.user = namenode, user

    def status(self, folder):
        """Owner, group and mode of FOLDER; None where it is not there."""
        try:
            found = self._call("GET", folder, "GETFILESTATUS")["FileStatus"]
        except NoAnswerError as error:
            if "does not exist" in str(error):
                return None
            raise
        if found["type"] != "DIRECTORY":
            raise NoAnswerError(f"{folder} is a file in HDFS: move it away")
        return {"owner": found["owner"], "group": found["group"], "mode": found["permission"]}

    def apply(self, folder, wanted, now):
        """Make FOLDER where NOW says that it is not there, then set what is otherwise."""
        if now is None:
            self._call("PUT", folder, "MKDIRS", permission=wanted["mode"])
        if now is None or (now["owner"], now["group"]) != (wanted["owner"], wanted["group"]):
            self._call("PUT", folder, "SETOWNER", owner=wanted["owner"], group=wanted["group"])
        # Not left to MKDIRS: the NameNode's umask may have taken something away.
        if now is None or now["mode"] != wanted["mode"]:
            self._call("PUT", folder, "SETPERMISSION", permission=wanted["mode"])

    def _call(self, method, folder, operation, **parameters):
        query = urllib.parse.urlencode({"op": operation, "user.name": self.user, **parameters})
        path = urllib.parse.quote(folder)
        return ask(f"http://{self.namenode}/webhdfs/v1{path}?{query}", method)


def text(folder, status):
    """A line for Ansible's diff."""
    if status is None:
        return f"{folder} is not there\n"
    return f"{folder} {status['owner']} {status['group']} {status['mode']}\n"


def main():
    """Compare, then make and correct."""
    module = AnsibleModule(
        argument_spec={
            "namenode": {"type": "str", "required": True},
            "user": {"type": "str", "default": "hdfs"},
            "directories": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "owner": {"type": "str", "default": "hdfs"},
                    "group": {"type": "str", "default": "hadoop"},
                    "mode": {"type": "str", "default": "755"},
                },
            },
        },
        supports_check_mode=True,
    )
    hdfs = WebHdfs(module.params["namenode"], module.params["user"])
    changed, before, after = [], "", ""
    try:
        for wanted in module.params["directories"]:
            folder = wanted["path"]
            # As WebHDFS writes it.
            wanted["mode"] = wanted["mode"].lstrip("0") or "0"
            now = hdfs.status(folder)
            if now == {name: wanted[name] for name in ("owner", "group", "mode")}:
                continue
            changed.append(folder)
            before += text(folder, now)
            after += text(folder, wanted)
            if not module.check_mode:
                hdfs.apply(folder, wanted, now)
    except NoAnswerError as error:
        module.fail_json(msg=str(error), changed=bool(changed), changed_directories=changed)
    result = {"changed": bool(changed), "changed_directories": changed}
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
