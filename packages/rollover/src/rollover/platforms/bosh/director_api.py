"""A director's HTTP API: what platforms need of it, and the client. Errors are `AdapterError`s."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock as ThreadLock
from types import TracebackType
from typing import Protocol, Self, TypeVar
from urllib.parse import quote

import msgspec

from rollover.errors import Denied, NotFound, Rejected, SpecError
from rollover.platforms.bosh import director_records
from rollover.platforms.bosh.director_http import (
    TIMEOUT_SECONDS,
    Authorization,
    HttpRequest,
    HttpResponse,
    HttpServer,
    redirected_request,
)
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    CertificateExpiry,
    DeployExtent,
    Deployment,
    DiffLine,
    DirectorInfo,
    DirectorLock,
    DirectorTask,
    NamedConfig,
    NamedVariable,
    Stemcell,
    TaskEvent,
    TaskState,
    UnreadableAnswer,
)
from rollover.platforms.bosh.director_tasks import POLL_SECONDS, TaskCalls, TaskPace, follow_task
from rollover.platforms.bosh.login import BasicLogin, ClientTokens, DirectorAccess, UserTokens


class DirectorApi(Protocol):
    """What the platforms need of `Director`; its docstrings are the contract."""

    def info(self) -> DirectorInfo:
        """Return who the director is."""
        ...

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments."""
        ...

    def instances(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its state; each agent is asked."""
        ...

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its VM and agent, at once."""
        ...

    def manifest(self, deployment: str) -> str:
        """Return the manifest of the last successful deploy."""
        ...

    def locks(self) -> tuple[DirectorLock, ...]:
        """Return what is locked."""
        ...

    def configs(self, kind: str | None = None) -> tuple[NamedConfig, ...]:
        """Return the present configs."""
        ...

    def resurrection(self) -> bool | None:
        """Say whether VMs may be brought back; None: nobody knows."""
        ...

    def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
        """Return what a deploy would change."""
        ...

    def last_task(self) -> int | None:
        """Return the last task that there is."""
        ...

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM."""
        ...

    def tasks(self, deployment: str | None = None) -> tuple[DirectorTask, ...]:
        """Return the tasks that have not ended."""
        ...

    def deploy(self, deployment: str, manifest: str, extent: DeployExtent | None = None) -> int:
        """Begin a deploy; return the task."""
        ...

    def recreate(self, deployment: str, extent: DeployExtent | None = None) -> int:
        """Begin to make VMs anew; return the task."""
        ...

    def follow(
        self,
        number: int,
        *,
        stopping: Callable[[], bool] = ...,
        deadline_seconds: float | None = None,
    ) -> Generator[TaskEvent, None, DirectorTask]:
        """Yield a task's events until it has ended."""
        ...


# The client: the calls that a rotation needs, each as the bosh CLI makes it.


JSON_TYPE, YAML_TYPE = "application/json", "text/yaml"
LISTING_SECONDS = 1800.0
"""How long a full listing may take: every agent that does not answer costs 15 seconds."""

RECENT_TASKS = 200
"""The director sorts by their last change: the youngest is among so many."""

_T = TypeVar("_T")


class Director:
    """Calls a director. Safe to share between threads; nothing is sent before it is used.

    Every method raises `Unreachable`, `TimedOut`, `Denied`, `NotFound`, `Conflict` or `Rejected`.
    """

    def __init__(
        self,
        access: DirectorAccess,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.access = access
        self._timeout_seconds = timeout_seconds
        self._pause = pause
        self._pace = TaskPace(poll_seconds=poll_seconds, clock=clock, pause=pause)
        self._http = self._calls_to(access.url, "director")
        self._uaa: HttpServer | None = None
        self._lock = ThreadLock()
        self._authorization: Authorization | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is open."""
        self._http.close()
        if self._uaa is not None:
            self._uaa.close()

    @property
    def system(self) -> str:
        """What errors call it."""
        return self._http.system

    def info(self) -> DirectorInfo:
        """Return who the director is. `user` is None when it does not take our password."""
        return self._read(director_records.read_info, "/info")

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments that the client may see."""
        return self._read(
            director_records.read_deployments, "/deployments", query=(("exclude_configs", "true"),)
        )

    def manifest(self, deployment: str) -> str:
        """Return the manifest of the last successful deploy, as the director keeps it."""
        return self._read(director_records.read_manifest, _deployment(deployment))

    def instances(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its state; each agent is asked, which takes its time."""
        request = HttpRequest(
            path=f"{_deployment(deployment)}/instances", query=(("format", "full"),)
        )
        number = self._start(request)
        self._finish(number, request)
        with self._understood(request):
            return director_records.read_full_instances(self.result(number), deployment=deployment)

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its VM and agent, at once: nothing is asked of agents.

        Their states, stemcells and whether they are ignored are not in this listing.
        """
        request = HttpRequest(path=f"{_deployment(deployment)}/instances")
        with self._understood(request):
            return director_records.read_brief_instances(
                self._answer(request).body, deployment=deployment
            )

    def locks(self) -> tuple[DirectorLock, ...]:
        """Return what is locked at this moment."""
        return self._read(director_records.read_locks, "/locks")

    def configs(self, kind: str | None = None) -> tuple[NamedConfig, ...]:
        """Return the present configs, all or those of one kind (`deploy`, `cloud`, `runtime`)."""
        # Both, as the bosh CLI sends them: a director that does not know one takes the other.
        query = (("latest", "true"), ("limit", "1"), *((("type", kind),) if kind else ()))
        return self._read(director_records.read_configs, "/configs", query=query)

    def variables(self, deployment: str) -> tuple[NamedVariable, ...]:
        """Return the names of a deployment's variables in the config server."""
        return self._read(director_records.read_variables, f"{_deployment(deployment)}/variables")

    def stemcells(self) -> tuple[Stemcell, ...]:
        """Return the stemcells that were uploaded."""
        return self._read(director_records.read_stemcells, "/stemcells")

    def certificate_expiry(self) -> tuple[CertificateExpiry, ...]:
        """Return when its certificates end; of a bundle it looks at the first one only."""
        return self._read(director_records.read_expiries, "/director/certificate_expiry")

    def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
        """Return the manifest line by line with what a deploy of it would change; redacted."""
        return self._read(
            director_records.read_diff,
            f"{_deployment(deployment)}/diff",
            method="POST",
            query=(("redact", "true"),),
            body=manifest.encode(),
            content_type=YAML_TYPE,
        )

    def deploy(self, deployment: str, manifest: str, extent: DeployExtent | None = None) -> int:
        """Begin a deploy of a whole deployment with the latest configs; return the task."""
        extent = extent or DeployExtent()
        if extent.group is not None:
            raise SpecError(
                f"a deploy of `{deployment}` cannot be limited to `{extent.group}`",
                hint="recreate or restart what is to be limited",
            )
        query = (
            *((("recreate", "true"),) if extent.recreate else ()),
            *_extent_flags(extent, drain="*"),
        )
        return self._start(
            HttpRequest(
                method="POST",
                path="/deployments",
                query=query,
                body=manifest.encode(),
                content_type=YAML_TYPE,
            )
        )

    def recreate(self, deployment: str, extent: DeployExtent | None = None) -> int:
        """Begin to make VMs anew, by the manifest of the last deploy; return the task."""
        return self._change(deployment, "recreate", extent or DeployExtent())

    def restart(self, deployment: str, extent: DeployExtent | None = None) -> int:
        """Begin to restart jobs, which converges the whole deployment too; return the task."""
        return self._change(deployment, "restart", extent or DeployExtent())

    def task(self, number: int) -> DirectorTask:
        """Return a task as it is now."""
        return self._read(director_records.read_task, f"/tasks/{number}")

    def tasks(self, deployment: str | None = None) -> tuple[DirectorTask, ...]:
        """Return the tasks that have not ended, all or those of one deployment."""
        query = (("state", "processing,cancelling,queued"), ("verbose", "2"))
        only = (("deployment", deployment),) if deployment else ()
        return self._read(director_records.read_tasks, "/tasks", query=(*query, *only))

    def last_task(self) -> int | None:
        """Return the highest number of a task so far, ended or not; None before the first."""
        query = (("verbose", "2"), ("limit", str(RECENT_TASKS)))
        found = self._read(director_records.read_tasks, "/tasks", query=query)
        return max((task.id for task in found), default=None)

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM; None where the director keeps no events of it."""
        query = (("action", "create"), ("object_type", "vm"), ("object_name", vm_cid))
        found = self._read(director_records.read_event_tasks, "/events", query=query)
        return max(found, default=None)

    def result(self, number: int) -> bytes:
        """Return what a task has put out as its result."""
        return self._answer(_output_request(number, "result")).body

    def follow(
        self,
        number: int,
        *,
        stopping: Callable[[], bool] = lambda: False,
        deadline_seconds: float | None = None,
    ) -> Generator[TaskEvent, None, DirectorTask]:
        """Yield a task's events as they come, until it has ended; return it as it is then.

        Once `stopping()` is true the task is cancelled and followed on until it has ended.
        Raises `TimedOut` when the deadline is over; the task is not cancelled then.
        """
        calls = TaskCalls(
            state=lambda: self.task(number),
            output=lambda offset: self._answer(_output_request(number, "event", beginning=offset)),
            cancel=lambda: self.cancel(number),
        )
        pace = msgspec.structs.replace(self._pace, deadline_seconds=deadline_seconds)
        return follow_task(calls, number=number, system=self.system, stopping=stopping, pace=pace)

    def cancel(self, number: int) -> None:
        """Ask that a task ends after what it is at; one that has ended, or was asked, is fine."""
        try:
            self._answer(HttpRequest(method="DELETE", path=f"/task/{number}"))
        except Rejected:
            # A director refuses to cancel what has ended: that is what was wanted.
            state = self.task(number).state
            if not state.ended and state is not TaskState.CANCELLING:
                raise

    def resurrection(self) -> bool | None:
        """Say whether the health monitor may bring VMs back; None: an old director says nothing.

        Newer ones do not tell it with each instance any more (`resurrection_controller.rb`).
        """
        try:
            return self._read(director_records.read_resurrection, "/resurrection")
        except NotFound:
            return None

    def set_resurrection(self, *, paused: bool) -> None:
        """Let the health monitor bring VMs back by itself, or not, for the whole director."""
        body = msgspec.json.encode({"resurrection_paused": paused})
        self._answer(
            HttpRequest(method="PUT", path="/resurrection", body=body, content_type=JSON_TYPE),
        )

    def ignore(self, instance: BoshInstance, *, ignored: bool) -> None:
        """Have deploys leave an instance out, or not."""
        group = f"{_deployment(instance.deployment)}/instance_groups/{_quoted(instance.group)}"
        body = msgspec.json.encode({"ignore": ignored})
        path = f"{group}/{_quoted(instance.id)}/ignore"
        self._answer(HttpRequest(method="PUT", path=path, body=body, content_type=JSON_TYPE))

    def _change(self, deployment: str, state: str, extent: DeployExtent) -> int:
        path = f"{_deployment(deployment)}/jobs/{_quoted(extent.group) if extent.group else '*'}"
        if extent.instance is not None:
            path += f"/{_quoted(extent.instance)}"
        query = (("state", state), *_extent_flags(extent, drain="true"))
        return self._start(
            HttpRequest(method="PUT", path=path, query=query, content_type=YAML_TYPE)
        )

    def _start(self, request: HttpRequest) -> int:
        # Not followed: the redirection itself says which task has begun, even when nobody answers
        # any more by the time that the task is asked for.
        answer = self._http.send(request, self._authorized)
        number = (
            redirected_request(answer).path.rpartition("/tasks/")[2] if answer.redirected else ""
        )
        if not number.isdecimal():
            raise Rejected(
                f"HTTP {answer.status} came where a task should begin",
                system=self.system,
                operation=request.operation,
                hint="look at `bosh tasks --recent`",
            )
        return int(number)

    def _finish(self, number: int, request: HttpRequest) -> None:
        following = self.follow(number, deadline_seconds=LISTING_SECONDS)
        while True:
            try:
                next(following)
            except StopIteration as ended:
                task: DirectorTask = ended.value
                break
        if task.state is not TaskState.DONE:
            raise Rejected(
                f"task {number} ended as `{task.state}`: {task.result}",
                system=self.system,
                operation=request.operation,
                hint=f"`bosh task {number} --debug` says more",
            )

    def _read(
        self,
        parse: Callable[[bytes], _T],
        path: str,
        *,
        method: str = "GET",
        query: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> _T:
        request = HttpRequest(
            method=method, path=path, query=query, body=body, content_type=content_type
        )
        with self._understood(request):
            return parse(self._answer(request).body)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        return self._http.read(request, self._authorized)

    @contextmanager
    def _understood(self, request: HttpRequest) -> Generator[None]:
        try:
            yield
        except UnreadableAnswer as error:
            raise director_records.rejected_answer(
                error, system=self.system, operation=request.operation
            ) from None

    @property
    def _authorized(self) -> Authorization:
        """How to log in; who takes passwords is asked once, without one, as the CLI does."""
        with self._lock:
            if self._authorization is None:
                self._authorization = self._chosen()
            return self._authorization

    def _chosen(self) -> Authorization:
        request = HttpRequest(path="/info")
        with self._understood(request):
            uaa = director_records.read_info(self._http.read(request).body).uaa
        login = self.access.login
        if uaa is not None:
            self._uaa = self._calls_to(uaa, "UAA")
            if login is not None:
                return UserTokens(self._uaa, login)
            return ClientTokens(self._uaa, client=self.access.client, secret=self.access.secret)
        if login is not None:
            raise Denied(
                f"the login in `{login.path}` is one of a UAA, and this director has none",
                system=self.system,
                operation=request.operation,
                hint="log in again with `bosh log-in`",
            )
        return BasicLogin(self.access.client, self.access.secret)

    def _calls_to(self, url: str, what: str) -> HttpServer:
        return HttpServer(
            url,
            system=f"{what} {url}",
            ca=self.access.ca,
            timeout_seconds=self._timeout_seconds,
            pause=self._pause,
            straight=not self.access.proxy,
        )


def _deployment(name: str) -> str:
    return f"/deployments/{_quoted(name)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _output_request(number: int, kind: str, *, beginning: int | None = None) -> HttpRequest:
    return HttpRequest(path=f"/tasks/{number}/output", query=(("type", kind),), offset=beginning)


def _extent_flags(extent: DeployExtent, *, drain: str) -> tuple[tuple[str, str], ...]:
    """Return what a deploy and a change of state have in common, in the CLI's words."""
    flags = {
        "fix": "true" if extent.fix else "",
        "skip_drain": drain if extent.skip_drain else "",
        "canaries": extent.canaries or "",
        "max_in_flight": extent.max_in_flight or "",
    }
    return tuple((name, value) for name, value in flags.items() if value)
