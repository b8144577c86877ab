"""From the JSON of a director to typed records; tolerant of what other versions leave out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from rollover.errors import Rejected
from rollover.platforms.bosh.records import (
    BoshInstance,
    Deployment,
    Expiry,
    Info,
    Lock,
    Stemcell,
    Task,
    TaskState,
)

_T = TypeVar("_T")

_TIMES = ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S %Z")
"""As directors write them, besides RFC 3339 (`director/time_parser.go` of the bosh CLI)."""
_UAA = "uaa"


class DiffLine(NamedTuple):
    """One line of a diff of manifests; `change` is `added`, `removed`, or empty."""

    text: str
    change: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /configs`: a cloud, runtime, cpi or deploy config."""

    id: str
    kind: str
    name: str
    content: str = ""


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments/D/variables`: a name in the director's config server."""

    id: str
    name: str


class BadAnswer(ValueError):
    """An answer that is not a director's; says what was expected, never what stood there."""


class _Authentication(msgspec.Struct):
    type: str | None = None
    options: dict[str, Any] | None = None


class _Info(msgspec.Struct):
    name: str
    uuid: str
    version: str
    cpi: str | None = None
    user: str | None = None
    user_authentication: _Authentication | None = None


class _Stemcell(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    operating_system: str | None = None


class _Deployment(msgspec.Struct):
    name: str
    stemcells: tuple[_Stemcell, ...] | None = None
    teams: tuple[str, ...] | None = None
    locked: bool | None = None


class _Manifest(msgspec.Struct):
    manifest: str | None = None


class _Instance(msgspec.Struct):
    """A line of a listing, full (`job_name`, `vm_cid`) or brief (`job`, `cid`)."""

    id: str
    job_name: str | None = None
    job: str | None = None
    index: int | None = None
    az: str | None = None
    bootstrap: bool | None = None
    agent_id: str | None = None
    vm_cid: str | None = None
    cid: str | None = None
    vm_created_at: str | None = None
    state: str | None = None
    job_state: str | None = None
    ignore: bool | None = None
    active: bool | None = None
    stemcell: _Stemcell | None = None
    disk_cid: str | None = None
    disk_cids: tuple[str, ...] | None = None
    ips: tuple[str, ...] | None = None
    resurrection_paused: bool | None = None


class _Event(msgspec.Struct):
    task: str | int | None = None


class _Resurrection(msgspec.Struct):
    resurrection: bool


class _Lock(msgspec.Struct):
    type: str
    resource: tuple[str | int, ...] | None = None
    task_id: str | int | None = None


class _Task(msgspec.Struct):
    id: int
    state: str
    description: str | None = None
    result: str | None = None
    deployment: str | None = None
    user: str | None = None


class _Expiry(msgspec.Struct):
    certificate_path: str
    expiry: str
    days_left: int


class _Variable(msgspec.Struct):
    id: str | int
    name: str


class _Config(msgspec.Struct):
    id: str | int
    type: str
    name: str
    content: str | None = None


class _Diff(msgspec.Struct):
    diff: tuple[tuple[Any, ...], ...]


def info(body: bytes) -> Info:
    """Return who the director is; every function here raises `BadAnswer` for another answer."""
    wire = _decode(body, _Info)
    return Info(
        name=wire.name,
        uuid=wire.uuid,
        version=tuple(int(each) for each in re.findall(r"\d+", wire.version.partition(" ")[0])),
        cpi=wire.cpi or "",
        uaa=_uaa(wire.user_authentication),
        user=wire.user or None,
    )


def deployments(body: bytes) -> tuple[Deployment, ...]:
    """Return the deployments."""
    return tuple(
        Deployment(
            name=each.name,
            stemcells=tuple(_stemcell(one) for one in each.stemcells or ()),
            teams=each.teams or (),
            locked=bool(each.locked),
        )
        for each in _decode(body, tuple[_Deployment, ...])
    )


def manifest(body: bytes) -> str:
    """Return a manifest's text; empty where a deployment has none yet."""
    return _decode(body, _Manifest).manifest or ""


def full_instances(body: bytes, *, deployment: str) -> tuple[BoshInstance, ...]:
    """Return the instances of a task's result: a JSON object on each line."""
    return tuple(
        _instance(_decode(line, _Instance), deployment)
        for line in body.splitlines()
        if line.strip()
    )


def brief_instances(body: bytes, *, deployment: str) -> tuple[BoshInstance, ...]:
    """Return the instances of a listing that asked no agent: nothing is known of their states."""
    return tuple(_instance(each, deployment) for each in _decode(body, tuple[_Instance, ...]))


def locks(body: bytes) -> tuple[Lock, ...]:
    """Return the locks."""
    return tuple(
        Lock(
            kind=each.type,
            resource=tuple(str(one) for one in each.resource or ()),
            task_id=str(each.task_id or ""),
        )
        for each in _decode(body, tuple[_Lock, ...])
    )


def event_tasks(body: bytes) -> tuple[int, ...]:
    """Return the tasks that events happened in, as far as they did in one."""
    found = (str(each.task or "") for each in _decode(body, tuple[_Event, ...]))
    return tuple(int(each) for each in found if each.isdecimal())


def resurrection(body: bytes) -> bool:
    """Return whether VMs may be brought back."""
    return _decode(body, _Resurrection).resurrection


def task(body: bytes) -> Task:
    """Return one task."""
    return _task(_decode(body, _Task))


def tasks(body: bytes) -> tuple[Task, ...]:
    """Return several tasks."""
    return tuple(_task(each) for each in _decode(body, tuple[_Task, ...]))


def stemcells(body: bytes) -> tuple[Stemcell, ...]:
    """Return the stemcells that were uploaded."""
    return tuple(_stemcell(each) for each in _decode(body, tuple[_Stemcell, ...]))


def expiries(body: bytes) -> tuple[Expiry, ...]:
    """Return when the director's certificates end, as it renders that itself."""
    found = []
    for each in _decode(body, tuple[_Expiry, ...]):
        ends = moment(each.expiry)
        if ends is not None:
            found.append(
                Expiry(path=each.certificate_path, expires_at=ends, days_left=each.days_left)
            )
    return tuple(found)


def configs(body: bytes) -> tuple[Config, ...]:
    """Return configs."""
    return tuple(
        Config(id=str(each.id), kind=each.type, name=each.name, content=each.content or "")
        for each in _decode(body, tuple[_Config, ...])
    )


def variables(body: bytes) -> tuple[Variable, ...]:
    """Return the variables of a deployment."""
    found = _decode(body, tuple[_Variable, ...])
    return tuple(Variable(id=str(each.id), name=each.name) for each in found)


def diff(body: bytes) -> tuple[DiffLine, ...]:
    """Return the lines of a diff."""
    return tuple(_lines(_decode(body, _Diff)))


def moment(text: str | None) -> datetime | None:
    """Return a time as directors write it, in UTC; None where none is given.

    Raises `BadAnswer` for text that is no time.
    """
    if not text:
        return None
    for form in _TIMES:
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - `%Z` reads UTC, said below
        except ValueError:
            continue
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadAnswer("a time was expected where none stands") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def rejected(error: BadAnswer, *, system: str, operation: str) -> Rejected:
    """Return what a person is told of an answer that cannot be read."""
    return Rejected(
        f"an answer that is not a director's: {error}",
        system=system,
        operation=operation,
        hint="check that this is the address of a BOSH director",
    )


def _decode(body: bytes, into: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=into, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"{error}") from None


def _uaa(authentication: _Authentication | None) -> str | None:
    if authentication is None or authentication.type != _UAA:
        return None
    url = (authentication.options or {}).get("url")
    if not isinstance(url, str) or not url.startswith("https://"):
        raise BadAnswer("its UAA has no `https://` URL")
    return url.rstrip("/")


