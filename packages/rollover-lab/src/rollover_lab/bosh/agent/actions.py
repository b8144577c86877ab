"""The methods of the agent protocol, and how each of them is carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from rollover_lab.bosh.agent import (
    about_blobs,
    about_disks,
    about_jobs,
    about_settings,
    about_state,
)
from rollover_lab.bosh.agent.host import Host
from rollover_lab.bosh.agent.protocol import ActionFailed, Request, failure, value
from rollover_lab.bosh.agent.tasks import Tasks


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One method. `since` is the protocol from which on it is asynchronous; None: never."""

    run: Callable[[Host, Request], object]
    since: int | None = 0
    persistent: bool = False
    cancellable: bool = False


def _answers(run: Callable[[Host, Request], object]) -> Action:
    return Action(run=run, since=None)


def _takes_time(run: Callable[[Host, Request], object]) -> Action:
    return Action(run=run)


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "ping": _answers(about_state.ping),
        "info": _answers(about_state.info),
        "get_state": _answers(about_state.get_state),
        "update_settings": Action(run=about_settings.update_settings, persistent=True),
        "prepare": _takes_time(about_jobs.prepare),
        "apply": _takes_time(about_jobs.apply),
        "start": _answers(about_jobs.start),
        "stop": _takes_time(about_jobs.stop),
        "drain": Action(run=about_jobs.drain, cancellable=True),
        "run_script": _takes_time(about_jobs.run_script),
        "run_errand": Action(run=about_jobs.run_errand, cancellable=True),
        "set_dummy_status": _answers(about_jobs.set_dummy_status),
        "list_disk": Action(run=about_disks.list_disk, since=3),
        "mount_disk": _takes_time(about_disks.mount_disk),
        "unmount_disk": _takes_time(about_disks.unmount_disk),
        "migrate_disk": _takes_time(about_disks.migrate_disk),
        "add_persistent_disk": _takes_time(about_disks.change_hints),
        "remove_persistent_disk": _takes_time(about_disks.change_hints),
        "sync_dns": _answers(about_blobs.sync_dns),
        "delete_arp_entries": _answers(about_blobs.delete_arp_entries),
        "upload_blob": _takes_time(about_blobs.upload_blob),
        "fetch_logs": _takes_time(about_blobs.fetch_logs),
        "compile_package": _takes_time(about_blobs.compile_package),
    }
)
"""Those of the real agent that a director uses on running VMs; the rest is `unknown message`."""

GET_TASK, CANCEL_TASK = "get_task", "cancel_task"


async def dispatch(host: Host, tasks: Tasks, request: Request) -> bytes:
    """Return the reply to a request; it may take as long as the queue of tasks is full."""
    try:
        return value(await _carry_out(host, tasks, request))
    except ActionFailed as error:
        return failure(str(error))


async def _carry_out(host: Host, tasks: Tasks, request: Request) -> object:
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


def _about_task(tasks: Tasks, request: Request) -> object:
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
