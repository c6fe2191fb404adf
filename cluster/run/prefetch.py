"""Has all hosts of YARN localise the environment at once, while the driver starts.

By itself a cold run localises twice in a row: on the application master's host first, and on the
others only once that one has asked for executors there. An application whose one container ends
at once makes its host localise what it names; one for each host, submitted together, go to a host
each, for a NodeManager is given one container with each of its heartbeats.
"""

import contextlib
from typing import Any

from cluster.clients import yarn
from cluster.clients.rest import get
from cluster.env.store import hdfs
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.ssh import Fleet
from job.modes.yarn import ENVIRONMENT
from job.spec import ClusterSpec

# Each costs the ResourceManager an application. Beyond, Spark's own localising has to do.
MOST = 100
MEMORY_MB = 128


def prefetch(fleet: Fleet, inventory: Inventory, cluster: ClusterSpec) -> int:
    """Start it where a host of the run is cold; gives how many applications that took.

    It saves time and is needed for nothing, so what YARN refuses is left to the run.
    """
    if not cluster.cold or len(cluster.hosts) > MOST:
        return 0
    submitted = 0
    with (
        contextlib.suppress(ClusterError),
        fleet.http(inventory.first("yarn_resourcemanager"), yarn.PORT) as client,
    ):
        # All that there are: a host that has it takes a moment, and only so each cold one gets its.
        names = [yarn.new_application(client, user=cluster.user) for _ in cluster.hosts]
        content = _container(fleet, inventory, cluster, client)
        for name in names:
            yarn.submit(client, {"application-id": name, **content}, user=cluster.user)
            submitted += 1
    return submitted


def _container(
    fleet: Fleet, inventory: Inventory, cluster: ClusterSpec, client: Any
) -> dict[str, Any]:
    files = hdfs(fleet, inventory, cluster.user)
    path = cluster.archive.removeprefix("hdfs://")
    status = files.status(path) if files else None
    if status is None:
        raise ClusterError(f"{path} is not on HDFS.")
    # YARN knows what it has localised by the whole address, as Spark gives it.
    root = get(client, "/conf", name="fs.defaultFS", format="json").object("property")
    return {
        "application-name": f"localise {status.name}",
        "application-type": "CLUSTER",
        "max-app-attempts": 1,
        "resource": {"memory": MEMORY_MB, "vCores": 1},
        "am-container-spec": {
            "commands": {"command": "true"},
            "local-resources": {
                "entry": [
                    {
                        "key": ENVIRONMENT,
                        "value": {
                            "resource": root.text("value") + path,
                            "type": "ARCHIVE",
                            "visibility": "PUBLIC",
                            "size": status.bytes,
                            "timestamp": round(status.modified_at * 1000),
                        },
                    }
                ]
            },
        },
        **({"queue": cluster.queue} if cluster.queue else {}),
    }
