"""The objects that a delivery writes: what it needs of an API server, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from rollover.delivery.kubernetes_records import Kept, digest
from rollover.delivery.refusals import rejected
from rollover.errors import Conflict
from rollover.kubernetes.objects import ObjectKind, ObjectRef, Stored

_OTHERS: Final = ("cert-manager.io/certificate-name", "trust.cert-manager.io/bundle")
"""Annotations and labels of objects that a controller writes again when they differ."""


class Objects(Protocol):
    """What a delivery needs of an API server (`rollover.kubernetes.api.ApiServer`)."""

    def read(self, ref: ObjectRef) -> Stored:
        """Return an object; `NotFound`."""
        ...

    def find(
        self, kind: ObjectKind, namespace: str, *, labels: Mapping[str, str]
    ) -> tuple[Stored, ...]:
        """Return the objects with these labels."""
        ...

    def create(self, stored: Stored) -> Stored:
        """Make an object; `Conflict` when there is one."""
        ...

    def replace(self, stored: Stored) -> Stored:
        """Write an object that was read; `Conflict` when it was written since."""
        ...

    def delete(self, ref: ObjectRef) -> None:
        """Remove an object, if there is one."""
        ...


def check_writable(instance: str, target: Stored) -> None:
    """Refuse what cannot be changed, and what its controller would change back."""
    if target.immutable:
        raise rejected(
            f"the {target.ref} is immutable",
            instance=instance,
            operation="deliver",
            hint="make a new one that is not, and let the pods mount that",
        )
    said = (*target.annotations, *target.labels)
    if target.owners or any(each in _OTHERS for each in said):
        owner = ", ".join(target.owners) or "cert-manager"
        raise rejected(
            f"the {target.ref} is written by {owner}, which would change it back",
            instance=instance,
            operation="deliver",
            hint="rotate it there, or let the pods mount an object of its own",
        )


def check_unchanged(kept: Kept, target: Stored) -> None:
    """Refuse to write over what somebody else wrote since the delivery began."""
    for change in kept.record.changes:
        if digest(target.data, change.key) not in {change.before, change.after}:
            raise Conflict(
                f"somebody else changed `{change.key}` of the {target.ref}",
                system=f"instance `{kept.record.instance}`",
                operation="deliver",
                hint=f"see who: `kubectl get {target.ref.kind.lower()} {target.ref.name} "
                f"--show-managed-fields -o yaml`; the former value is in `{kept.stored.ref.name}`",
            )
