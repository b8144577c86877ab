"""One group of instances as its fleet file describes it, and how their files are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from rollover.engine.ports import Delivery
from rollover.errors import SpecError
from rollover.fleet.description import FileDelivery, GroupDescription, InstanceDescription
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.platforms.nats import instance_files
from rollover.platforms.nats.configuration import Configurations
from rollover.platforms.nats.reload import ReloadSettings


class DescribedGroup:
    """The instances of one group with absolute paths, and the delivery that carries their files.

    `environment` is for the variables in configurations and the operator's restart command;
    `shared` says which instances cannot be changed apart, and why (`instance_files.shared`).
    """

    def __init__(
        self,
        group: GroupDescription,
        *,
        delivery: Delivery,
        base: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        shared: Mapping[InstanceName, str] = MappingProxyType({}),
    ) -> None:
        self.description = group
        self.delivery = delivery
        self.base = base
        self.configurations = Configurations(delivery, environment=environment)
        self._environment = environment
        self._shared = shared
        self._instances = self._resolved(group)

    def describe(self, group: GroupDescription) -> None:
        """Take a description of the same group in which files lie elsewhere."""
        self.description = group
        self._instances = self._resolved(group)

    def _resolved(self, group: GroupDescription) -> Mapping[InstanceName, InstanceDescription]:
        return {
            instance.name: instance_files.resolved(instance, base=self.base)
            for instance in group.instances
        }

    @property
    def is_local(self) -> bool:
        """Whether the files, and perhaps the processes, are on this machine."""
        return isinstance(self.description.delivery, FileDelivery)

    @property
    def reload_settings(self) -> ReloadSettings:
        """How its instances are made to take files."""
        group = self.description
        return ReloadSettings(group.touch, group.confirm_seconds, self._environment)

    @property
    def instances(self) -> tuple[InstanceDescription, ...]:
        """All its instances."""
        return tuple(self._instances.values())

    def instance(self, name: InstanceName) -> InstanceDescription:
        """Return one of its instances; `SpecError` for a name that is not described."""
        if name not in self._instances:
            raise SpecError(
                f"group `{self.description.name}` has no instance `{name}`",
                hint="name it in the fleet file",
            )
        return self._instances[name]

    def unchangeable(self, instance: InstanceDescription) -> str:
        """Say why an instance cannot be given files of its own; empty where nothing is known."""
        if not self.is_local:
            return ""
        return self._shared.get(instance.name) or instance_files.unwritable(instance)

    def private_keys(self, names: Iterable[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys of files on this machine; what is elsewhere stays there."""
        if not self.is_local:
            return {}
        return instance_files.private_keys(self.delivery, map(self.instance, names))
