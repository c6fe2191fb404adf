#!/usr/bin/python
"""Ansible module: many files of one folder in one call."""

import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: config_files
short_description: Write many small files of one folder in one call
description:
  - Makes the folder where it is missing, then writes each file that differs, each atomically
    (a new file beside it, then a rename).
  - Removes nothing.
  - In check mode it tells what would change, also where the folder, the user or the group is not
    there yet.
options:
  dest:
    description: The folder, absolute.
    type: path
    required: true
  files:
    description:
      - The content of each file by its name, relative to O(dest). A name may hold folders.
      - Content is text. A file is as given here to the last byte, without an added end of line.
    type: dict
    required: true
  owner:
    description: Who owns the files and the folders made.
    type: str
    default: root
  group:
    description: The group of the files and of the folders made.
    type: str
    default: root
  mode:
    description: Mode of the files, octal, as a string.
    type: str
    default: "0644"
  dir_mode:
    description:
      - Mode of the folder, octal, as a string. Given, it is kept up together with the owner and
        the group of O(dest). Left out, a folder that is there already is left as it is, and one
        that is made gets 0755.
    type: str
author: The toolkit's maintainers
"""

EXAMPLES = r"""
- name: Write Hadoop's configuration
  config_files:
    dest: /etc/hadoop/conf
    group: hadoop
    files:
      core-site.xml: "{{ lookup('ansible.builtin.template', 'core-site.xml.j2') }}"
      workers: "node1\nnode2\n"
  notify: Restart the daemons
"""

RETURN = r"""
changed_files:
  description:
    - Names, as given, of the files that were written or corrected (in check mode, would be).
  returned: always
  type: list
  elements: str
"""


class Attributes:
    """Owner, group and mode wanted; a user or group that is not there yet matches nothing."""

    def __init__(self, owner, group, mode):
        self.owner, self.group, self.mode = owner, group, mode

    def differences(self, path):
        """What PATH, which exists, has otherwise: an entry for Ansible's diff, or none."""
        now = path.stat()
        pairs = {
            "owner": (_name(pwd.getpwuid, now.st_uid), self.owner),
            "group": (_name(grp.getgrgid, now.st_gid), self.group),
            "mode": (f"{stat.S_IMODE(now.st_mode):04o}", f"{self.mode:04o}"),
        }
        other = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        texts = ["".join(f"{name}: {pair[i]}\n" for name, pair in other.items()) for i in (0, 1)]
        return [_entry(f"{path} (attributes)", *texts)] if other else []

    def apply(self, target):
        """Set them on a path or an open file."""
        os.chown(target, pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.group).gr_gid)
        os.chmod(target, self.mode)  # noqa: PTH101  (open files too)


def file_differences(path, content, attributes):
    """What keeps PATH from being as wanted: entries for Ansible's diff, empty where nothing."""
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        return [_entry(path, "", content)]
    text = [_entry(path, before.decode(errors="replace"), content)]
    return (text if before != content.encode() else []) + attributes.differences(path)


def folder_differences(path, attributes):
    """The same for the folder of the files; without attributes it only has to be there."""
    if not path.is_dir():
        return [_entry(path, "", "a folder\n")]
    return attributes.differences(path) if attributes else []


def make_folder(path, attributes):
    """Make PATH and what is missing above it."""
    if path.is_dir():
        return
    make_folder(path.parent, attributes)
    path.mkdir()
    attributes.apply(path)


def write(path, content, attributes):
    """Put a whole new file, with its attributes, in the place of PATH."""
    handle, new = tempfile.mkstemp(dir=path.parent, prefix=".ansible-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode())
            attributes.apply(file.fileno())
            file.flush()
            os.fsync(file.fileno())
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink()
        raise


def _entry(header, before, after):
    return {
        "before_header": str(header),
        "after_header": str(header),
        "before": before,
        "after": after,
    }


def _name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def main():
    """Compare, then write what differs."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
            "dir_mode": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    dest, files = Path(wanted["dest"]), wanted["files"]
    if not dest.is_absolute():
        module.fail_json(msg=f"dest is {dest}: give an absolute path")
    for name, content in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts or name in ("", "."):
            module.fail_json(msg=f"files: {name!r} is no name below {dest}")
        if not isinstance(content, str):
            module.fail_json(msg=f"files: the content of {name} is no text: {content!r}")
    modes = {}
    for option in ("mode", "dir_mode"):
        try:
            modes[option] = int(wanted[option] or "0755", 8)
        except ValueError:
            module.fail_json(msg=f"{option} is {wanted[option]}: give octal digits, such as 0644")

    of_files = Attributes(wanted["owner"], wanted["group"], modes["mode"])
    of_folders = Attributes(wanted["owner"], wanted["group"], modes["dir_mode"])
    try:
        folder = folder_differences(dest, of_folders if wanted["dir_mode"] else None)
        found = {n: file_differences(dest / n, files[n], of_files) for n in files}
        changed_files = [name for name in files if found[name]]
        if not module.check_mode:
            make_folder(dest, of_folders)
            if folder:
                of_folders.apply(dest)
            for name in changed_files:
                make_folder((dest / name).parent, of_folders)
                write(dest / name, files[name], of_files)
    except KeyError as error:  # from pwd or grp: no such user or group
        module.fail_json(msg=f"{dest}: {error.args[0]}")
    except OSError as error:
        module.fail_json(msg=f"{error.filename or dest}: {error.strerror}")
    result = {"changed": bool(folder or changed_files), "changed_files": changed_files}
    if module._diff:
        result["diff"] = [*folder, *(entry for entries in found.values() for entry in entries)]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
