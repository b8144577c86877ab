"""The objects of a cluster that a delivery writes: which key is which file, and what is kept.

What a delivery replaces is kept in the cluster beside it, so that no key leaves the cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple, Protocol

import msgspec

from rollover.codec.kubernetes import (
    LABELS,
    ClusterObject,
    ObjectKind,
    ObjectRef,
    check_key,
    check_name,
    check_namespace,
)
from rollover.delivery.local import DeliveryPhase
from rollover.delivery.workspace import rejected
from rollover.engine.ports import Delivered, Receipt
from rollover.errors import Conflict, SpecError
from rollover.fleet.description import (
    GroupDescription,
    InstanceDescription,
    KubernetesDelivery,
    KubernetesVolume,
)
from rollover.fleet.secret import SecretBytes

# Volumes: which key of which object a file of a pod is.

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
        return tuple(dict.fromkeys(self._object(volume, instance) for volume in self._volumes))

    def _object(self, volume: KubernetesVolume, instance: str) -> ObjectRef:
        if volume.secret is not None:
            return ObjectRef(
                ObjectKind.SECRET, self.namespace, volume.secret.replace(INSTANCE, instance)
            )
        name = (volume.config_map or "").replace(INSTANCE, instance)
        return ObjectRef(ObjectKind.CONFIG_MAP, self.namespace, name)


def volumes_of(
    group: GroupDescription, settings: KubernetesDelivery, *, base: PurePosixPath
) -> Volumes:
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
        home = base / (instance.working_directory or "")
        # Once each: endpoints of one instance may share their files.
        for path, is_key in dict(_own_files(home, instance)).items():
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


def _own_files(home: PurePosixPath, instance: InstanceDescription) -> Iterator[tuple[str, bool]]:
    """Yield the certificates and keys of an instance, and which of them are keys."""
    for endpoint in instance.endpoints:
        if endpoint.certificate is not None:
            yield str(home / endpoint.certificate), False
        if endpoint.key is not None:
            yield str(home / endpoint.key), True


# Kept objects.

INSTANCE_LABEL = "rollover-ca/instance"
RECORD = "rollover-ca/delivery"
DELIVERED_AT = "rollover-ca/delivered-at"
"""When content was last written: kubelet may need until `sync_seconds` after it."""
_DIGITS = 40


class KeyChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file: as it was asked for, and SHA-256 of its contents; empty: there was none."""

    path: str
    key: str
    after: str
    before: str = ""


class ObjectRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is written on a kept object. `objects`: how many the delivery changes."""

    delivery: str
    instance: str
    phase: DeliveryPhase
    objects: int
    changes: tuple[KeyChange, ...]


class KeptObject(NamedTuple):
    """A kept object and what it says."""

    stored: ClusterObject
    record: ObjectRecord

    @property
    def target(self) -> ObjectRef:
        """The object that it holds former values of."""
        ref = self.stored.ref
        return ref._replace(name=ref.name.removesuffix(KEPT_SUFFIX))

    def holds_after(self, target: ClusterObject) -> bool:
        """Say whether an object has everything that was delivered."""
        return all(
            value_sha256(target.data, change.key) == change.after for change in self.record.changes
        )


def value_sha256(data: Mapping[str, SecretBytes], key: str) -> str:
    """Return SHA-256 of a value, empty when there is none."""
    value = data.get(key)
    return hashlib.sha256(value.reveal()).hexdigest() if value is not None else ""


def instance_label(instance: str) -> Mapping[str, str]:
    """Return the label that kept objects of an instance are found by: names do not fit in one."""
    return {INSTANCE_LABEL: hashlib.sha256(instance.encode()).hexdigest()[:_DIGITS]}


def kept_ref(target: ObjectRef) -> ObjectRef:
    """Return where the former values of an object are kept."""
    return target._replace(name=f"{target.name}{KEPT_SUFFIX}")


def kept_object(target: ClusterObject, record: ObjectRecord) -> ClusterObject:
    """Return the object that keeps what a delivery is about to replace."""
    changed = {change.key for change in record.changes}
    return ClusterObject(
        ref=kept_ref(target.ref),
        data={key: value for key, value in target.data.items() if key in changed},
        labels={**LABELS, **instance_label(record.instance)},
        annotations={RECORD: msgspec.json.encode(record).decode()},
    )


def in_phase(kept: KeptObject, phase: DeliveryPhase) -> KeptObject:
    """Return a kept object whose delivery is in another phase."""
    record = msgspec.structs.replace(kept.record, phase=phase)
    annotations = {**kept.stored.annotations, RECORD: msgspec.json.encode(record).decode()}
    return KeptObject(msgspec.structs.replace(kept.stored, annotations=annotations), record)


def read_kept(stored: ClusterObject, *, instance: str) -> KeptObject:
    """Return a kept object; `Rejected` when what it says is damaged."""
    try:
        record = stored.annotations.get(RECORD, "")
        return KeptObject(stored, msgspec.json.decode(record.encode(), type=ObjectRecord))
    except msgspec.MsgspecError:
        raise rejected(
            f"the {stored.ref}, which keeps what a delivery replaced, is damaged",
            instance=instance,
            operation="recover",
            hint="put its values back, or not, and delete it",
        ) from None


def receipt_of(kept_objects: Sequence[KeptObject]) -> Receipt:
    """Return what the caller gets to hold."""
    record = kept_objects[0].record
    return Receipt(
        instance=record.instance,
        delivery=record.delivery,
        files=tuple(
            Delivered(path=change.path, before=change.before, after=change.after)
            for kept in kept_objects
            for change in kept.record.changes
        ),
    )


# What a delivery needs of an API server, and what it leaves alone.

_OTHERS: Final = ("cert-manager.io/certificate-name", "trust.cert-manager.io/bundle")
"""Annotations and labels of objects that a controller writes again when they differ."""


class Objects(Protocol):
    """What a delivery needs of an API server (`rollover.delivery.kubernetes_api.ApiServer`)."""

    def read(self, ref: ObjectRef) -> ClusterObject:
        """Return an object; `NotFound`."""
        ...

    def find(
        self, kind: ObjectKind, namespace: str, *, labels: Mapping[str, str]
    ) -> tuple[ClusterObject, ...]:
        """Return the objects with these labels."""
        ...

    def create(self, stored: ClusterObject) -> ClusterObject:
        """Make an object; `Conflict` when there is one."""
        ...

    def replace(self, stored: ClusterObject) -> ClusterObject:
        """Write an object that was read; `Conflict` when it was written since."""
        ...

    def delete(self, ref: ObjectRef) -> None:
        """Remove an object, if there is one."""
        ...


def check_writable(instance: str, target: ClusterObject) -> None:
    """Refuse what cannot be changed, and what its controller would change back."""
    if target.immutable:
        raise rejected(
            f"the {target.ref} is immutable",
            instance=instance,
            operation="deliver",
            hint="make a new one that is not, and let the pods mount that",
        )
    marks = (*target.annotations, *target.labels)
    if target.owners or any(mark in _OTHERS for mark in marks):
        owner = ", ".join(target.owners) or "cert-manager"
        raise rejected(
            f"the {target.ref} is written by {owner}, which would change it back",
            instance=instance,
            operation="deliver",
            hint="rotate it there, or let the pods mount an object of its own",
        )


def check_unchanged(kept: KeptObject, target: ClusterObject) -> None:
    """Refuse to write over what somebody else wrote since the delivery began."""
    for change in kept.record.changes:
        if value_sha256(target.data, change.key) not in {change.before, change.after}:
            raise Conflict(
                f"somebody else changed `{change.key}` of the {target.ref}",
                system=f"instance `{kept.record.instance}`",
                operation="deliver",
                hint=f"see who: `kubectl get {target.ref.kind.lower()} {target.ref.name} "
                f"--show-managed-fields -o yaml`; the former value is in `{kept.stored.ref.name}`",
            )
