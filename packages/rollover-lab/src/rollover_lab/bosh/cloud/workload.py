"""What a BOSH lab runs: the cloud, which is its VMs with their agents, and the director VM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from rollover_lab import private_files
from rollover_lab.bosh.agent.directory import UnreadableFile
from rollover_lab.bosh.agent.timing import Timing
from rollover_lab.bosh.cloud import requests
from rollover_lab.bosh.cloud.director_vm import DirectorVm
from rollover_lab.bosh.cloud.estate import Estate
from rollover_lab.bosh.cloud.places import Places
from rollover_lab.control import ControlRefusal, FailureKind, LabRequest
from rollover_lab.processes import Processes
from rollover_lab.record import BoshContent, LabStateFile


class BoshWorkload:
    """The cloud of one lab. What it ran before comes back when it begins."""

    request_kinds: tuple[type[LabRequest], ...] = requests.CLOUD_REQUESTS

    def __init__(
        self, lab: Path, content: BoshContent, *, file: LabStateFile, processes: Processes
    ) -> None:
        places = Places(lab)
        places.cloud.mkdir(mode=private_files.PRIVATE_DIRECTORY, exist_ok=True)
        self._content = content
        self._file = file
        self._estate = Estate(places, Timing().hurried(content.pace), processes)
        self._director_vm = DirectorVm(
            places, processes, wanted=content.director_vm, keep_wanted=self._keep_wanted
        )

    async def begin(self) -> None:
        """Bring back what ran before."""
        self._estate.bring_back()
        await self._director_vm.bring_back()

    async def end(self) -> None:
        """Stop everything; it comes back with the next supervisor."""
        await asyncio.gather(self._director_vm.end(), self._estate.end())

    async def answer(self, request: LabRequest) -> object:
        """Do what is asked."""
        try:
            return await self._do(request)
        except UnreadableFile as error:
            raise ControlRefusal(FailureKind.REJECTED, str(error)) from None

    async def _do(self, request: LabRequest) -> object:
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

    async def _change(self, request: LabRequest) -> None:
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

    def _keep_wanted(self, wanted: bool) -> None:  # noqa: FBT001 - a callback
        self._content = msgspec.structs.replace(self._content, director_vm=wanted)
        self._file.change(content=self._content)
