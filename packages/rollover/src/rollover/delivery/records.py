"""What a delivery is about to do, written down before it does it, so that a crash can be mended."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from pathlib import Path

import msgspec

from rollover.delivery.refusals import rejected
from rollover.delivery.workspace import write_private
from rollover.engine.delivery_port import Delivered, Receipt
from rollover.replacing import sync_directory


class Phase(StrEnum):
    """How far a delivery came; what is found in a phase is brought to the next end of it."""

    PREPARED = "prepared"
    """Files may be old, new or mixed."""
    DELIVERED = "delivered"
    """All are new, all old ones are kept."""
    RESTORING = "restoring"
    """On the way back: files may be mixed."""
    DROPPING = "dropping"
    """Confirmed: the kept ones are on their way out."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One file: as it was asked for, the real path behind links, contents as SHA-256."""

    asked: str
    path: str
    after: str
    before: str
    """Empty when there was no file."""

    @property
    def target(self) -> Path:
        """The file itself."""
        return Path(self.path)

    @property
    def staged(self) -> Path:
        """Where the new content waits to be renamed."""
        return self.target.with_name(f"{self.target.name}.rollover-new")

    @property
    def kept(self) -> Path:
        """Where the old file is kept until the delivery is confirmed."""
        return self.target.with_name(f"{self.target.name}.rollover-kept")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery to one instance."""

    delivery: str
    instance: str
    phase: Phase
    changes: tuple[Change, ...]

    def receipt(self) -> Receipt:
        """Return what the caller gets to hold."""
        return Receipt(
            instance=self.instance,
            delivery=self.delivery,
            files=tuple(
                Delivered(path=change.asked, before=change.before, after=change.after)
                for change in self.changes
            ),
        )


def begin(instance: str, changes: tuple[Change, ...]) -> Record:
    """Return the record of a new delivery; ids sort by time."""
    return Record(
        delivery=f"{time.time_ns():020d}-{secrets.token_hex(4)}",
        instance=instance,
        phase=Phase.PREPARED,
        changes=changes,
    )


def save(directory: Path, record: Record, *, phase: Phase) -> Record:
    """Write the record down in a phase, durable when this returns."""
    entered = msgspec.structs.replace(record, phase=phase)
    write_private(_file(directory, record.delivery), msgspec.json.encode(entered))
    return entered


def remove(directory: Path, record: Record) -> None:
    """Forget the record: its delivery has ended."""
    _file(directory, record.delivery).unlink(missing_ok=True)
    sync_directory(directory)


def all_of(directory: Path) -> tuple[Record, ...]:
    """Return the records of an instance, the oldest first; `Rejected` for one that is damaged."""
    return tuple(_read(file) for file in sorted(directory.glob("*.json")))


def _read(file: Path) -> Record:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except msgspec.DecodeError:
        raise rejected(
            f"`{file}`, the record of a delivery, is damaged",
            instance=file.parent.name.removesuffix(".d"),
            operation="recover",
            hint="look for `*.rollover-kept` beside the delivered files, put them back or remove "
            "them, then remove the record",
        ) from None


def _file(directory: Path, delivery: str) -> Path:
    return directory / f"{delivery}.json"
