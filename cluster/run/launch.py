"""Starts a run on a cluster, goes on with one, or finds one again."""

import dataclasses
import glob
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.env.store import hdfs
from cluster.inventory import EDGE, Inventory
from cluster.run.code import ZIP, Code
from cluster.run.edge import EdgeRun
from cluster.run.follow import Follower, Hosts
from cluster.run.here import HereRun
from cluster.run.history import History
from cluster.run.overlays import draw
from cluster.run.site import Wishes, survey
from cluster.ssh import Fleet
from job.driver import Listener
from job.errors import UsageError
from job.images.source import ON_HDFS, Listing, list_images, split_glob
from job.model import Model
from job.rundir import RunDirectory
from job.spec import ClusterSpec, JobSpec
from job.webhdfs import HdfsError


def start(
    inventory: Inventory,
    spec: JobSpec,
    listener: Listener,
    *,
    publish: str = "",
    here: bool = False,
    adapt: Callable[[ClusterSpec], ClusterSpec] = lambda cluster: cluster,
) -> dict[str, Any]:
    """Run SPEC, whose paths are those of this machine, on the inventory's cluster.

    Gives run.json of the run directory, which is in ``spec.output`` then, and on HDFS at PUBLISH
    where that is not empty. The driver is on the edge host, or HERE on this machine. ADAPT may have
    the run use the cluster in another way than it would by itself, for a benchmark to compare with.
    Raises as ``Follower.follow`` and ``survey``.
    """
    model = Model.load(spec.model)
    listing = None
    if not spec.input.startswith(ON_HDFS):
        listing = list_images(spec.input)
        ignored = f", {len(listing.ignored)} other files ignored" if listing.ignored else ""
        listener.step(f"Found {len(listing.images)} images{ignored}")
    elif spec.overlays:
        raise UsageError(
            "--overlays needs images of this machine, to draw on them: the input is on HDFS."
        )
    RunDirectory.check_new(spec.output)
    with Fleet(inventory) as fleet:
        run = _run(fleet, inventory, _id(spec.output.name), here=here)
        cluster = adapt(_survey(run, inventory, spec, listener))
        if not spec.speeds:
            known = History.of(inventory.path, model.digest, spec.engine, spec.precision)
            spec = dataclasses.replace(spec, speeds=known.speeds(cluster.hosts))
        if publish:
            _refuse_taken(fleet, inventory, cluster, publish)
        spec.output.mkdir(parents=True, exist_ok=True)
        with run.made():
            remote = {"output": f"{run.folder}/run", **_send(run, spec, model, listing, listener)}
            fields = {"mode": spec.mode, "engine": spec.engine, "precision": spec.precision}
            fields |= {**spec.options(), "input": spec.input, **remote}
            request = {
                "spec": fields,
                "cluster": dataclasses.asdict(cluster),
                "resume": False,
                "publish": publish,
                "here": _here(spec),
            }
            _begin(run, request, listener)
        record = _follower(run, inventory, request, spec.output, listener).follow()
    _draw(spec, model, listing, listener)
    return record


def resume(
    inventory: Inventory, path: Path, listener: Listener, *, here: bool = False
) -> dict[str, Any]:
    """Finish the run in PATH on the cluster, as its run.json asked for it."""
    before = RunDirectory(path).read()
    if before["status"] == "finished":
        return before
    spec = JobSpec.of_run(before, path)
    model = Model.load(spec.model)
    listing = None if spec.input.startswith(ON_HDFS) else list_images(spec.input)
    with Fleet(inventory) as fleet, RunDirectory(path).locked():
        run = _run(fleet, inventory, _id(path.name), here=here)
        cluster = _survey(run, inventory, spec, listener)
        with run.made():
            run.send_run(path, **_send(run, spec, model, listing, listener))
            request = {
                "cluster": dataclasses.asdict(cluster),
                "resume": True,
                "publish": "",
                "here": _here(spec),
            }
            _begin(run, request, listener)
        record = _follower(run, inventory, request, path, listener).follow()
    _draw(spec, model, listing, listener)
    return record