def _stemcell(wire: _Stemcell) -> Stemcell:
    return Stemcell(
        name=wire.name or "",
        version=wire.version or "",
        operating_system=wire.operating_system or "",
    )


def _instance(wire: _Instance, deployment: str) -> BoshInstance:
    disks = wire.disk_cids or ((wire.disk_cid,) if wire.disk_cid else ())
    return BoshInstance(
        deployment=deployment,
        group=wire.job_name or wire.job or "",
        id=wire.id,
        index=wire.index or 0,
        az=wire.az or "",
        bootstrap=bool(wire.bootstrap),
        agent_id=wire.agent_id or None,
        vm_cid=wire.vm_cid or wire.cid or None,
        vm_created_at=moment(wire.vm_created_at),
        state=wire.state or "started",
        job_state=wire.job_state,
        ignore=bool(wire.ignore),
        active=wire.active,
        stemcell=_stemcell(wire.stemcell) if wire.stemcell and wire.stemcell.name else None,
        disk_cids=disks,
        ips=wire.ips or (),
        resurrection_paused=bool(wire.resurrection_paused),
    )


def _task(wire: _Task) -> Task:
    try:
        state = TaskState(wire.state)
    except ValueError:
        raise BadAnswer(f"a task cannot be `{wire.state[:20]}`") from None
    return Task(
        id=wire.id,
        state=state,
        description=wire.description or "",
        result=wire.result or "",
        deployment=wire.deployment or None,
        user=wire.user or "",
    )


def _lines(wire: _Diff) -> Iterator[DiffLine]:
    for line in wire.diff:
        text, change, *_ = (*line, None, None)
        yield DiffLine(str(text or ""), str(change or ""))
