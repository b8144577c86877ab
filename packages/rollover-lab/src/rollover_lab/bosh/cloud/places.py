"""Where the cloud keeps what, inside a lab's directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rollover_lab.bosh.agent.directory import AgentDirectory


class VmPlaces(NamedTuple):
    """The directory of one VM; it goes with the VM."""

    root: Path

    @property
    def record(self) -> Path:
        """What the cloud knows of the VM. Written last: without it there is no VM."""
        return self.root / "vm.json"

    @property
    def agent(self) -> AgentDirectory:
        """The files of its agent."""
        return AgentDirectory(self.root / "agent")


class Places(NamedTuple):
    """The paths below one lab's directory, which is absolute."""

    lab: Path

    @property
    def cloud(self) -> Path:
        """Everything of the cloud."""
        return self.lab / "cloud"

    @property
    def logs(self) -> Path:
        """Output of the director VM's processes."""
        return self.cloud / "logs"

    @property
    def vms(self) -> Path:
        """A directory for each VM."""
        return self.cloud / "vms"

    @property
    def disks(self) -> Path:
        """A directory for each persistent disk: that is the disk."""
        return self.cloud / "disks"

    def vm(self, cid: str) -> VmPlaces:
        """Return the directory of a VM."""
        return VmPlaces(self.vms / cid)

    def jobs(self, name: str, file: str) -> Path:
        """Return a rendered file of a job of the director VM."""
        return self.lab / "vm" / name / file
