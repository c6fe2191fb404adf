#!/usr/bin/python
"""Ansible module: wait until a daemon of Hadoop is ready by its own word."""

import json
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.hadoop import NoAnswerError, ask, bean

DOCUMENTATION = r"""
---
module: hadoop_ready
short_description: Wait until a daemon of Hadoop is ready by its own word
description:
  - A NameNode is ready when it is out of safe mode and counts the DataNodes expected as live; a
    DataNode when it has a NameNode and that one counts it as live; a ResourceManager when it has
    started; a NodeManager when it is healthy and the ResourceManager lists it as RUNNING.
  - Where it does not come to that, the message says what it waits for, with the end of its journal.
  - Changes nothing.
options:
  daemon:
    description: What it is.
    type: str
    required: true
    choices: [namenode, datanode, resourcemanager, nodemanager]
  host:
    description: Its host, by the name the cluster has for it.
    type: str
    required: true
  head:
    description: The host of its NameNode or ResourceManager.
    type: str
  datanodes:
    description: Hosts that a NameNode has to count as live.
    type: list
    elements: str
    default: []
  unit:
    description: Its systemd unit, for the journal.
    type: str
    required: true
  timeout:
    description: Seconds it may take.
    type: int
    default: 120
author: The toolkit's maintainers
"""

EXAMPLES = r"""
- name: Wait for the DataNode
  hadoop_ready:
    daemon: datanode
    host: node2
    head: node1
    unit: hdfs-datanode
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: always
  type: float
"""

POLL_S = 0.5
JOURNAL_LINES = 25
NAMENODE, DATANODE = "service=NameNode,name=NameNodeInfo", "service=DataNode,name=DataNodeInfo"


def namenode(wanted):
    """What a NameNode waits for; None where it is ready. So are the others."""
    told = bean(f"{wanted['host']}:9870", NAMENODE)
    missing = sorted(set(wanted["datanodes"]) - live(told))
    silent = f" DataNodes it has not heard of: {', '.join(missing)}." if missing else ""
    if told["Safemode"]:
        return f"it is in safe mode: {told['Safemode']}{silent}"
    return f"it counts {len(live(told))} DataNodes as live.{silent}" if missing else None


def datanode(wanted):
    """As above, for a DataNode."""
    told = bean(f"{wanted['host']}:9864", DATANODE)
    states = {actor["ActorState"] for actor in json.loads(told["BPServiceActorInfo"])}
    if states != {"RUNNING"}:
        return f"its connection to the NameNode is {', '.join(sorted(states)) or 'not there'}"
    if wanted["host"] not in live(bean(f"{wanted['head']}:9870", NAMENODE)):
        return f"the NameNode on {wanted['head']} does not count it as live"
    return None


def resourcemanager(wanted):
    """As above, for a ResourceManager."""
    state = ask(f"http://{wanted['host']}:8088/ws/v1/cluster/info")["clusterInfo"]["state"]
    return None if state == "STARTED" else f"it is {state}"


def nodemanager(wanted):
    """As above, for a NodeManager."""
    own = ask(f"http://{wanted['host']}:8042/ws/v1/node/info")["nodeInfo"]
    if not own["nodeHealthy"]:
        return f"it calls itself unhealthy: {own['healthReport']}"
    listed = ask(f"http://{wanted['head']}:8088/ws/v1/cluster/nodes")["nodes"] or {}
    states = {node["nodeHostName"]: node["state"] for node in listed.get("node", ())}
    if states.get(wanted["host"]) == "RUNNING":
        return None
    state = states.get(wanted["host"], "not listed")
    return f"the ResourceManager on {wanted['head']} has it as {state}"


def live(told):
    """Names of the DataNodes that a NameNode counts as live."""
    return {name.rpartition(":")[0] for name in json.loads(told["LiveNodes"])}


CHECKS = {
    "namenode": namenode,
    "datanode": datanode,
    "resourcemanager": resourcemanager,
    "nodemanager": nodemanager,
}


def wait(wanted):
    """Ask until it is ready or the time is over; gives what it waits for, or None."""
    end = time.monotonic() + wanted["timeout"]
    while True:
        try:
            problem = CHECKS[wanted["daemon"]](wanted)
        except NoAnswerError as error:
            problem = str(error)
        if problem is None or time.monotonic() > end:
            return problem
        time.sleep(POLL_S)


def journal(unit):
    """The last lines that a unit wrote, or why there are none."""
    command = ["journalctl", f"--unit={unit}", f"--lines={JOURNAL_LINES}", "--no-pager"]
    try:
        done = subprocess.run(
            [*command, "--output=cat"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return done.stdout or done.stderr


def main():
    """Wait, and say how it ended."""
    module = AnsibleModule(
        argument_spec={
            "daemon": {"type": "str", "required": True, "choices": list(CHECKS)},
            "host": {"type": "str", "required": True},
            "head": {"type": "str"},
            "datanodes": {"type": "list", "elements": "str", "default": []},
            "unit": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        required_if=[("daemon", "datanode", ["head"]), ("daemon", "nodemanager", ["head"])],
        supports_check_mode=True,
    )
    wanted = module.params
    start = time.monotonic()
    problem = wait(wanted)
    seconds = round(time.monotonic() - start, 1)
    if problem:
        module.fail_json(
            msg=f"The {wanted['daemon']} on {wanted['host']} is not ready after {seconds:.0f} s: "
            f"{problem}\nThe end of its journal (journalctl -u {wanted['unit']}):\n"
            f"{journal(wanted['unit'])}",
            seconds=seconds,
        )
    module.exit_json(changed=False, seconds=seconds)


if __name__ == "__main__":
    main()
