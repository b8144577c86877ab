"""What an agent does when it is told to: one function for each method of the real one."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from uuid import uuid4

import msgspec

from rollover_lab.bosh.agent.directory import ApplySpec, DiskSettings, UpdateSettings
from rollover_lab.bosh.agent.host import FAILING, AgentFault, AgentHost
from rollover_lab.bosh.agent.protocol import (
    ActionFailed,
    AgentRequest,
    AgentTasks,
    ProcessExit,
    failure_reply,
    value_reply,
)

# Actions that tell: `ping`, `info`, `get_state`.


API_VERSION: Final = 1


def ping(_host: AgentHost, _request: AgentRequest) -> object:
    """Answer."""
    return "pong"


def info(_host: AgentHost, _request: AgentRequest) -> object:
    """Return the version of the protocol between agent and director."""
    return {"api_version": API_VERSION}


def get_state(host: AgentHost, request: AgentRequest) -> object:
    """Return the spec, the job state and the processes, with `full` the vitals too."""
    state: dict[str, object] = msgspec.structs.asdict(host.spec)
    state["agent_id"] = host.settings.agent_id
    state["job_state"] = host.jobs.state
    if request.has_argument(0) and request.argument(0, str) == "full":
        state["vitals"] = host.jobs.vitals()
    if processes := host.jobs.processes(host.spec):
        state["processes"] = processes
    state["vm"] = host.settings.vm
    return state


# The action `update_settings`: new credentials, stored unchecked, for the process's next life.


RESUMED = "ok"
"""What a later life answers for it, whether anything was saved or not (hazard H2)."""
_CRASH_CODE = 137


def update_settings(host: AgentHost, request: AgentRequest) -> object:
    """Store settings; with another message bus or blobstore the process ends afterwards."""
    new = request.argument(0, UpdateSettings)
    surroundings = host.surroundings
    if surroundings.fault is AgentFault.CRASH_BEFORE_SAVE:
        surroundings.crashed()
        raise ProcessExit(_CRASH_CODE)
    host.reload()
    for association in new.disk_associations or ():
        try:
            host.disk(association.cid)
        except ActionFailed as error:
            raise ActionFailed(f"Fetching disk settings: {error}") from None
    # An older agent says `ok` to new credentials too, and keeps those that it has.
    if surroundings.ignores_mbus:
        new = msgspec.structs.replace(new, mbus=None, blobstores=None)
    together, restart = host.told.update.merged(new)
    host.files.save_update(together)
    host.told = msgspec.structs.replace(host.told, update=together)
    if restart:
        raise ProcessExit(0, delay=surroundings.timing.exit_delay)
    return RESUMED


# Actions on jobs: what is to run is prepared, applied, started, drained and stopped.


CRITICAL = 2
"""An alert's severity: 1 alert, 2 critical, 3 error, 4 warning."""


def prepare(_host: AgentHost, request: AgentRequest) -> object:
    """Fetch what a spec needs; in the lab there is nothing to fetch."""
    request.argument(0, ApplySpec)
    return "prepared"


def apply_spec(host: AgentHost, request: AgentRequest) -> object:
    """Be what a spec says."""
    host.apply(request.argument(0, ApplySpec))
    return "applied"


def start_jobs(host: AgentHost, _request: AgentRequest) -> object:
    """Start the jobs."""
    host.jobs.start()
    return "started"


def stop_jobs(host: AgentHost, _request: AgentRequest) -> object:
    """Stop the jobs."""
    host.jobs.stop()
    return "stopped"


def drain_jobs(host: AgentHost, request: AgentRequest) -> object:
    """Let jobs finish what they do; returns for how many seconds they want to be left alone."""
    kind = request.argument(0, str)
    if kind == "status":
        raise ActionFailed("Unexpected call with drain type 'status'")
    if kind == "update" and not request.has_argument(1):
        raise ActionFailed("Drain update requires new spec")
    if kind == "shutdown":
        host.send("shutdown", None)
    return 0


def run_script(_host: AgentHost, request: AgentRequest) -> object:
    """Run a script of every job that has it; no job of the lab has any."""
    request.argument(0, str)
    return {}


