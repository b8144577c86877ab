"""Calls about tasks and their outputs; the bosh CLI reads events with `Range` while they grow."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rollover.platforms.bosh.records import TaskState
from rollover_lab.bosh.director.api.calls import answer, director_of, empty, json_body
from rollover_lab.bosh.director.outputs import OutputKind, Slice, Unsatisfiable, wanted
from rollover_lab.bosh.director.refusals import OutputUnknown
from rollover_lab.bosh.director.task_book import ORDINARY_TYPES, Task

_CANCELLABLE = (TaskState.QUEUED, TaskState.PROCESSING)


class _Selection(msgspec.Struct, frozen=True):
    states: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    deployment: str | None = None


async def tasks(request: Request) -> Response:
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
    return answer([_shown(task) for task in found])


async def task(request: Request) -> Response:
    """Show one task."""
    return answer(_shown(director_of(request).tasks.get(request.path_params["id"])))


async def output(request: Request) -> Response:
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
    match wanted(request.headers.get("Range"), size):
        case None:
            status, part, headers = 200, Slice(0, size, size), {}
        case Unsatisfiable():
            headers = {"Content-Range": f"bytes */{size}"}
            return PlainTextResponse("Byte range unsatisfiable", 416, headers)
        case Slice(first, end) as part:
            status, headers = 206, {"Content-Range": f"bytes {first}-{end - 1}/{size}"}
    data = director.outputs.read(number, OutputKind(kind), part)
    return Response(data, status, headers | {"Accept-Ranges": "bytes"}, "text/plain")


async def cancel(request: Request) -> Response:
    """Ask a task to stop."""
    director = director_of(request)
    found = director.tasks.get(request.path_params["id"])
    if director.tasks.cancel(found):
        return empty(204)
    text = f"Cannot cancel task {found.id}: invalid state ({found.state})"
    return PlainTextResponse(text, 400)


async def cancel_many(request: Request) -> Response:
    """Ask tasks to stop; without a selection those that wait for a worker."""
    chosen = await json_body(request, _Selection)
    for state in chosen.states:
        if state not in _CANCELLABLE:
            allowed = ", ".join(_CANCELLABLE)
            text = f"{state} is not one of the cancellable states: {allowed}"
            return PlainTextResponse(text, 400)
    book = director_of(request).tasks
    found = book.find(
        states=chosen.states or (TaskState.QUEUED,),
        types=chosen.types,
        deployment=chosen.deployment,
    )
    for each in found:
        book.cancel(each)
    return empty(204)


def _shown(task: Task) -> dict[str, object]:
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


ROUTES = (
    Route("/tasks", tasks),
    Route("/tasks/cancel", cancel_many, methods=["POST"]),
    Route("/tasks/{id:int}", task),
    Route("/tasks/{id:int}/output", output),
    Route("/task/{id:int}", cancel, methods=["DELETE"]),
)
