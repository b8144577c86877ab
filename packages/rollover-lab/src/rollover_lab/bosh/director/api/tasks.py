"""The director's API: what starts tasks on deployments, and tasks themselves."""

from __future__ import annotations

from datetime import datetime

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rollover.platforms.bosh.director_records import TaskState
from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.api.calls import (
    answer,
    body,
    director_of,
    empty,
    flag,
    json_body,
    start_task,
)
from rollover_lab.bosh.director.deployment_plan import (
    DeleteOrder,
    DeployOrder,
    InstanceAction,
    InstanceOrder,
    JobType,
    Overrides,
    StateChange,
    Wish,
)
from rollover_lab.bosh.director.instances import DeploymentRecord
from rollover_lab.bosh.director.refusals import InvalidConfigReference, InvalidValue, OutputUnknown
from rollover_lab.bosh.director.task_records import (
    ORDINARY_TYPES,
    OutputKind,
    Slice,
    TaskRecord,
    Unsatisfiable,
    wanted_slice,
)

# Calls that change deployments: deploy, delete, changes of state, actions on one instance.


_ACTIONS = {
    "stop": InstanceAction.STOP,
    "start": InstanceAction.START,
    "restart": InstanceAction.RESTART,
    "recreate": InstanceAction.RESTART,
}


class _Context(msgspec.Struct, frozen=True):
    cloud_config_ids: tuple[str | int, ...] | None = None
    runtime_config_ids: tuple[str | int, ...] | None = None


async def deploy(request: Request) -> Response:
    """Deploy a manifest."""
    director, asked = director_of(request), request.query_params
    text = await body(request)
    name = manifests.parse(text).name
    clouds, runtimes = _configs(request)
    order = DeployOrder(
        manifest=text.decode(),
        cloud_configs=clouds,
        runtime_configs=runtimes,
        new=not director.deployments.exists(name),
        recreate=flag(request, "recreate"),
        recreate_persistent_disks=flag(request, "recreate_persistent_disks"),
        created_before=_created_before(request, allowed=flag(request, "recreate")),
        fix=flag(request, "fix"),
        dry_run=flag(request, "dry_run"),
        skip_drain=asked.get("skip_drain", ""),
        overrides=_overrides(request),
    )
    director.deployments.create(name)
    return _start_task(request, order, name)


async def change_group(request: Request) -> Response:
    """Change the state of all groups (`*`) or of one, with the last manifest."""
    group = request.path_params["group"]
    allowed = request.query_params.get("state") == Wish.RECREATE
    order = DeployOrder(
        manifest=None,
        change=StateChange(group=group, wish=_wish(request)),
        created_before=_created_before(request, allowed=allowed),
        fix=flag(request, "fix"),
        dry_run=flag(request, "dry_run"),
        skip_drain=group if flag(request, "skip_drain") else "",
        overrides=_overrides(request),
    )
    return await _start_with_last(request, order)


async def change_instance(request: Request) -> Response:
    """Change the state of one instance; the rest of the deployment converges too."""
    path = request.path_params
    name = director_of(request).deployments.get(path["deployment"]).name
    found = director_of(request).instances.find(name, path["group"], path["id"])
    order = DeployOrder(
        manifest=None,
        change=StateChange(group=found.group, wish=_wish(request), index=found.index),
        fix=flag(request, "fix"),
        dry_run=flag(request, "dry_run"),
        skip_drain=found.group if flag(request, "skip_drain") else "",
    )
    return await _start_with_last(request, order)


async def act_on_instance(request: Request) -> Response:
    """Act on one instance and nothing else (`--no-converge`)."""
    path = request.path_params
    name = director_of(request).deployments.get(path["deployment"]).name
    found = director_of(request).instances.find(name, path["group"], path["id"])
    action = path["action"]
    if action not in _ACTIONS:
        raise HTTPException(404)
    order = InstanceOrder(
        instance_id=found.id,
        action=_ACTIONS[action],
        hard=action == "recreate" or (action == "stop" and flag(request, "hard")),
        skip_drain=flag(request, "skip_drain"),
        ignore_unresponsive_agent=flag(request, "ignore_unresponsive_agent"),
    )
    text = f"{action} instance"
    return start_task(request, JobType.INSTANCE, order, description=text, deployment=name)


