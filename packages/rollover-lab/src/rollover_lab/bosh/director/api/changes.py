"""Calls that change deployments: deploy, delete, changes of state, actions on one instance."""

from __future__ import annotations

from datetime import datetime

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director.api.calls import body, director_of, flag, start
from rollover_lab.bosh.director.deployments import Deployment
from rollover_lab.bosh.director.desired import Overrides
from rollover_lab.bosh.director.order import (
    Action,
    Change,
    DeleteOrder,
    DeployOrder,
    InstanceOrder,
    JobType,
)
from rollover_lab.bosh.director.plan import Wish
from rollover_lab.bosh.director.refusals import InvalidConfigReference, InvalidValue

_ACTIONS = {
    "stop": Action.STOP,
    "start": Action.START,
    "restart": Action.RESTART,
    "recreate": Action.RESTART,
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
    return _start(request, order, name)


async def change_group(request: Request) -> Response:
    """Change the state of all groups (`*`) or of one, with the last manifest."""
    group = request.path_params["group"]
    allowed = request.query_params.get("state") == Wish.RECREATE
    order = DeployOrder(
        manifest=None,
        change=Change(group=group, wish=_wish(request)),
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
        change=Change(group=found.group, wish=_wish(request), index=found.index),
        fix=flag(request, "fix"),
        dry_run=flag(request, "dry_run"),
        skip_drain=found.group if flag(request, "skip_drain") else "",
    )
    return await _start_with_last(request, order)


async def act(request: Request) -> Response:
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
    return start(request, JobType.INSTANCE, order, description=text, deployment=name)


async def delete(request: Request) -> Response:
    """Delete a deployment."""
    name = director_of(request).deployments.get(request.path_params["deployment"]).name
    order = DeleteOrder(force=flag(request, "force"))
    text = f"delete deployment {name}"
    return start(request, JobType.DELETE, order, description=text, deployment=name)


async def _start_with_last(request: Request, order: DeployOrder) -> Response:
    deployment = director_of(request).deployments.get(request.path_params["deployment"])
    text = await body(request)
    known = _last(deployment)
    if text:
        clouds, runtimes = _configs(request)
        known = known | {
            "manifest": text.decode(),
            "cloud_configs": clouds,
            "runtime_configs": runtimes,
        }
    return _start(request, msgspec.structs.replace(order, **known), deployment.name)


def _last(deployment: Deployment) -> dict[str, object]:
    return {
        "manifest": deployment.manifest,
        "cloud_configs": deployment.cloud_configs,
        "runtime_configs": deployment.runtime_configs,
    }


def _start(request: Request, order: DeployOrder, name: str) -> Response:
    text = "create deployment (dry run)" if order.dry_run else "create deployment"
    return start(request, JobType.DEPLOY, order, description=text, deployment=name)


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
        return tuple(each.id for each in clouds), tuple(each.id for each in runtimes)
    try:
        context = msgspec.json.decode(text, type=_Context)
        wanted = [
            tuple(int(number) for number in numbers or ())
            for numbers in (context.cloud_config_ids, context.runtime_config_ids)
        ]
    except (msgspec.MsgspecError, ValueError):
        raise InvalidConfigReference("Context includes invalid config ID") from None
    existing = {each.id for each in known.find(limit=2**31)}
    if not existing.issuperset(wanted[0] + wanted[1]):
        raise InvalidConfigReference("Context includes invalid config ID")
    return wanted[0], wanted[1]


_ONE = "/deployments/{deployment}"
_GROUPS = f"{_ONE}/instance_groups/{{group}}/{{id}}"

ROUTES = (
    Route("/deployments", deploy, methods=["POST"]),
    Route(_ONE, delete, methods=["DELETE"]),
    Route(f"{_ONE}/jobs/{{group}}", change_group, methods=["PUT"]),
    Route(f"{_ONE}/jobs/{{group}}/{{id}}", change_instance, methods=["PUT"]),
    Route(f"{_GROUPS}/actions/{{action}}", act, methods=["POST"]),
)