def run_errand(host: AgentHost, request: AgentRequest) -> object:
    """Run an errand; those of the lab say their name and succeed."""
    names = [template.name for template in host.spec.job.templates or ()]
    if request.has_argument(0):
        name = request.argument(0, str)
        if name not in names:
            raise ActionFailed(f"Could not find errand {name}")
    elif host.spec.job.template:
        name = host.spec.job.template
    else:
        raise ActionFailed("At least one job template is required to run an errand")
    return {"stdout": f"{name}\n", "stderr": "", "exit_code": 0}


def set_dummy_status(host: AgentHost, request: AgentRequest) -> object:
    """Let the jobs fail or recover; the real agent has this when run with dummy jobs."""
    failing = request.status == FAILING
    host.jobs.fail(failing=failing)
    if failing:
        host.send(
            "alert",
            {
                "id": "lab-monit-alert",
                "severity": CRITICAL,
                "title": "jobs - failing - start",
                "summary": "the lab was told to let the jobs fail",
                "created_at": int(time.time()),
            },
        )
    return "ok"


# Actions on persistent disks: directories of the cloud, mounted with symbolic links.


def list_disk(host: AgentHost, _request: AgentRequest) -> object:
    """Return the cids of the mounted disks."""
    host.reload()
    return [
        cid
        for cid, disk in host.settings.disks.persistent.items()
        if any(_holds(point, disk.path) for point in _points(host))
    ]


def mount_disk(host: AgentHost, request: AgentRequest) -> object:
    """Mount a disk; a second one where `migrate_disk` looks for it."""
    cid = request.argument(0, str)
    host.reload()
    disk = _disk(host, cid, "Reading")
    if any(_holds(point, disk.path) for point in _points(host)):
        return {}
    for point in _points(host):
        if not point.is_symlink():
            point.symlink_to(disk.path, target_is_directory=True)
            return {}
    raise ActionFailed("Mounting persistent disk: two disks are mounted already")


def unmount_disk(host: AgentHost, request: AgentRequest) -> object:
    """Unmount a disk, if it is mounted."""
    cid = request.argument(0, str)
    disk = _disk(host, cid, "Getting")
    for point in _points(host):
        if _holds(point, disk.path):
            point.unlink()
            return {"message": f"Unmounted partition of {cid}"}
    return {"message": f"Partition of {cid} is not mounted"}


def migrate_disk(host: AgentHost, _request: AgentRequest) -> object:
    """Copy everything from the first disk to the second, which then takes its place."""
    old, new = _points(host)
    if not (old.is_symlink() and new.is_symlink()):
        raise ActionFailed("Migrating persistent disk: two mounted disks are needed")
    try:
        shutil.copytree(old.resolve(), new.resolve(), symlinks=True, dirs_exist_ok=True)
    except OSError as error:
        raise ActionFailed(f"Migrating persistent disk: {error.strerror}") from None
    old.unlink()
    new.rename(old)
    return {}


def change_hints(_host: AgentHost, request: AgentRequest) -> object:
    """Take note of where a disk is; the lab's settings say so already."""
    request.argument(0, str)
    return {}


def _disk(host: AgentHost, cid: str, doing: str) -> DiskSettings:
    try:
        return host.disk(cid)
    except ActionFailed as error:
        raise ActionFailed(f"{doing} persistent disk settings: {error}") from None


def _points(host: AgentHost) -> tuple[Path, Path]:
    return host.files.store, host.files.store_migration


def _holds(point: Path, path: str) -> bool:
    return point.is_symlink() and point.readlink() == Path(path)


# Actions with blobs. The lab has no blobstore: they answer as if it had swallowed everything.


class _Blob(msgspec.Struct, frozen=True):
    blob_id: str = ""


def sync_dns(_host: AgentHost, _request: AgentRequest) -> object:
    """Take over DNS records."""
    return "synced"


def delete_arp_entries(_host: AgentHost, _request: AgentRequest) -> object:
    """Forget hardware addresses."""
    return {}


def upload_blob(_host: AgentHost, request: AgentRequest) -> object:
    """Keep rendered templates for a later `prepare`."""
    return request.argument(0, _Blob).blob_id


