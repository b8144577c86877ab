"""Answers the cloud's socket, and ends everything when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollover.errors import StaleError
from rollover.lab import control, private_files
from rollover.lab.bosh.agent.directory import UnreadableFile
from rollover.lab.bosh.agent.timing import Timing
from rollover.lab.bosh.cloud import requests
from rollover.lab.bosh.cloud.director_vm import DirectorVm
from rollover.lab.bosh.cloud.estate import Estate
from rollover.lab.bosh.cloud.places import Places
from rollover.lab.bosh.cloud.requests import (
    METHODS,
    Answer,
    Call,
    Failure,
    Kind,
    Refusal,
    Request,
)

_REQUEST_SECONDS = 10.0
_PRIVATE_UMASK = 0o077


class Daemon:
    """The cloud of one lab."""

    def __init__(self, places: Places, timing: Timing) -> None:
        self._estate = Estate(places, timing)
        self._director_vm = DirectorVm(places)
        self.ending = asyncio.Event()

    async def begin(self) -> None:
        """Bring back what ran before."""
        self._estate.bring_back()
        await self._director_vm.bring_back()

    async def end(self) -> None:
        """Stop everything."""
        await asyncio.gather(self._director_vm.end(), self._estate.end())

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = await reader.readline()
            answer = await self.answer(line)
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

    async def answer(self, line: bytes) -> Answer:
        """Do what a line asks."""
        try:
            result = await self._do(_request(line))
            return Answer(result=msgspec.Raw(msgspec.json.encode(result)))
        except Refusal as refusal:
            return Answer(error=refusal.failure)
        except (OSError, UnreadableFile) as error:
            return Answer(error=Failure(kind=Kind.REJECTED, message=str(error)))

    async def _do(self, request: Request) -> object:
        match request:
            case requests.OnDirectorVm(action=action):
                return await self._director_vm.act(action)
            case requests.CreateVm(agent_id=agent, settings=settings, stemcell=stemcell):
                return self._estate.create_vm(agent, bytes(settings), stemcell)
            case requests.HasVm(vm_cid=vm):
                return self._estate.has_vm(vm)
            case requests.Vms():
                return self._estate.vms()
            case requests.CreateDisk():
                return self._estate.create_disk()
            case _:
                await self._change(request)
                return None

    async def _change(self, request: Request) -> None:
        match request:
            case requests.DeleteVm(vm_cid=vm):
                await self._estate.delete_vm(vm)
            case requests.AttachDisk(vm_cid=vm, disk_cid=disk):
                self._estate.attach_disk(vm, disk)
            case requests.DetachDisk(vm_cid=vm, disk_cid=disk):
                self._estate.detach_disk(vm, disk)
            case requests.DeleteDisk(disk_cid=disk):
                self._estate.delete_disk(disk)
            case requests.SetFault(agent_id=agent, kind=fault):
                await self._estate.fault(agent, fault)
            case requests.RewriteCredentials(agent_id=agent, cert=cert):
                await self._estate.rewrite_credentials(agent, cert)
            case requests.End():
                self.ending.set()


def _request(line: bytes) -> Request:
    try:
        call = msgspec.json.decode(line, type=Call)
        if call.method not in METHODS:
            raise Refusal(
                Kind.REJECTED, "an unknown method", hint=f"there are {', '.join(METHODS)}"
            )
        return msgspec.json.decode(call.arguments, type=METHODS[call.method])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refusal(Kind.REJECTED, f"not a request: {error}") from None


async def serve(lab: Path, timing: Timing) -> None:
    """Run the cloud of the lab in a directory until SIGTERM, SIGINT or the method `stop`.

    `StaleError`: one runs already.
    """
    os.umask(_PRIVATE_UMASK)
    places = Places(lab)
    places.cloud.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with _locked(places):
        daemon = Daemon(places, timing)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, daemon.ending.set)
        listener = control.listen(places.socket)
        places.socket.chmod(private_files.PRIVATE_FILE)
        server = await asyncio.start_unix_server(
            daemon.converse, sock=listener, limit=control.LINE_LIMIT
        )
        try:
            await daemon.begin()
            await daemon.ending.wait()
        finally:
            server.close()
            await daemon.end()
            places.socket.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(places: Places) -> Iterator[None]:
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT, private_files.PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StaleError(
            f"a cloud runs in `{places.lab}`", hint="`rollover lab down` ends it"
        ) from None
    finally:
        os.close(descriptor)