async def delete(request: Request) -> Response:
    """Delete a deployment."""
    name = director_of(request).deployments.get(request.path_params["deployment"]).name
    order = DeleteOrder(force=flag(request, "force"))
    text = f"delete deployment {name}"
    return start_task(request, JobType.DELETE, order, description=text, deployment=name)


async def _start_with_last(request: Request, order: DeployOrder) -> Response:
    deployment = director_of(request).deployments.get(request.path_params["deployment"])
    text = await body(request)
    known = _last_manifest(deployment)
    if text:
        clouds, runtimes = _configs(request)
        known = known | {
            "manifest": text.decode(),
            "cloud_configs": clouds,
            "runtime_configs": runtimes,
        }
    return _start_task(request, msgspec.structs.replace(order, **known), deployment.name)


def _last_manifest(deployment: DeploymentRecord) -> dict[str, object]:
    return {
        "manifest": deployment.manifest,
        "cloud_configs": deployment.cloud_configs,
        "runtime_configs": deployment.runtime_configs,
    }


def _start_task(request: Request, order: DeployOrder, name: str) -> Response:
    text = "create deployment (dry run)" if order.dry_run else "create deployment"
    return start_task(request, JobType.DEPLOY, order, description=text, deployment=name)


def _wish(request: Request) -> Wish:
    text = request.query_params.get("state", "")
    if text not in tuple(Wish):
        raise InvalidValue(f"Invalid state '{text}', valid states are: {', '.join(Wish)}")
    return Wish(text)


def _overrides(request: Request) -> Overrides:
    asked = request.query_params
    return Overrides(
        canaries=asked.get("canaries") or None, max_in_flight=asked.get("max_in_flight") or None
    )


def _created_before(request: Request, *, allowed: bool) -> str | None:
    text = request.query_params.get("recreate_vms_created_before")
    if text is None:
        return None
    if not allowed:
        raise InvalidValue("Must pass recreate=true when specifying recreate_vms_created_before")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidValue(f"Invalid RFC 3339 timestamp for recreate_vms_created_before: {text}")
    return found.isoformat()