def attach(
    inventory: Inventory,
    run_id: str,
    output: Path | None,
    listener: Listener,
    *,
    here: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Follow a run that goes on, or has ended, where its driver is; its output and run.json."""
    with Fleet(inventory) as fleet:
        run = _run(fleet, inventory, run_id, here=here)
        request = run.request()
        if output is None and request["publish"]:
            raise UsageError(
                f"--attach {run_id}: its results go to hdfs:{request['publish']}; say by --output"
                " in which new folder you want them here, too."
            )
        # What could not be put on HDFS is asked for here.
        request = {**request, "publish": "" if output else request["publish"]}
        output = output or Path(request["here"]["output"])
        return output, _follower(run, inventory, request, output, listener).follow()


def _run(fleet: Fleet, inventory: Inventory, run_id: str, *, here: bool) -> EdgeRun:
    return (HereRun if here else EdgeRun)(fleet=fleet, edge=inventory.first(EDGE), id=run_id)


def _survey(run: EdgeRun, inventory: Inventory, spec: JobSpec, listener: Listener) -> ClusterSpec:
    listener.step(f"Asking the hosts of {inventory.path}")
    cluster = survey(run.fleet, inventory, Wishes.of(spec), run.id)
    for reason in cluster.reasons:
        listener.step(reason)
    return run.adapt(cluster, inventory)


def _refuse_taken(fleet: Fleet, inventory: Inventory, cluster: ClusterSpec, path: str) -> None:
    files = hdfs(fleet, inventory, cluster.user)
    if files is None:
        raise UsageError(f"--output hdfs:{path}: {inventory.path} has no HDFS.")
    if files.status(path):
        raise UsageError(f"--output hdfs:{path} is there already: name another.")
    above, _, name = path.rpartition("/")
    probe = f"{above}/.{name}.probe"
    try:
        files.write(probe, b"", overwrite=True)
        files.delete(probe)
    except HdfsError as error:
        raise UsageError(
            f"--output hdfs:{path}: {error} Users may write below /user/{cluster.user}."
        ) from error


def _here(spec: JobSpec) -> dict[str, str]:
    """The paths of this machine, which the edge host does not have."""
    return {"input": spec.input, "model": str(spec.model), "output": str(spec.output)}


def _draw(spec: JobSpec, model: Model, listing: Listing | None, listener: Listener) -> None:
    if spec.overlays and listing:
        listener.step("Drawing what was found")
        draw(spec.output, listing, dict(zip(model.category_ids, model.class_names, strict=True)))


def _begin(run: EdgeRun, request: dict[str, Any], listener: Listener) -> None:
    code = run.send_code(Code.here())
    cluster = request["cluster"]
    cluster["code"] = f"{code}/{ZIP}"
    run.start(request, f"{cluster['environment']}/bin/python", code)
    listener.step(f"Started as {run.id} on {run.place}")


def _follower(
    run: EdgeRun, inventory: Inventory, request: dict[str, Any], output: Path, listener: Listener
) -> Follower:
    on_yarn = request["cluster"]["master"] == "yarn"
    hosts = Hosts(run, inventory, "yarn" if on_yarn else "standalone")
    return Follower(run=run, request=request, hosts=hosts, output=output, listener=listener)


def _id(name: str) -> str:
    """A name that no other run has, and that systemd and YARN take."""
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30] or "run"
    return f"{kept}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _send(
    run: EdgeRun, spec: JobSpec, model: Model, listing: Listing | None, listener: Listener
) -> dict[str, str]:
    """Send the model, and the input where it is here; their paths there."""
    if run.is_here:
        return {"model": str(spec.model), "input": spec.input}
    remote = {"model": run.send_model(model)}
    if listing:
        listener.step(f"Sending the input to {run.edge.name}")
        remote["input"] = _send_input(run, spec, listing)
    return remote


def _send_input(run: EdgeRun, spec: JobSpec, listing: Listing) -> str:
    """Send the files of the images, by the names that make the same image_ids; the input there."""
    source = Path(spec.input)
    if glob.has_magic(spec.input) and not source.exists():
        root = Path(split_glob(source)[0])
    else:
        root = source if source.is_dir() else source.parent
    paths = dict.fromkeys(image.path for image in listing.images[: spec.limit])
    run.send_files(((Path(path), str(Path(path).relative_to(root))) for path in paths), "input")
    alone = source.name if source.is_file() else ""
    return f"{run.folder}/input/{alone}".rstrip("/")
