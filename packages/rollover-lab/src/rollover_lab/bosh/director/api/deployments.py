"""Calls about deployments: what there is, and what is wrong with it."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rollover_lab.bosh.director import manifest as manifests
from rollover_lab.bosh.director import manifest_diff
from rollover_lab.bosh.director.api.calls import (
    answer,
    body,
    director_of,
    empty,
    flag,
    json_body,
    manifest_of,
    parts_in_use,
    start_task,
)
from rollover_lab.bosh.director.cloud_check import describe_problem
from rollover_lab.bosh.director.deployment_plan import (
    ApplyOrder,
    ErrandOrder,
    JobType,
    ScanAndFixOrder,
    ScanOrder,
    VmsOrder,
)
from rollover_lab.bosh.director.instance_tasks import errand_names, format_time
from rollover_lab.bosh.director.instances import DeployedInstance, DeploymentRecord
from rollover_lab.bosh.director.records import OFFERED, InstanceProblem
from rollover_lab.bosh.director.refusals import ResurrectionPaused
from rollover_lab.bosh.director.work import LabDirector


class _Ignore(msgspec.Struct, frozen=True):
    ignore: bool


class _ErrandRun(msgspec.Struct, frozen=True, rename="kebab"):
    keep_alive: bool = False
    when_changed: bool = False
    instances: tuple[msgspec.Raw, ...] = ()


class _Chosen(msgspec.Struct, frozen=True):
    group: str = ""
    id: str = ""


def _deployment(request: Request) -> DeploymentRecord:
    return director_of(request).deployments.get(request.path_params["deployment"])


async def deployments(request: Request) -> Response:
    """List deployments; `exclude_…=true` leaves parts out."""
    director = director_of(request)
    return answer(
        [_listed(request, director, deployment) for deployment in director.deployments.all()]
    )


def _listed(
    request: Request, director: LabDirector, deployment: DeploymentRecord
) -> dict[str, object]:
    parts = parts_in_use(director, deployment)
    shown: dict[str, object] = {"name": deployment.name, "teams": []}
    if not flag(request, "exclude_configs"):
        shown["cloud_config"] = _cloud_config_state(director, deployment)
    for name, used in (("stemcells", parts.stemcells), ("releases", parts.releases)):
        if not flag(request, f"exclude_{name}"):
            shown[name] = [{"name": part.name, "version": part.version} for part in used]
    if not flag(request, "exclude_lock"):
        shown["locked"] = director.locks.locked(deployment.name)
    return shown


def _cloud_config_state(director: LabDirector, deployment: DeploymentRecord) -> str:
    if not deployment.cloud_configs:
        return "none"
    newest = tuple(sorted(config.id for config in director.configs.find(kind="cloud")))
    return "latest" if newest == tuple(sorted(deployment.cloud_configs)) else "outdated"


async def manifest(request: Request) -> Response:
    """Show the last manifest that was deployed with success."""
    return answer({"manifest": _deployment(request).manifest})


async def vms(request: Request) -> Response:
    """List VMs; `format=full` asks their agents, which takes a task."""
    deployment = _deployment(request)
    if _in_full(request):
        return _ask_agents(request, deployment, VmsOrder(instances=False))
    found = director_of(request).instances.of(deployment.name)
    return answer(
        [
            _short(instance)
            | {
                "active": instance.vm.active,
                "permanent_nats_credentials": instance.vm.permanent_nats_credentials,
            }
            for instance in found
            if instance.vm
        ]
    )


async def instances(request: Request) -> Response:
    """List instances, with or without a VM; `format=full` asks their agents."""
    deployment = _deployment(request)
    if _in_full(request):
        return _ask_agents(request, deployment, VmsOrder(instances=True))
    found = director_of(request).instances.of(deployment.name)
    return answer([_short(instance) | {"expects_vm": instance.expects_vm} for instance in found])


def _in_full(request: Request) -> bool:
    return request.query_params.get("format") == "full"


def _ask_agents(request: Request, deployment: DeploymentRecord, order: VmsOrder) -> Response:
    return start_task(
        request,
        JobType.VMS,
        order,
        description="retrieve vm-stats",
        deployment=deployment.name,
    )


def _short(instance: DeployedInstance) -> dict[str, object]:
    vm = instance.vm
    return {
        "agent_id": vm.agent_id if vm else None,
        "cid": vm.cid if vm else None,
        "job": instance.group,
        "index": instance.index,
        "id": instance.uuid,
        "az": instance.az,
        "ips": [vm.ip] if vm else [],
        "vm_created_at": format_time(instance),
    }


async def variables(request: Request) -> Response:
    """List the variables of the manifest."""
    return answer(director_of(request).deployments.variables(_deployment(request).name))


async def diff(request: Request) -> Response:
    """Show what a manifest would change; of a deployment that is not there yet everything."""
    director = director_of(request)
    name = request.path_params["deployment"]
    after = manifests.tree(await body(request))
    had = director.deployments.get(name).manifest if director.deployments.exists(name) else None
    before = manifests.tree(had.encode()) if had else {}
    redact = request.query_params.get("redact") != "false"
    ids = {
        f"{kind}_config_ids": [str(config.id) for config in director.configs.find(kind=kind)]
        for kind in ("cloud", "runtime")
    }
    found = manifest_diff.diff_lines(before, after, redact=redact)
    return answer({"context": ids, "diff": found})


async def ignore(request: Request) -> Response:
    """Leave an instance out of everything, or take it in again."""
    wanted = await json_body(request, _Ignore)
    known = director_of(request).instances
    path = request.path_params
    found = known.find(_deployment(request).name, path["group"], path["id"])
    known.change(found, ignore=int(wanted.ignore))
    return empty()


async def errands(request: Request) -> Response:
    """List errands."""
    found = manifest_of(_deployment(request))
    names = errand_names(found) if found else ()
    return answer([{"name": name} for name in names])


async def run_errand(request: Request) -> Response:
    """Run an errand."""
    deployment, name = _deployment(request), request.path_params["errand"]
    wanted = await json_body(request, _ErrandRun)
    order = ErrandOrder(
        name=name,
        keep_alive=wanted.keep_alive,
        instances=tuple(_chosen(instance) for instance in wanted.instances),
    )
    text = f"run errand {name} from deployment {deployment.name}"
    return start_task(request, JobType.ERRAND, order, description=text, deployment=deployment.name)


def _chosen(raw: msgspec.Raw) -> str:
    """Return `group/id` of `{"group", "id"}`, or the text that it is."""
    found = msgspec.json.decode(raw, type=str | _Chosen)
    if isinstance(found, str):
        return found
    return f"{found.group}/{found.id}" if found.id else found.group


async def scan(request: Request) -> Response:
    """Look for problems."""
    name = _deployment(request).name
    return start_task(request, JobType.SCAN, ScanOrder(), description="scan cloud", deployment=name)


async def problems(request: Request) -> Response:
    """List the problems that the last scan found."""
    director = director_of(request)
    found = director.problems.open(_deployment(request).name)
    return answer([_problem(director, problem) for problem in found])


def _problem(director: LabDirector, problem: InstanceProblem) -> dict[str, object]:
    instance = director.instances.get(problem.instance_id)
    return {
        "id": problem.id,
        "type": problem.type,
        "data": {},
        "description": describe_problem(instance, problem.type),
        "instance_group": instance.group,
        "resolutions": [
            {"name": resolution, "plan": problem.plan(resolution)}
            for resolution in OFFERED[problem.type]
        ],
    }


async def resolve(request: Request) -> Response:
    """Resolve problems as told."""
    name = _deployment(request).name
    order = await json_body(request, ApplyOrder)
    return start_task(
        request, JobType.APPLY, order, description="apply resolutions", deployment=name
    )


async def scan_and_fix(request: Request) -> Response:
    """Recreate VMs that do not answer; the resurrector asks for this."""
    name = _deployment(request).name
    order = await json_body(request, ScanAndFixOrder)
    if director_of(request).facts.resurrection_paused:
        raise ResurrectionPaused("Resurrector is paused")
    return start_task(
        request, JobType.SCAN_AND_FIX, order, description="scan and fix", deployment=name
    )


_DEPLOYMENT = "/deployments/{deployment}"

DEPLOYMENT_ROUTES = (
    Route("/deployments", deployments),
    Route(_DEPLOYMENT, manifest),
    Route(f"{_DEPLOYMENT}/vms", vms),
    Route(f"{_DEPLOYMENT}/instances", instances),
    Route(f"{_DEPLOYMENT}/variables", variables),
    Route(f"{_DEPLOYMENT}/diff", diff, methods=["POST"]),
    Route(f"{_DEPLOYMENT}/instance_groups/{{group}}/{{id}}/ignore", ignore, methods=["PUT"]),
    Route(f"{_DEPLOYMENT}/errands", errands),
    Route(f"{_DEPLOYMENT}/errands/{{errand}}/runs", run_errand, methods=["POST"]),
    Route(f"{_DEPLOYMENT}/scans", scan, methods=["POST"]),
    Route(f"{_DEPLOYMENT}/problems", problems),
    Route(f"{_DEPLOYMENT}/problems", resolve, methods=["PUT"]),
    Route(f"{_DEPLOYMENT}/scan_and_fix", scan_and_fix, methods=["PUT"]),
)
