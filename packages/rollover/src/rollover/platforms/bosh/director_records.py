"""What a BOSH director says about itself: the nouns of its API, parsed once.

The parsers are tolerant of what other versions leave out. Those of whole answers raise
`UnreadableAnswer` for anything else than a director's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgspec

from rollover.errors import Rejected
from rollover.fleet.names import InstanceName


class DirectorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /info`: who the director is and how it wants to be spoken to."""

    name: str
    uuid: str
    version: tuple[int, ...]
    """The numbers of its version: `280.1.0 (00000000)` is (280, 1, 0)."""
    cpi: str = ""
    uaa: str | None = None
    """URL of the UAA that gives tokens; None: the director checks passwords itself."""
    user: str | None = None


class Stemcell(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM was made from."""

    name: str
    version: str
    operating_system: str = ""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments`."""

    name: str
    stemcells: tuple[Stemcell, ...] = ()
    teams: tuple[str, ...] = ()
    locked: bool = False


STARTED = "started"
"""What the director wants of an instance, unless somebody stopped it."""
UNRESPONSIVE = "unresponsive agent"
"""What it says of an agent that did not answer its `get_state` for three times 5 s."""


class BoshInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments/D/instances?format=full`.

    `state` is what the director wants (`started`, `stopped`, `detached`), `job_state` what the
    agent says (`running`, `failing`, `stopped`, `unresponsive agent`), None without a VM.
    """

    deployment: str
    group: str
    id: str
    index: int = 0
    az: str = ""
    bootstrap: bool = False
    agent_id: str | None = None
    vm_cid: str | None = None
    vm_created_at: datetime | None = None
    state: str = STARTED
    job_state: str | None = None
    ignore: bool = False
    active: bool | None = None
    stemcell: Stemcell | None = None
    disk_cids: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    resurrection_paused: bool = False

    @property
    def name(self) -> InstanceName:
        """The instance's name in the fleet: `deployment/group/id`. It outlives its VMs."""
        return InstanceName(f"{self.deployment}/{self.group}/{self.id}")


class DirectorLock(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /locks`."""

    kind: str
    resource: tuple[str, ...]
    task_id: str = ""


class TaskState(StrEnum):
    """What a task can be; the first three have not ended."""

    QUEUED = "queued"
    PROCESSING = "processing"
    CANCELLING = "cancelling"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self not in {TaskState.QUEUED, TaskState.PROCESSING, TaskState.CANCELLING}


class DirectorTask(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /tasks/N`."""

    id: int
    state: TaskState
    description: str = ""
    result: str = ""
    deployment: str | None = None
    user: str = ""


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a task's event stream.

    `stage` `Updating instance` has in `task` which one: `router/<uuid> (0) (canary)`.
    """

    time: datetime
    stage: str = ""
    tags: tuple[str, ...] = ()
    total: int = 0
    task: str = ""
    index: int = 0
    state: str = ""
    progress: int = 0
    status: str = ""
    error: str = ""
    """The message of a failure, of this instance or of the whole task."""
    code: int = 0
    warning: str = ""


class CertificateExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /director/certificate_expiry`."""

    path: str
    expires_at: datetime
    days_left: int


class DeployExtent(msgspec.Struct, frozen=True, kw_only=True):
    """What a deploy, recreate, restart is to cover, with the flags of the bosh CLI."""

    group: str | None = None
    instance: str | None = None
    fix: bool = False
    recreate: bool = False
    skip_drain: bool = False
    canaries: str | None = None
    max_in_flight: str | None = None


class DiffLine(NamedTuple):
    """One line of a diff of manifests; `change` is `added`, `removed`, or empty."""

    text: str
    change: str = ""


class NamedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /configs`: a cloud, runtime, cpi or deploy config."""

    id: str
    kind: str
    name: str
    content: str = ""


class NamedVariable(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /deployments/D/variables`: a name in the director's config server."""

    id: str
    name: str


class UnreadableAnswer(ValueError):
    """An answer that is not a director's; says what was expected, never what stood there."""


# From its JSON to those nouns.


_T = TypeVar("_T")

_TIMES = ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S %Z")
"""As directors write them, besides RFC 3339 (`director/time_parser.go` of the bosh CLI)."""
_UAA = "uaa"


class _WireAuthentication(msgspec.Struct):
    type: str | None = None
    options: dict[str, Any] | None = None


class _WireInfo(msgspec.Struct):
    name: str
    uuid: str
    version: str
    cpi: str | None = None
    user: str | None = None
    user_authentication: _WireAuthentication | None = None


class _WireStemcell(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    operating_system: str | None = None


class _WireDeployment(msgspec.Struct):
    name: str
    stemcells: tuple[_WireStemcell, ...] | None = None
    teams: tuple[str, ...] | None = None
    locked: bool | None = None


class _WireManifest(msgspec.Struct):
    manifest: str | None = None


class _WireInstance(msgspec.Struct):
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
    stemcell: _WireStemcell | None = None
    disk_cid: str | None = None
    disk_cids: tuple[str, ...] | None = None
    ips: tuple[str, ...] | None = None
    resurrection_paused: bool | None = None


class _WireEvent(msgspec.Struct):
    task: str | int | None = None


class _WireResurrection(msgspec.Struct):
    resurrection: bool


class _WireLock(msgspec.Struct):
    type: str
    resource: tuple[str | int, ...] | None = None
    task_id: str | int | None = None


class _WireTask(msgspec.Struct):
    id: int
    state: str
    description: str | None = None
    result: str | None = None
    deployment: str | None = None
    user: str | None = None


class _WireExpiry(msgspec.Struct):
    certificate_path: str
    expiry: str
    days_left: int


class _WireVariable(msgspec.Struct):
    id: str | int
    name: str


class _WireConfig(msgspec.Struct):
    id: str | int
    type: str
    name: str
    content: str | None = None


class _WireDiff(msgspec.Struct):
    diff: tuple[tuple[Any, ...], ...]


def read_info(body: bytes) -> DirectorInfo:
    """Return who the director is; as the director says it itself."""
    wire = _decode(body, _WireInfo)
    return DirectorInfo(
        name=wire.name,
        uuid=wire.uuid,
        version=tuple(int(number) for number in re.findall(r"\d+", wire.version.partition(" ")[0])),
        cpi=wire.cpi or "",
        uaa=_uaa_url(wire.user_authentication),
        user=wire.user or None,
    )


def read_deployments(body: bytes) -> tuple[Deployment, ...]:
    """Return the deployments."""
    return tuple(
        Deployment(
            name=deployment.name,
            stemcells=tuple(_stemcell(wire) for wire in deployment.stemcells or ()),
            teams=deployment.teams or (),
            locked=bool(deployment.locked),
        )
        for deployment in _decode(body, tuple[_WireDeployment, ...])
    )


def read_manifest(body: bytes) -> str:
    """Return a manifest's text; empty where a deployment has none yet."""
    return _decode(body, _WireManifest).manifest or ""


def read_full_instances(body: bytes, *, deployment: str) -> tuple[BoshInstance, ...]:
    """Return the instances of a task's result: a JSON object on each line."""
    return tuple(
        _instance(_decode(line, _WireInstance), deployment)
        for line in body.splitlines()
        if line.strip()
    )


def read_brief_instances(body: bytes, *, deployment: str) -> tuple[BoshInstance, ...]:
    """Return the instances of a listing that asked no agent: nothing is known of their states."""
    return tuple(_instance(wire, deployment) for wire in _decode(body, tuple[_WireInstance, ...]))


def read_locks(body: bytes) -> tuple[DirectorLock, ...]:
    """Return the locks."""
    return tuple(
        DirectorLock(
            kind=lock.type,
            resource=tuple(str(part) for part in lock.resource or ()),
            task_id=str(lock.task_id or ""),
        )
        for lock in _decode(body, tuple[_WireLock, ...])
    )


def read_event_tasks(body: bytes) -> tuple[int, ...]:
    """Return the tasks that events happened in, as far as they did in one."""
    tasks = (str(event.task or "") for event in _decode(body, tuple[_WireEvent, ...]))
    return tuple(int(task) for task in tasks if task.isdecimal())


def read_resurrection(body: bytes) -> bool:
    """Return whether VMs may be brought back."""
    return _decode(body, _WireResurrection).resurrection


def read_task(body: bytes) -> DirectorTask:
    """Return one task."""
    return _task(_decode(body, _WireTask))


def read_tasks(body: bytes) -> tuple[DirectorTask, ...]:
    """Return several tasks."""
    return tuple(_task(wire) for wire in _decode(body, tuple[_WireTask, ...]))


def read_stemcells(body: bytes) -> tuple[Stemcell, ...]:
    """Return the stemcells that were uploaded."""
    return tuple(_stemcell(wire) for wire in _decode(body, tuple[_WireStemcell, ...]))


def read_expiries(body: bytes) -> tuple[CertificateExpiry, ...]:
    """Return when the director's certificates end, as it renders that itself."""
    found = []
    for expiry in _decode(body, tuple[_WireExpiry, ...]):
        ends = read_time(expiry.expiry)
        if ends is not None:
            found.append(
                CertificateExpiry(
                    path=expiry.certificate_path,
                    expires_at=ends,
                    days_left=expiry.days_left,
                )
            )
    return tuple(found)


def read_configs(body: bytes) -> tuple[NamedConfig, ...]:
    """Return configs."""
    return tuple(
        NamedConfig(
            id=str(config.id),
            kind=config.type,
            name=config.name,
            content=config.content or "",
        )
        for config in _decode(body, tuple[_WireConfig, ...])
    )


def read_variables(body: bytes) -> tuple[NamedVariable, ...]:
    """Return the variables of a deployment."""
    found = _decode(body, tuple[_WireVariable, ...])
    return tuple(NamedVariable(id=str(variable.id), name=variable.name) for variable in found)


def read_diff(body: bytes) -> tuple[DiffLine, ...]:
    """Return the lines of a diff."""
    lines = ((*line, None, None)[:2] for line in _decode(body, _WireDiff).diff)
    return tuple(DiffLine(str(text or ""), str(change or "")) for text, change in lines)


def read_time(text: str | None) -> datetime | None:
    """Return a time as directors write it, in UTC; None where none is given.

    Raises `UnreadableAnswer` for text that is no time.
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
        raise UnreadableAnswer("a time was expected where none stands") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def rejected_answer(error: UnreadableAnswer, *, system: str, operation: str) -> Rejected:
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
        raise UnreadableAnswer(f"{error}") from None


def _uaa_url(authentication: _WireAuthentication | None) -> str | None:
    if authentication is None or authentication.type != _UAA:
        return None
    url = (authentication.options or {}).get("url")
    if not isinstance(url, str) or not url.startswith("https://"):
        raise UnreadableAnswer("its UAA has no `https://` URL")
    return url.rstrip("/")


def _stemcell(wire: _WireStemcell) -> Stemcell:
    return Stemcell(
        name=wire.name or "",
        version=wire.version or "",
        operating_system=wire.operating_system or "",
    )


def _instance(wire: _WireInstance, deployment: str) -> BoshInstance:
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
        vm_created_at=read_time(wire.vm_created_at),
        state=wire.state or STARTED,
        job_state=wire.job_state,
        ignore=bool(wire.ignore),
        active=wire.active,
        stemcell=_stemcell(wire.stemcell) if wire.stemcell and wire.stemcell.name else None,
        disk_cids=disks,
        ips=wire.ips or (),
        resurrection_paused=bool(wire.resurrection_paused),
    )


def _task(wire: _WireTask) -> DirectorTask:
    try:
        state = TaskState(wire.state)
    except ValueError:
        raise UnreadableAnswer(f"a task cannot be `{wire.state[:20]}`") from None
    return DirectorTask(
        id=wire.id,
        state=state,
        description=wire.description or "",
        result=wire.result or "",
        deployment=wire.deployment or None,
        user=wire.user or "",
    )
