"""What a delivery replaced, kept in the cluster beside it, so that no key leaves the cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from rollover.delivery.kubernetes_volumes import KEPT_SUFFIX
from rollover.delivery.records import Phase
from rollover.delivery.refusals import rejected
from rollover.engine.delivery_port import Delivered, Receipt
from rollover.fleet.secret import SecretBytes
from rollover.kubernetes.objects import LABELS, ObjectRef, Stored

INSTANCE_LABEL = "rollover-ca/instance"
RECORD = "rollover-ca/delivery"
DELIVERED_AT = "rollover-ca/delivered-at"
"""When content was last written: kubelet may need until `sync_seconds` after it."""
_DIGITS = 40


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One file: as it was asked for, and SHA-256 of its contents; empty: there was none."""

    path: str
    key: str
    after: str
    before: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is written on a kept object. `objects`: how many the delivery changes."""

    delivery: str
    instance: str
    phase: Phase
    objects: int
    changes: tuple[Change, ...]


class Kept(NamedTuple):
    """A kept object and what it says."""

    stored: Stored
    record: Record

    @property
    def target(self) -> ObjectRef:
        """The object that it holds former values of."""
        ref = self.stored.ref
        return ref._replace(name=ref.name.removesuffix(KEPT_SUFFIX))

    def holds_after(self, target: Stored) -> bool:
        """Say whether an object has everything that was delivered."""
        return all(digest(target.data, each.key) == each.after for each in self.record.changes)


def digest(data: Mapping[str, SecretBytes], key: str) -> str:
    """Return SHA-256 of a value, empty when there is none."""
    value = data.get(key)
    return hashlib.sha256(value.reveal()).hexdigest() if value is not None else ""


def instance_label(instance: str) -> Mapping[str, str]:
    """Return the label that kept objects of an instance are found by: names do not fit in one."""
    return {INSTANCE_LABEL: hashlib.sha256(instance.encode()).hexdigest()[:_DIGITS]}


def kept_ref(target: ObjectRef) -> ObjectRef:
    """Return where the former values of an object are kept."""
    return target._replace(name=f"{target.name}{KEPT_SUFFIX}")


def begin(target: Stored, record: Record) -> Stored:
    """Return the object that keeps what a delivery is about to replace."""
    changed = {each.key for each in record.changes}
    return Stored(
        ref=kept_ref(target.ref),
        data={key: value for key, value in target.data.items() if key in changed},
        labels={**LABELS, **instance_label(record.instance)},
        annotations={RECORD: msgspec.json.encode(record).decode()},
    )


def entered(kept: Kept, phase: Phase) -> Kept:
    """Return a kept object whose delivery is in another phase."""
    record = msgspec.structs.replace(kept.record, phase=phase)
    said = {**kept.stored.annotations, RECORD: msgspec.json.encode(record).decode()}
    return Kept(msgspec.structs.replace(kept.stored, annotations=said), record)


def read(stored: Stored, *, instance: str) -> Kept:
    """Return a kept object; `Rejected` when what it says is damaged."""
    try:
        said = stored.annotations.get(RECORD, "")
        return Kept(stored, msgspec.json.decode(said.encode(), type=Record))
    except msgspec.MsgspecError:
        raise rejected(
            f"the {stored.ref}, which keeps what a delivery replaced, is damaged",
            instance=instance,
            operation="recover",
            hint="put its values back, or not, and delete it",
        ) from None


def receipt(kept: Sequence[Kept]) -> Receipt:
    """Return what the caller gets to hold."""
    record = kept[0].record
    return Receipt(
        instance=record.instance,
        delivery=record.delivery,
        files=tuple(
            Delivered(path=change.path, before=change.before, after=change.after)
            for each in kept
            for change in each.record.changes
        ),
    )
