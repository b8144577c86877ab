"""A director's API in the calls that a rotation needs, each as the bosh CLI makes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock as ThreadLock
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec

from rollover.errors import Denied, NotFound, Rejected, SpecError
from rollover.platforms.bosh import parsing
from rollover.platforms.bosh.access import Access
from rollover.platforms.bosh.events import POLL_SECONDS, Calls, Pace, follow
from rollover.platforms.bosh.http import (
    TIMEOUT_SECONDS,
    Answer,
    Authorization,
    Http,
    Request,
    elsewhere,
)
from rollover.platforms.bosh.parsing import BadAnswer, Config, DiffLine, Variable
from rollover.platforms.bosh.records import (
    BoshInstance,
    Deployment,
    Expiry,
    Extent,
    Info,
    Lock,
    Stemcell,
    Task,
    TaskEvent,
    TaskState,
)
from rollover.platforms.bosh.uaa import Basic, Tokens, UserTokens

JSON, YAML = "application/json", "text/yaml"
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
        access: Access,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.access = access
        self._timeout_seconds = timeout_seconds
        self._pause = pause
        self._pace = Pace(poll_seconds=poll_seconds, clock=clock, pause=pause)
        self._http = self._calls_to(access.url, "director")
        self._uaa: Http | None = None
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

    def info(self) -> Info:
        """Return who the director is. `user` is None when it does not take our password."""
        return self._read(parsing.info, "/info")

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments that the client may see."""
        return self._read(parsing.deployments, "/deployments", query=(("exclude_configs", "true"),))

    def manifest(self, deployment: str) -> str:
        """Return the manifest of the last successful deploy, as the director keeps it."""
        return self._read(parsing.manifest, _deployment(deployment))

    def instances(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its state; each agent is asked, which takes its time."""
        request = Request(path=f"{_deployment(deployment)}/instances", query=(("format", "full"),))
        number = self._start(request)
        self._finish(number, request)
        with self._understood(request):
            return parsing.full_instances(self.result(number), deployment=deployment)

    def placed(self, deployment: str) -> tuple[BoshInstance, ...]:
        """Return every instance with its VM and agent, at once: nothing is asked of agents.

        Their states, stemcells and whether they are ignored are not in this listing.
        """
        request = Request(path=f"{_deployment(deployment)}/instances")
        with self._understood(request):
            return parsing.brief_instances(self._answer(request).body, deployment=deployment)

    def locks(self) -> tuple[Lock, ...]:
        """Return what is locked at this moment."""
        return self._read(parsing.locks, "/locks")

    def configs(self, kind: str | None = None) -> tuple[Config, ...]:
        """Return the present configs, all or those of one kind (`deploy`, `cloud`, `runtime`)."""
        # Both, as the bosh CLI sends them: a director that does not know one takes the other.
        query = (("latest", "true"), ("limit", "1"), *((("type", kind),) if kind else ()))
        return self._read(parsing.configs, "/configs", query=query)

    def variables(self, deployment: str) -> tuple[Variable, ...]:
        """Return the names of a deployment's variables in the config server."""
        return self._read(parsing.variables, f"{_deployment(deployment)}/variables")

    def stemcells(self) -> tuple[Stemcell, ...]:
        """Return the stemcells that were uploaded."""
        return self._read(parsing.stemcells, "/stemcells")

    def certificate_expiry(self) -> tuple[Expiry, ...]:
        """Return when its certificates end; of a bundle it looks at the first one only."""
        return self._read(parsing.expiries, "/director/certificate_expiry")

    def diff(self, deployment: str, manifest: str) -> tuple[DiffLine, ...]:
        """Return the manifest line by line with what a deploy of it would change; redacted."""
        return self._read(
            parsing.diff,
            f"{_deployment(deployment)}/diff",
            method="POST",
            query=(("redact", "true"),),
            body=manifest.encode(),
            content_type=YAML,
        )

    def deploy(self, deployment: str, manifest: str, extent: Extent | None = None) -> int:
        """Begin a deploy of a whole deployment with the latest configs; return the task."""
        extent = extent or Extent()
        if extent.group is not None:
            raise SpecError(
                f"a deploy of `{deployment}` cannot be limited to `{extent.group}`",
                hint="recreate or restart what is to be limited",
            )
        query = (*((("recreate", "true"),) if extent.recreate else ()), *_flags(extent, drain="*"))
        return self._start(
            Request(
                method="POST",
                path="/deployments",
                query=query,
                body=manifest.encode(),
                content_type=YAML,
            )
        )

    def recreate(self, deployment: str, extent: Extent | None = None) -> int:
        """Begin to make VMs anew, by the manifest of the last deploy; return the task."""
        return self._change(deployment, "recreate", extent or Extent())

    def restart(self, deployment: str, extent: Extent | None = None) -> int:
        """Begin to restart jobs, which converges the whole deployment too; return the task."""
        return self._change(deployment, "restart", extent or Extent())

    def task(self, number: int) -> Task:
        """Return a task as it is now."""
        return self._read(parsing.task, f"/tasks/{number}")

    def tasks(self, deployment: str | None = None) -> tuple[Task, ...]:
        """Return the tasks that have not ended, all or those of one deployment."""
        query = (("state", "processing,cancelling,queued"), ("verbose", "2"))
        only = (("deployment", deployment),) if deployment else ()
        return self._read(parsing.tasks, "/tasks", query=(*query, *only))

    def last_task(self) -> int | None:
        """Return the highest number of a task so far, ended or not; None before the first."""
        query = (("verbose", "2"), ("limit", str(RECENT_TASKS)))
        found = self._read(parsing.tasks, "/tasks", query=query)
        return max((each.id for each in found), default=None)

    def creation_task(self, vm_cid: str) -> int | None:
        """Return the task that made a VM; None where the director keeps no events of it."""
        query = (("action", "create"), ("object_type", "vm"), ("object_name", vm_cid))
        found = self._read(parsing.event_tasks, "/events", query=query)
        return max(found, default=None)

    def result(self, number: int) -> bytes:
        """Return what a task has put out as its result."""
        return self._answer(_output(number, "result")).body

    def follow(
        self,
        number: int,
        *,
        stopping: Callable[[], bool] = lambda: False,
        deadline_seconds: float | None = None,
    ) -> Generator[TaskEvent, None, Task]:
        """Yield a task's events as they come, until it has ended; return it as it is then.

        Once `stopping()` is true the task is cancelled and followed on until it has ended.
        Raises `TimedOut` when the deadline is over; the task is not cancelled then.
        """
        calls = Calls(
            state=lambda: self.task(number),
            output=lambda offset: self._answer(_output(number, "event", beginning=offset)),
            cancel=lambda: self.cancel(number),
        )
        pace = msgspec.structs.replace(self._pace, deadline_seconds=deadline_seconds)
        return follow(calls, number=number, system=self.system, stopping=stopping, pace=pace)

    def cancel(self, number: int) -> None:
        """Ask that a task ends after what it is at; one that has ended, or was asked, is fine."""
        try:
            self._answer(Request(method="DELETE", path=f"/task/{number}"))
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
            return self._read(parsing.resurrection, "/resurrection")
        except NotFound:
            return None

    def set_resurrection(self, *, paused: bool) -> None:
        """Let the health monitor bring VMs back by itself, or not, for the whole director."""
        body = msgspec.json.encode({"resurrection_paused": paused})
        self._answer(
            Request(method="PUT", path="/resurrection", body=body, content_type=JSON),
        )

    def ignore(self, instance: BoshInstance, *, ignored: bool) -> None:
        """Have deploys leave an instance out, or not."""
        group = f"{_deployment(instance.deployment)}/instance_groups/{_quoted(instance.group)}"
        body = msgspec.json.encode({"ignore": ignored})
        path = f"{group}/{_quoted(instance.id)}/ignore"
        self._answer(Request(method="PUT", path=path, body=body, content_type=JSON))

    def _change(self, deployment: str, state: str, extent: Extent) -> int:
        path = f"{_deployment(deployment)}/jobs/{_quoted(extent.group) if extent.group else '*'}"
        if extent.instance is not None:
            path += f"/{_quoted(extent.instance)}"
        query = (("state", state), *_flags(extent, drain="true"))
        return self._start(Request(method="PUT", path=path, query=query, content_type=YAML))

    def _start(self, request: Request) -> int:
        # Not followed: the redirection itself says which task has begun, even when nobody answers
        # any more by the time that the task is asked for.
        answer = self._http.send(request, self._authorized)
        number = elsewhere(answer).path.rpartition("/tasks/")[2] if answer.redirected else ""
        if not number.isdecimal():
            raise Rejected(
                f"HTTP {answer.status} came where a task should begin",
                system=self.system,
                operation=request.operation,
                hint="look at `bosh tasks --recent`",
            )
        return int(number)

    def _finish(self, number: int, request: Request) -> None:
        following = self.follow(number, deadline_seconds=LISTING_SECONDS)
        while True:
            try:
                next(following)
            except StopIteration as ended:
                task: Task = ended.value
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
        request = Request(
            method=method, path=path, query=query, body=body, content_type=content_type
        )
        with self._understood(request):
            return parse(self._answer(request).body)

    def _answer(self, request: Request) -> Answer:
        return self._http.read(request, self._authorized)

    @contextmanager
    def _understood(self, request: Request) -> Generator[None]:
        try:
            yield
        except BadAnswer as error:
            raise parsing.rejected(error, system=self.system, operation=request.operation) from None

    @property
    def _authorized(self) -> Authorization:
        """How to log in; who takes passwords is asked once, without one, as the CLI does."""
        with self._lock:
            if self._authorization is None:
                self._authorization = self._chosen()
            return self._authorization

    def _chosen(self) -> Authorization:
        request = Request(path="/info")
        with self._understood(request):
            uaa = parsing.info(self._http.read(request).body).uaa
        login = self.access.login
        if uaa is not None:
            self._uaa = self._calls_to(uaa, "UAA")
            if login is not None:
                return UserTokens(self._uaa, login)
            return Tokens(self._uaa, client=self.access.client, secret=self.access.secret)
        if login is not None:
            raise Denied(
                f"the login in `{login.path}` is one of a UAA, and this director has none",
                system=self.system,
                operation=request.operation,
                hint="log in again with `bosh log-in`",
            )
        return Basic(self.access.client, self.access.secret)

    def _calls_to(self, url: str, what: str) -> Http:
        return Http(
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


def _output(number: int, kind: str, *, beginning: int | None = None) -> Request:
    return Request(path=f"/tasks/{number}/output", query=(("type", kind),), beginning=beginning)


def _flags(extent: Extent, *, drain: str) -> tuple[tuple[str, str], ...]:
    """Return what a deploy and a change of state have in common, in the CLI's words."""
    flags = {
        "fix": "true" if extent.fix else "",
        "skip_drain": drain if extent.skip_drain else "",
        "canaries": extent.canaries or "",
        "max_in_flight": extent.max_in_flight or "",
    }
    return tuple((name, value) for name, value in flags.items() if value)
