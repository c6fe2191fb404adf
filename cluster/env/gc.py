"""``cluster env gc``: removes environments and jars that no run has used lately."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.clients import yarn
from cluster.env import build as building
from cluster.env import store
from cluster.env.contents import size
from cluster.env.hosts import Tell, operate
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.places import cache, locked
from cluster.ssh import Fleet
from job.webhdfs import WebHdfs

DAY_S = 86400.0
KINDS = (store.TAG, "spark-", "bigdl-", "model-")
HERE, HDFS = "here", "HDFS"
CURRENT, LATELY = "the present one", "used lately"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Something that was dropped (or would be, in a dry run), or why it stays; epoch seconds."""

    where: str
    name: str
    bytes: int
    used_at: float
    dropped: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was looked at, and the sentences of hosts that could not be."""

    judged: tuple[Judged, ...]
    failed: tuple[str, ...]


def collect(
    fleet: Fleet, inventory: Inventory, *, keep_days: float, dry_run: bool, tell: Tell
) -> Collected:
    """Drop what was last used longer than KEEP_DAYS ago, and is neither present nor in use.

    Raises:
        ClusterError: nothing was deployed, or the edge host, HDFS or YARN does not answer: what is
            in use is not known.
    """
    seen = store.require_deployed(fleet, inventory)
    before = time.time() - keep_days * DAY_S
    current = store.current()
    running = dict(_running(fleet, inventory))
    in_use = {digest: f"{name} uses it" for digest, name in running.items()} | {current: CURRENT}
    judged = list(_local(current, before, dry_run=dry_run))
    if own := store.hdfs(fleet, inventory, seen["user"]):
        needed = {f"{store.TAG}{digest}": why for digest, why in in_use.items()}
        needed[store.spark_name(seen["spark"])] = CURRENT
        if current in seen["environments"]:
            needed[store.bigdl_name(seen["environments"][current])] = CURRENT
        # Which jars a run uses is not in its tags.
        jars = next((f"{name} may use it" for name in running.values()), "")
        judged += _on_hdfs(own, needed, jars, before, dry_run=dry_run)
    wanted = {"in_use": in_use, "before": before, "dry_run": dry_run}
    failed = []
    outcomes = fleet.fan_out(
        store.holders(inventory), lambda host: operate(fleet, host, "gc", wanted, tell=tell)
    )
    for host, outcome in outcomes.items():
        if isinstance(outcome, ClusterError):
            failed.append(str(outcome))
        else:
            judged += [Judged(where=host, **each) for each in outcome]
    return Collected(judged=tuple(judged), failed=tuple(failed))


def _running(fleet: Fleet, inventory: Inventory) -> Iterator[tuple[str, str]]:
    """Digests of environments that applications of YARN use, and which."""
    for host in inventory.group("yarn_resourcemanager")[:1]:
        with fleet.http(host, yarn.PORT) as client:
            applications = yarn.resource_manager(client).applications
        for application in applications:
            for tag in application.tags:
                if tag.startswith(store.TAG):
                    yield tag.removeprefix(store.TAG), application.id


def _local(current: str, before: float, *, dry_run: bool) -> Iterator[Judged]:
    """What was built here; the time of its description is that of its last push."""
    root = cache() / building.FOLDER
    root.mkdir(exist_ok=True)
    with locked(root / "lock"):
        for about in sorted(root.glob(f"*/{building.ABOUT}")):
            folder, used_at = about.parent, about.stat().st_mtime
            why = _why(CURRENT if folder.name == current else "", used_at, before)
            yield Judged(
                where=HERE,
                name=str(folder),
                bytes=size(folder),
                used_at=used_at,
                dropped=not why,
                why=why,
            )
            if not (why or dry_run):
                gone = folder.with_name(f"{folder.name}.part")
                folder.rename(gone)
                shutil.rmtree(gone)


def _on_hdfs(
    own: WebHdfs, needed: Mapping[str, str], jars: str, before: float, *, dry_run: bool
) -> Iterator[Judged]:
    """NEEDED says of names why they stay, JARS why jars do that it does not name."""
    for status in own.list(store.FOLDER):
        if not status.name.startswith(KINDS):
            continue
        is_environment = status.name.startswith(store.TAG)
        name = status.name.split(".")[0] if is_environment else status.name
        # A folder has no access time.
        inside = own.list(status.path) if status.is_folder else (status,)
        used_at = max((max(each.accessed_at, each.modified_at) for each in inside), default=0.0)
        why = _why(needed.get(name, "" if is_environment else jars), used_at, before)
        if not (why or dry_run):
            own.delete(status.path, recursive=True)
        yield Judged(
            where=HDFS,
            name=status.path,
            bytes=sum(each.bytes for each in inside),
            used_at=used_at,
            dropped=not why,
            why=why,
        )


def _why(in_use: str, used_at: float, before: float) -> str:
    """Why it stays; empty where it does not."""
    return in_use or (LATELY if used_at > before else "")
