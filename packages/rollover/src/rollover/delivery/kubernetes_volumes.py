"""Which key of which object a file of a pod is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from rollover.delivery.refusals import rejected
from rollover.errors import SpecError
from rollover.fleet.description import (
    GroupDescription,
    InstanceDescription,
    KubernetesVolume,
)
from rollover.fleet.description import KubernetesDelivery as Settings
from rollover.kubernetes.objects import (
    ObjectKind,
    ObjectRef,
    check_key,
    check_name,
    check_namespace,
)

INSTANCE = "{instance}"
KEPT_SUFFIX = ".rollover-kept"
"""The object that holds what a delivery replaced until it is confirmed has this at its name's end,
and a path with it means the file that was there before, as for files of this machine."""


class Spot(NamedTuple):
    """One file: the object and the key that it comes from."""

    ref: ObjectRef
    key: str

    def __str__(self) -> str:
        return f"{self.ref}: {self.key}"


class Volumes:
    """The volumes of the pods of a group."""

    def __init__(self, namespace: str, volumes: Sequence[KubernetesVolume]) -> None:
        self.namespace = namespace
        self._volumes = tuple(volumes)

    def spot(self, instance: str, path: str) -> Spot:
        """Return where a file of an instance comes from; `Rejected` when no volume has it."""
        wanted = PurePosixPath(path)
        for volume in self._volumes:
            mounted = PurePosixPath(volume.path.replace(INSTANCE, instance))
            if wanted.parent == mounted:
                return Spot(self._object(volume, instance), wanted.name)
        raise rejected(
            f"`{path}` is in none of the volumes",
            instance=instance,
            operation="deliver",
            hint="name its directory and its Secret or ConfigMap under `delivery: volumes`",
        )

    def objects(self, instance: str) -> tuple[ObjectRef, ...]:
        """Return the objects of an instance, each once."""
        return tuple(dict.fromkeys(self._object(each, instance) for each in self._volumes))

    def _object(self, volume: KubernetesVolume, instance: str) -> ObjectRef:
        if volume.secret is not None:
            return ObjectRef(
                ObjectKind.SECRET, self.namespace, volume.secret.replace(INSTANCE, instance)
            )
        name = (volume.config_map or "").replace(INSTANCE, instance)
        return ObjectRef(ObjectKind.CONFIG_MAP, self.namespace, name)


def volumes_of(group: GroupDescription, settings: Settings, *, base: PurePosixPath) -> Volumes:
    """Return the volumes that a fleet file describes; `SpecError` says what cannot be meant.

    Relative paths begin at the working directory of their instance, and that at `base`.
    """
    field = f"group `{group.name}`: delivery.volumes"
    check_namespace(settings.namespace)
    if not settings.volumes:
        raise SpecError("no volume is described", field=field, hint="name a path and a Secret")
    for volume in settings.volumes:
        if (volume.secret is None) == (volume.config_map is None):
            raise SpecError(
                f"`{volume.path}` needs one of `secret` and `config_map`",
                field=field,
                hint="a volume comes from one object",
            )
    volumes = Volumes(settings.namespace, settings.volumes)
    for instance in group.instances:
        for ref in volumes.objects(instance.name):
            check_name(f"{ref.name}{KEPT_SUFFIX}")
    _check_apart(group, volumes, base=base, field=field)
    return volumes


def _check_apart(
    group: GroupDescription, volumes: Volumes, *, base: PurePosixPath, field: str
) -> None:
    """Refuse instances that share a certificate or key, and keys that would be in a ConfigMap.

    A bundle may be shared: within one rollout every mixture of old and new is proven. A delivery
    of one instance's leaf would be that of another one, too.
    """
    users: dict[Spot, str] = {}
    for instance in group.instances:
        for path, is_key in _own(instance, base).items():
            spot = volumes.spot(instance.name, path)
            check_key(spot.key)
            if is_key and spot.ref.kind is ObjectKind.CONFIG_MAP:
                raise SpecError(
                    f"the private key `{path}` of `{instance.name}` would be in a {spot.ref}",
                    field=field,
                    hint="keep it in a Secret",
                )
            other = users.setdefault(spot, instance.name)
            if other != instance.name:
                raise SpecError(
                    f"`{other}` and `{instance.name}` share `{spot.key}` of the {spot.ref}",
                    field=field,
                    hint="give each its own, with `{instance}` in the name; a bundle alone may be "
                    "shared",
                )


def _own(instance: InstanceDescription, base: PurePosixPath) -> Mapping[str, bool]:
    """Return the certificates and keys of an instance, and which of them are keys."""
    return dict(_own_files(base / (instance.working_directory or ""), instance))


def _own_files(home: PurePosixPath, instance: InstanceDescription) -> Iterator[tuple[str, bool]]:
    for each in instance.endpoints:
        if each.certificate is not None:
            yield str(home / each.certificate), False
        if each.key is not None:
            yield str(home / each.key), True