def _configs(request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the cloud and runtime configs: those of the context, or the newest."""
    known = director_of(request).configs
    text = request.query_params.get("context")
    if text is None:
        clouds, runtimes = (known.find(kind=kind) for kind in ("cloud", "runtime"))
        return tuple(cloud.id for cloud in clouds), tuple(runtime.id for runtime in runtimes)
    try:
        context = msgspec.json.decode(text, type=_Context)
        wanted = [
            tuple(int(number) for number in numbers or ())
            for numbers in (context.cloud_config_ids, context.runtime_config_ids)
        ]
    except (msgspec.MsgspecError, ValueError):
        raise InvalidConfigReference("Context includes invalid config ID") from None
    existing = {config.id for config in known.find(limit=2**31)}
    if not existing.issuperset(wanted[0] + wanted[1]):
        raise InvalidConfigReference("Context includes invalid config ID")
    return wanted[0], wanted[1]


_DEPLOYMENT = "/deployments/{deployment}"
_GROUPS = f"{_DEPLOYMENT}/instance_groups/{{group}}/{{id}}"

CHANGE_ROUTES = (
    Route("/deployments", deploy, methods=["POST"]),
    Route(_DEPLOYMENT, delete, methods=["DELETE"]),
    Route(f"{_DEPLOYMENT}/jobs/{{group}}", change_group, methods=["PUT"]),
    Route(f"{_DEPLOYMENT}/jobs/{{group}}/{{id}}", change_instance, methods=["PUT"]),
    Route(f"{_GROUPS}/actions/{{action}}", act_on_instance, methods=["POST"]),
)


# Calls about tasks and their outputs; the bosh CLI reads events with `Range` while they grow.


_CANCELLABLE = (TaskState.QUEUED, TaskState.PROCESSING)


class _Selection(msgspec.Struct, frozen=True):
    states: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    deployment: str | None = None


async def list_tasks(request: Request) -> Response:
    """List tasks, the newest first; `verbose=1` leaves listings and scans out."""
    asked = request.query_params
    limit = asked.get("limit", "")
    found = director_of(request).tasks.find(
        states=[state for state in asked.get("state", "").split(",") if state],
        types=ORDINARY_TYPES if asked.get("verbose", "1") == "1" else (),
        deployment=asked.get("deployment"),
        context_id=asked.get("context_id") or None,
        limit=max(1, int(limit)) if limit.isdecimal() else None,
    )
    return answer([_shown_task(task) for task in found])


async def show_task(request: Request) -> Response:
    """Show one task."""
    return answer(_shown_task(director_of(request).tasks.get(request.path_params["id"])))


async def show_output(request: Request) -> Response:
    """Return an output of a task, or the part of it that `Range` asks for."""
    kind = request.query_params.get("type", OutputKind.DEBUG)
    if kind == "none":
        return empty(204)
    if kind not in tuple(OutputKind):
        raise OutputUnknown(f"Unknown type {kind}")
    director = director_of(request)
    number = director.tasks.get(request.path_params["id"]).id
    size = director.outputs.size(number, OutputKind(kind))
    if size is None:
        return empty(204)
    match wanted_slice(request.headers.get("Range"), size):
        case None:
            status, part, headers = 200, Slice(0, size, size), {}
        case Unsatisfiable():
            headers = {"Content-Range": f"bytes */{size}"}
            return PlainTextResponse("Byte range unsatisfiable", 416, headers)
        case Slice(first, end) as part:
            status, headers = 206, {"Content-Range": f"bytes {first}-{end - 1}/{size}"}
    data = director.outputs.read(number, OutputKind(kind), part)
    return Response(data, status, headers | {"Accept-Ranges": "bytes"}, "text/plain")


async def cancel_task(request: Request) -> Response:
    """Ask a task to stop."""
    director = director_of(request)
    found = director.tasks.get(request.path_params["id"])
    if director.tasks.cancel(found):
        return empty(204)
    text = f"Cannot cancel task {found.id}: invalid state ({found.state})"
    return PlainTextResponse(text, 400)


async def cancel_tasks(request: Request) -> Response:
    """Ask tasks to stop; without a selection those that wait for a worker."""
    chosen = await json_body(request, _Selection)
    for state in chosen.states:
        if state not in _CANCELLABLE:
            allowed = ", ".join(_CANCELLABLE)
            text = f"{state} is not one of the cancellable states: {allowed}"
            return PlainTextResponse(text, 400)
    table = director_of(request).tasks
    found = table.find(
        states=chosen.states or (TaskState.QUEUED,),
        types=chosen.types,
        deployment=chosen.deployment,
    )
    for task in found:
        table.cancel(task)
    return empty(204)


def _shown_task(task: TaskRecord) -> dict[str, object]:
    running = task.state in _CANCELLABLE
    return {
        "id": task.id,
        "state": task.state,
        "description": task.description,
        "timestamp": None if running else task.timestamp,
        "started_at": task.started_at,
        "result": task.result,
        "user": task.user,
        "deployment": task.deployment,
        "context_id": task.context_id,
    }


TASK_ROUTES = (
    Route("/tasks", list_tasks),
    Route("/tasks/cancel", cancel_tasks, methods=["POST"]),
    Route("/tasks/{id:int}", show_task),
    Route("/tasks/{id:int}/output", show_output),
    Route("/task/{id:int}", cancel_task, methods=["DELETE"]),
)
