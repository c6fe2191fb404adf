"""``cluster env verify``: whether each copy of the environment in a cluster is what was built.

Copies that were pushed are checked over SSH, those that YARN has made on executors, by the same
program (job/environment.py): all files against the manifest that was built in, and the imports of a
run in a fresh interpreter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.env import store
from cluster.env.build import FOLDER, IMPORTS
from cluster.env.hosts import Tell, operate
from cluster.env.warm import warm
from cluster.errors import ClusterError
from cluster.inventory import EDGE, Inventory
from cluster.places import cache
from cluster.ssh import Fleet
from job import environment
from job.environment import MANIFEST

PUSHED, LOCALISED = "pushed", "YARN's"
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of the environment: of ``kind`` PUSHED or LOCALISED, in ``folder`` of the host.

    ``damaged`` are files that are not as built, with the way; ``trouble`` is what else is wrong.
    ``files_s`` and ``imports_s`` are how long checking and importing took, in seconds.
    """

    host: str
    kind: str
    folder: str = ""
    damaged: Mapping[str, str]
    trouble: str = ""
    files_s: float | None = None
    imports_s: float | None = None

    @property
    def sound(self) -> bool:
        """As built, and it runs."""
        return not (self.damaged or self.trouble)

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        if not self.damaged:
            return f"{self.host}: {self.trouble}."
        files = [f"{name} ({why})" for name, why in sorted(self.damaged.items())]
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        if self.kind == PUSHED:
            todo = f"`sudo rm -r {self.folder}` there, then `cluster env push`"
        else:
            # The numbered folder, which holds this one alone: YARN looks for it at each start.
            entry = str(Path(self.folder).parent)
            todo = f"`sudo rm -r {entry}` there, then `cluster env warm`"
        return (
            f"{self.host}: {self.folder} is damaged: {', '.join(files[:NAMED])}{more}; make it new:"
            f" {todo}."
        )


def verify(fleet: Fleet, inventory: Inventory, *, model: Path, tell: Tell) -> tuple[Copy, ...]:
    """Check every copy in the cluster; hosts of YARN that have none yet make theirs now.

    Without a sound copy on the edge host there is no driver, and YARN's copies stay unchecked.

    Raises:
        ClusterError: the environment was not pushed, or as ``warm``.
    """
    stored = store.find(fleet, inventory)
    wanted = {"folder": stored.folder, "imports": IMPORTS, "files": True}
    program = Path(environment.__file__)
    answers = fleet.fan_out(
        store.holders(inventory),
        lambda host: operate(fleet, host, "check", wanted, tell=tell, program=program),
    )
    manifest = _built(stored.digest) or _said(answers[inventory.first(EDGE).name])["manifest"]
    copies = [
        _copy(host, PUSHED, _said(answer), manifest, failed=_failed(answer))
        for host, answer in answers.items()
    ]
    if not all(copy.sound for copy in copies):
        return tuple(copies)
    warmed = warm(fleet, inventory, model=model, files=True, tell=tell)
    for host in warmed.hosts if warmed else ():
        copies.append(_copy(host.host, LOCALISED, host.check or {}, manifest, failed=host.trouble))
    return tuple(copies)


def _built(digest: str) -> str:
    """The digest of the manifest that was built here; empty where it was built elsewhere."""
    path = cache() / FOLDER / digest / "prefix" / MANIFEST
    return environment.sha256(path) if path.exists() else ""


def _said(answer: Any) -> dict[str, Any]:
    return {} if isinstance(answer, ClusterError) else answer


def _failed(answer: Any) -> str:
    return str(answer) if isinstance(answer, ClusterError) else answer["failure"]


def _copy(host: str, kind: str, said: Mapping[str, Any], manifest: str, *, failed: str) -> Copy:
    damaged = dict(said.get("damaged", {}))
    if said and said["manifest"] != manifest:
        damaged.setdefault(MANIFEST, "another content")
    return Copy(
        host=host,
        kind=kind,
        folder=said.get("folder", ""),
        damaged=damaged,
        trouble=failed,
        files_s=said.get("files_s"),
        imports_s=said.get("imports_s"),
    )