def fetch_logs(_host: AgentHost, request: AgentRequest) -> object:
    """Put logs into the blobstore."""
    request.argument(0, str)
    return _stored()


def compile_package(_host: AgentHost, request: AgentRequest) -> object:
    """Compile a package into the blobstore."""
    request.argument(0, str)
    return {"result": _stored()}


def _stored() -> dict[str, str]:
    blob = str(uuid4())
    return {
        "blobstore_id": blob,
        "sha1": hashlib.sha1(blob.encode(), usedforsecurity=False).hexdigest(),
    }


# The methods of the agent protocol, and how each of them is carried out.


class AgentAction(msgspec.Struct, frozen=True, kw_only=True):
    """One method. `since` is the protocol from which on it is asynchronous; None: never."""

    run: Callable[[AgentHost, AgentRequest], object]
    since: int | None = 0
    persistent: bool = False
    cancellable: bool = False


def _answers(run: Callable[[AgentHost, AgentRequest], object]) -> AgentAction:
    return AgentAction(run=run, since=None)


def _takes_time(run: Callable[[AgentHost, AgentRequest], object]) -> AgentAction:
    return AgentAction(run=run)


ACTIONS: Mapping[str, AgentAction] = MappingProxyType(
    {
        "ping": _answers(ping),
        "info": _answers(info),
        "get_state": _answers(get_state),
        "update_settings": AgentAction(run=update_settings, persistent=True),
        "prepare": _takes_time(prepare),
        "apply": _takes_time(apply_spec),
        "start": _answers(start_jobs),
        "stop": _takes_time(stop_jobs),
        "drain": AgentAction(run=drain_jobs, cancellable=True),
        "run_script": _takes_time(run_script),
        "run_errand": AgentAction(run=run_errand, cancellable=True),
        "set_dummy_status": _answers(set_dummy_status),
        "list_disk": AgentAction(run=list_disk, since=3),
        "mount_disk": _takes_time(mount_disk),
        "unmount_disk": _takes_time(unmount_disk),
        "migrate_disk": _takes_time(migrate_disk),
        "add_persistent_disk": _takes_time(change_hints),
        "remove_persistent_disk": _takes_time(change_hints),
        "sync_dns": _answers(sync_dns),
        "delete_arp_entries": _answers(delete_arp_entries),
        "upload_blob": _takes_time(upload_blob),
        "fetch_logs": _takes_time(fetch_logs),
        "compile_package": _takes_time(compile_package),
    }
)
"""Those of the real agent that a director uses on running VMs; the rest is `unknown message`."""

GET_TASK, CANCEL_TASK = "get_task", "cancel_task"


async def dispatch(host: AgentHost, tasks: AgentTasks, request: AgentRequest) -> bytes:
    """Return the reply to a request; it may take as long as the queue of tasks is full."""
    try:
        return value_reply(await _carry_out(host, tasks, request))
    except ActionFailed as error:
        return failure_reply(str(error))


async def _carry_out(host: AgentHost, tasks: AgentTasks, request: AgentRequest) -> object:
    method = request.method
    if method in (GET_TASK, CANCEL_TASK):
        return _failing_as(method, lambda: _about_task(tasks, request))
    action = ACTIONS.get(method)
    if action is None:
        raise ActionFailed(f"unknown message {method}")
    if action.since is None or request.protocol < action.since:
        return _failing_as(method, lambda: action.run(host, request))
    return await tasks.start(
        method, lambda: action.run(host, request), persistent=action.persistent
    )


def _about_task(tasks: AgentTasks, request: AgentRequest) -> object:
    task_id = request.argument(0, str)
    if request.method == GET_TASK:
        return tasks.result(task_id)
    method = tasks.method(task_id)
    if not (method in ACTIONS and ACTIONS[method].cancellable):
        raise ActionFailed("not supported")
    return "canceled"


def _failing_as(method: str, run: Callable[[], object]) -> object:
    try:
        return run()
    except ActionFailed as error:
        raise ActionFailed(f"Action Failed {method}: {error}") from None
