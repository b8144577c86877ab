"""The VM as the actions of its agent see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rollover_lab.bosh.agent import directory
from rollover_lab.bosh.agent.directory import AgentDirectory, UnreadableFile
from rollover_lab.bosh.agent.faults import Fault
from rollover_lab.bosh.agent.jobs import Jobs
from rollover_lab.bosh.agent.protocol import ActionFailed
from rollover_lab.bosh.agent.settings import DiskSettings, Settings, Told
from rollover_lab.bosh.agent.spec import ApplySpec
from rollover_lab.bosh.agent.timing import Timing


class Surroundings(Protocol):
    """What an agent cannot know by itself; whoever runs it tells."""

    @property
    def timing(self) -> Timing:
        """How long it waits for what."""
        ...

    @property
    def fault(self) -> Fault:
        """What is wrong with it now."""
        ...

    @property
    def ignores_mbus(self) -> bool:
        """Whether it is older than 2.388: `update_settings` changes no credentials."""
        ...

    def crashed(self) -> None:
        """Hear that the fault `crash-before-save` has struck."""
        ...


Send = Callable[[str, object], None]
"""Publishes an alert or a shutdown to the health monitor: topic and content."""


class Host:
    """Settings, spec, jobs and disks of one VM during one life of its agent."""

    def __init__(
        self, files: AgentDirectory, told: Told, *, surroundings: Surroundings, send: Send
    ) -> None:
        self.files = files
        self.told = told
        self.surroundings = surroundings
        self.send = send
        self.jobs = Jobs(files.jobs)
        try:
            self.spec = directory.read(files.spec, ApplySpec)
        except UnreadableFile:
            self.spec = ApplySpec()

    @property
    def settings(self) -> Settings:
        """What the cloud said."""
        return self.told.settings

    def reload(self) -> None:
        """Read the settings again: the cloud may have attached a disk."""
        try:
            self.told = self.files.told()
        except UnreadableFile as error:
            raise ActionFailed(f"Refreshing the settings: {error}") from None

    def apply(self, spec: ApplySpec) -> None:
        """Be what a spec says; its networks must be those of the VM."""
        for name in spec.networks:
            if name not in self.settings.networks:
                raise ActionFailed(
                    f"Resolving dynamic networks: Network '{name}' is not found in settings"
                )
        directory.write(self.files.spec, spec)
        self.spec = spec

    def disk(self, cid: str) -> DiskSettings:
        """Return a persistent disk that the cloud has attached."""
        disk = self.settings.disks.persistent.get(cid)
        if disk is None:
            raise ActionFailed(f"Persistent disk with volume id '{cid}' could not be found")
        return disk
