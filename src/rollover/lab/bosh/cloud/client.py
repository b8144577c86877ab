"""Asks the cloud: a connection for each call, blocking, with a timeout."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from rollover.errors import AdapterError, Conflict, NotFound, Rejected, TimedOut, Unreachable
from rollover.lab import control
from rollover.lab.bosh.agent.faults import Fault
from rollover.lab.bosh.agent.settings import CertKeyPair
from rollover.lab.bosh.cloud import requests
from rollover.lab.bosh.cloud.requests import (
    SYSTEM,
    Action,
    Answer,
    DirectorVmStatus,
    Failure,
    Kind,
    Request,
    StemcellRef,
    Vm,
)

TIMEOUT_SECONDS: Final = 60.0
"""Stopping a director VM takes longest: each of its processes has some seconds to end."""
_ERRORS: Final[Mapping[Kind, type[AdapterError]]] = {
    Kind.NOT_FOUND: NotFound,
    Kind.CONFLICT: Conflict,
    Kind.REJECTED: Rejected,
}
_NAMES: Final = {kind: name for name, kind in requests.METHODS.items()}

T = TypeVar("T")


class Cloud:
    """The cloud behind a socket. Safe to share between threads.

    Every method raises `NotFound` for VMs, disks and agents that do not exist, `Rejected` for what
    cannot be done, `Unreachable` when there is no cloud, `TimedOut`.
    """

    def __init__(
        self, socket_path: Path | str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._path = Path(socket_path)
        self._timeout = timeout_seconds

    def create_vm(
        self,
        *,
        agent_id: str,
        settings: Mapping[str, object],
        stemcell: Mapping[str, str] | StemcellRef,
    ) -> str:
        """Make a VM, start its agent with `settings` (reference/bosh.md §4.2); return its cid."""
        request = requests.CreateVm(
            agent_id=agent_id,
            settings=msgspec.Raw(msgspec.json.encode(settings)),
            stemcell=msgspec.convert(stemcell, type=StemcellRef, from_attributes=True),
        )
        return self._ask(request, str)

    def delete_vm(self, vm_cid: str) -> None:
        """Remove a VM with its ephemeral disk."""
        self._tell(requests.DeleteVm(vm_cid=vm_cid))

    def has_vm(self, vm_cid: str) -> bool:
        """Say whether there is such a VM."""
        return self._ask(requests.HasVm(vm_cid=vm_cid), bool)

    def create_disk(self, size: int) -> str:
        """Make a persistent disk of `size` MiB; return its cid."""
        return self._ask(requests.CreateDisk(size=size), str)

    def attach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Give a disk to a VM. The agent mounts it at `mount_disk`."""
        self._tell(requests.AttachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def detach_disk(self, vm_cid: str, disk_cid: str) -> None:
        """Take a disk away from a VM."""
        self._tell(requests.DetachDisk(vm_cid=vm_cid, disk_cid=disk_cid))

    def delete_disk(self, disk_cid: str) -> None:
        """Remove a disk that no VM has."""
        self._tell(requests.DeleteDisk(disk_cid=disk_cid))

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs, by cid."""
        return self._ask(requests.Vms(), tuple[Vm, ...])

    def fault(self, agent_id: str, kind: Fault | str) -> None:
        """Let something be wrong with an agent; `none` heals it."""
        self._tell(requests.SetFault(agent_id=agent_id, kind=Fault(kind)))

    def director_vm(self, action: Action | str) -> DirectorVmStatus:
        """Start or stop the director VM's processes, or only say what they do."""
        return self._ask(requests.OnDirectorVm(action=Action(action)), DirectorVmStatus)

    def rewrite_credentials(self, agent_id: str, cert: CertKeyPair | Mapping[str, str]) -> None:
        """Put other credentials on a VM's disk and restart its agent."""
        pair = msgspec.convert(cert, type=CertKeyPair, from_attributes=True)
        self._tell(requests.RewriteCredentials(agent_id=agent_id, cert=pair))

    def stop(self) -> None:
        """End the cloud with everything that it runs; returns when it has agreed to."""
        self._tell(requests.End())

    def _ask(self, request: Request, kind: type[T]) -> T:
        result = self._tell(request)
        try:
            return msgspec.json.decode(result, type=kind)
        except msgspec.MsgspecError as error:
            raise self._no_cloud(request, error) from None

    def _tell(self, request: Request) -> msgspec.Raw:
        operation = _NAMES[type(request)]
        line = msgspec.json.encode({"method": operation, "arguments": request})
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.sendall(line + b"\n")
                answer = msgspec.json.decode(control.read_line(connection), type=Answer)
        except TimeoutError:
            raise TimedOut(
                f"no answer in {self._timeout:g} s", system=SYSTEM, operation=operation
            ) from None
        except (OSError, msgspec.MsgspecError) as error:
            raise self._no_cloud(request, error) from None
        if answer.error is not None:
            raise _error(answer.error, operation)
        return answer.result

    def _no_cloud(self, request: Request, error: Exception) -> Unreachable:
        return Unreachable(
            f"no cloud answers at `{self._path}` ({type(error).__name__})",
            system=SYSTEM,
            operation=_NAMES[type(request)],
            hint="the lab has ended; `rollover lab up bosh` starts one",
        )

    def _connect(self) -> socket.socket:
        """Connect by a short name: that of a socket has at most 107 octets (unix(7))."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        except OSError:
            connection.close()
            raise
        finally:
            os.close(directory)
        return connection


def _error(failure: Failure, operation: str) -> AdapterError:
    return _ERRORS[failure.kind](
        failure.message, system=SYSTEM, operation=operation, hint=failure.hint
    )
