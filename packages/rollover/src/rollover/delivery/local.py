"""Delivers files on this machine: all of them or none, kept until confirmed, safe to kill.

What a delivery is about to do is written down before it does it, so that a crash can be mended.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from rollover.delivery.workspace import locked, missing, refused, refusing, rejected
from rollover.engine.ports import Delivered, DeliveredFile, Receipt
from rollover.errors import AdapterError, Conflict, Rejected
from rollover.files import NotRegular, TooLarge, atomic_write, read_regular, sync_directory

# The record.


class DeliveryPhase(StrEnum):
    """How far a delivery came; what is found in a phase is brought to the next end of it."""

    PREPARED = "prepared"
    """Files may be old, new or mixed."""
    DELIVERED = "delivered"
    """All are new, all old ones are kept."""
    RESTORING = "restoring"
    """On the way back: files may be mixed."""
    DROPPING = "dropping"
    """Confirmed: the kept ones are on their way out."""


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file: as it was requested, the real path behind links, contents as SHA-256."""

    requested: str = msgspec.field(name="asked")
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


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery to one instance."""

    delivery: str
    instance: str
    phase: DeliveryPhase
    changes: tuple[FileChange, ...]

    def receipt(self) -> Receipt:
        """Return what the caller gets to hold."""
        return Receipt(
            instance=self.instance,
            delivery=self.delivery,
            files=tuple(
                Delivered(path=change.requested, before=change.before, after=change.after)
                for change in self.changes
            ),
        )


def begin_record(instance: str, changes: tuple[FileChange, ...]) -> DeliveryRecord:
    """Return the record of a new delivery; ids sort by time."""
    return DeliveryRecord(
        delivery=f"{time.time_ns():020d}-{secrets.token_hex(4)}",
        instance=instance,
        phase=DeliveryPhase.PREPARED,
        changes=changes,
    )


def save_record(directory: Path, record: DeliveryRecord, *, phase: DeliveryPhase) -> DeliveryRecord:
    """Write the record down in a phase, durable when this returns."""
    entered = msgspec.structs.replace(record, phase=phase)
    file = _record_file(directory, record.delivery)
    atomic_write(file, msgspec.json.encode(entered), mode=SECRET_MODE, durable=True)
    return entered


def remove_record(directory: Path, record: DeliveryRecord) -> None:
    """Forget the record: its delivery has ended."""
    _record_file(directory, record.delivery).unlink(missing_ok=True)
    sync_directory(directory)


def read_records(directory: Path) -> tuple[DeliveryRecord, ...]:
    """Return the records of an instance, the oldest first; `Rejected` for one that is damaged."""
    return tuple(_read_record(file) for file in sorted(directory.glob("*.json")))


def _read_record(file: Path) -> DeliveryRecord:
    try:
        return msgspec.json.decode(file.read_bytes(), type=DeliveryRecord)
    except msgspec.DecodeError:
        raise rejected(
            f"`{file}`, the record of a delivery, is damaged",
            instance=file.parent.name.removesuffix(".d"),
            operation="recover",
            hint="look for `*.rollover-kept` beside the delivered files, put them back or remove "
            "them, then remove the record",
        ) from None


def _record_file(directory: Path, delivery: str) -> Path:
    return directory / f"{delivery}.json"


# The single moves: stage, keep, swap, put back, drop. Each can be repeated after a crash.

LARGEST_FILE: Final = 1024 * 1024
"""Bytes; a bundle of all public roots has about 220 KiB."""

SECRET_MODE: Final = 0o600
WIDEST_SECRET_MODE: Final = 0o640
PUBLIC_MODE: Final = 0o644


def resolve_path(instance: str, path: str) -> Path:
    """Return the real file behind a path: what is written is the file that a link leads to.

    Links stay links, as their owner made them. Volumes that Kubernetes writes (their files lead to
    a directory `..<time>`) are refused: the kubelet would undo the change.
    """
    given = Path(path)
    if not given.is_absolute() or "\0" in path:
        raise rejected(
            f"{path!r} is not an absolute path",
            instance=instance,
            operation="deliver",
            hint="write the whole path, from `/`",
        )
    with refusing(instance, "deliver", path):
        # Not `Path.resolve`: it reports a circle of links with an error of its own.
        real = Path(os.path.realpath(given))
    if is_in_a_volume(real):
        raise rejected(
            f"`{path}` lies in a volume that Kubernetes writes",
            instance=instance,
            operation="deliver",
            hint="describe the Secret or ConfigMap that the volume shows: `delivery: {by: "
            "kubernetes, …}` in the fleet file",
        )
    return real


def is_in_a_volume(real: Path) -> bool:
    """Say whether a path without links lies in a volume that Kubernetes writes."""
    return any(part.startswith("..") for part in real.parts)


def file_sha256(instance: str, operation: str, path: Path) -> str:
    """Return the SHA-256 of a file, empty when there is none."""
    with refusing(instance, operation, path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return ""
    if not stat.S_ISREG(status.st_mode):
        raise _not_plain(instance, operation, path)
    return content_sha256(read_file(instance, operation, path))


def content_sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_file(instance: str, operation: str, path: Path) -> bytes:
    """Return a file's content, at most `LARGEST_FILE` bytes; never waits on a pipe or device."""
    try:
        return read_regular(path, limit=LARGEST_FILE)
    except FileNotFoundError:
        raise missing(instance, path) from None
    except (NotRegular, IsADirectoryError):
        raise _not_plain(instance, operation, path) from None
    except TooLarge:
        raise rejected(
            f"`{path}` has more than {LARGEST_FILE} bytes",
            instance=instance,
            operation=operation,
            hint="this is no certificate, key or configuration: check the path",
        ) from None
    except OSError as error:
        raise refused(error, instance=instance, operation=operation, path=path) from None


def stage_file(instance: str, change: FileChange, file: DeliveredFile) -> None:
    """Write the new content beside its target, with the mode and owner that it shall have."""
    with refusing(instance, "deliver", change.path):
        existing = change.target.stat() if change.before else None
        change.staged.unlink(missing_ok=True)
        descriptor = os.open(
            change.staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, SECRET_MODE
        )
        with os.fdopen(descriptor, "wb") as staged:
            staged.write(file.plain())
            staged.flush()
            # The mode comes last: until the owner is right, nobody else may read it.
            if existing is not None:
                _hand_over(descriptor, existing)
            os.fchmod(descriptor, _wanted_mode(file, existing))
            os.fsync(descriptor)


def keep_file(instance: str, change: FileChange) -> None:
    """Keep the old file beside its target: the very file, or a copy where links cannot be made."""
    if not change.before:
        return
    with refusing(instance, "deliver", change.path):
        change.kept.unlink(missing_ok=True)
        try:
            change.kept.hardlink_to(change.target)
        except OSError:
            _copy_file(change.target, change.kept)


def swap_file(instance: str, change: FileChange) -> None:
    """Let the new file take the place of the old one."""
    with refusing(instance, "deliver", change.path):
        change.staged.replace(change.target)


def check_restorable(instance: str, change: FileChange) -> None:
    """Raise `Conflict` when the old file cannot be put back without losing somebody's work."""
    if not change.before:
        return
    present = file_sha256(instance, "restore", change.target)
    is_kept = file_sha256(instance, "restore", change.kept) == change.before
    if is_kept and present not in {change.before, change.after, ""}:
        raise Conflict(
            f"`{change.path}` was changed by somebody else since it was delivered",
            system=f"instance `{instance}`",
            operation="restore",
            hint=f"put the right content there, remove `{change.kept}`, then run again",
        )
    if not is_kept and present in {change.after, ""} - {change.before}:
        raise Conflict(
            f"`{change.path}` cannot be put back: `{change.kept}` is gone",
            system=f"instance `{instance}`",
            operation="restore",
            hint="put the former content there by hand, or deliver new files",
        )


def put_file_back(instance: str, change: FileChange) -> None:
    """Leave the target as it was before the delivery, from whatever point that reached."""
    present = file_sha256(instance, "restore", change.target)
    if change.before and file_sha256(instance, "restore", change.kept) == change.before:
        with refusing(instance, "restore", change.path):
            _move_file_back(change, present)
    elif not change.before and present == change.after:
        with refusing(instance, "restore", change.path):
            change.target.unlink()
    _remove_file(instance, "restore", change.staged)


def drop_kept_file(instance: str, change: FileChange) -> None:
    """Remove the kept file."""
    _remove_file(instance, "confirm", change.kept)


def sync_changes(instance: str, changes: Iterable[FileChange]) -> None:
    """Make the renames in all directories durable."""
    for directory in sorted({change.target.parent for change in changes}):
        with refusing(instance, "deliver", directory):
            sync_directory(directory)


def _remove_file(instance: str, operation: str, path: Path) -> None:
    """Remove a file of ours; a read-only disk refuses to remove even what is not there."""
    with refusing(instance, operation, path):
        if os.path.lexists(path):
            path.unlink()


def _wanted_mode(file: DeliveredFile, existing: os.stat_result | None) -> int:
    if file.mode is not None:
        return file.mode
    if file.secret:
        return SECRET_MODE
    return PUBLIC_MODE if existing is None else stat.S_IMODE(existing.st_mode)


def _hand_over(descriptor: int, existing: os.stat_result) -> None:
    """Give the file to the owner of the one that it replaces, as far as this user may."""
    # Apart: who may not give it to another owner may still give it to a group of its own.
    with suppress(PermissionError):
        os.fchown(descriptor, -1, existing.st_gid)
    with suppress(PermissionError):
        os.fchown(descriptor, existing.st_uid, -1)


def _copy_file(source: Path, target: Path) -> None:
    status = source.stat()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    try:
        with os.fdopen(descriptor, "wb") as copy, source.open("rb") as original:
            shutil.copyfileobj(original, copy)
            copy.flush()
            _hand_over(descriptor, status)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            os.fsync(descriptor)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _move_file_back(change: FileChange, present: str) -> None:
    is_untouched = present == change.before != change.after
    # Renaming one name of a file over another name of the same file does nothing (rename(2)).
    if is_untouched or (present and change.kept.samefile(change.target)):
        change.kept.unlink()
    else:
        change.kept.replace(change.target)


def _not_plain(instance: str, operation: str, path: Path) -> Rejected:
    return rejected(
        f"`{path}` is not a plain file", instance=instance, operation=operation, hint="name a file"
    )


# The delivery.


class LocalDelivery:
    """`Delivery` and `Recovery` (rollover.engine.ports) for files of this machine.

    `state` is a directory of our own for the records of deliveries; nothing secret goes there.
    Old files are kept beside the new ones as `<name>.rollover-kept`, with the mode and owner that
    they had. A link is followed: the file behind it is replaced, and the link stays.

    A new delivery that touches files of an unconfirmed one, and is not the same, takes that one as
    confirmed: call `recover` first to decide otherwise.
    """

    def __init__(self, *, state: Path) -> None:
        self._state = state

    def deliver(self, instance: str, files: tuple[DeliveredFile, ...]) -> Receipt:
        """Put all files in place, or leave all as they were and raise."""
        check_files(instance, files)
        with locked(self._state, instance, operation="deliver") as directory:
            waiting = _mend(directory, instance)
            changes = tuple(_changes(instance, files))
            for record in waiting:
                if _is_same(record, changes):
                    return record.receipt()
            return _deliver(directory, instance, changes, files=files, waiting=waiting)

    def restore(self, receipt: Receipt) -> None:
        """Put back what the delivery replaced."""
        with locked(self._state, receipt.instance, operation="restore") as directory:
            for record in _mend(directory, receipt.instance):
                if record.delivery == receipt.delivery:
                    _restore(directory, record)

    def confirm(self, receipt: Receipt) -> None:
        """Drop the kept copies."""
        with locked(self._state, receipt.instance, operation="confirm") as directory:
            for record in _mend(directory, receipt.instance):
                if record.delivery == receipt.delivery:
                    _drop(directory, record)

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Leave the files of every interrupted delivery wholly old or wholly new."""
        with locked(self._state, instance, operation="recover") as directory:
            return tuple(record.receipt() for record in _mend(directory, instance))

    def read(self, instance: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Return what is at these paths now."""
        return {path: read_file(instance, "read", Path(path)) for path in paths}


def check_files(instance: str, files: tuple[DeliveredFile, ...]) -> None:
    """Refuse files that are too large and private keys that others could read."""
    for file in files:
        if len(file.plain()) > LARGEST_FILE:
            raise rejected(
                f"the new `{file.path}` has more than {LARGEST_FILE} bytes",
                instance=instance,
                operation="deliver",
                hint="deliver certificates, keys and configuration only",
            )
        if file.secret and file.mode is not None and file.mode & ~WIDEST_SECRET_MODE:
            raise rejected(
                f"`{file.path}` holds a private key and would get mode {file.mode:04o}",
                instance=instance,
                operation="deliver",
                hint="use 0600, or 0640 where the server reads it through its group",
            )


def _changes(instance: str, files: tuple[DeliveredFile, ...]) -> Iterator[FileChange]:
    seen: dict[Path, str] = {}
    for file in files:
        path = resolve_path(instance, file.path)
        if path in seen:
            raise rejected(
                f"`{file.path}` and `{seen[path]}` are one file",
                instance=instance,
                operation="deliver",
                hint="deliver each file once",
            )
        seen[path] = file.path
        yield FileChange(
            requested=file.path,
            path=str(path),
            after=content_sha256(file.plain()),
            before=file_sha256(instance, "deliver", path),
        )


def _deliver(
    directory: Path,
    instance: str,
    changes: tuple[FileChange, ...],
    *,
    files: tuple[DeliveredFile, ...],
    waiting: tuple[DeliveryRecord, ...],
) -> Receipt:
    with refusing(instance, "deliver", directory):
        record = save_record(
            directory, begin_record(instance, changes), phase=DeliveryPhase.PREPARED
        )
    try:
        for change, file in zip(changes, files, strict=True):
            stage_file(instance, change, file)
        # Only now: whatever can fail for want of room or rights has been written. And before
        # anything is kept, for its kept files have the names of ours.
        _supersede(directory, changes, waiting=waiting)
        for change in changes:
            keep_file(instance, change)
        # What is kept must be on the disk before the first file is replaced.
        sync_changes(instance, changes)
        for change in changes:
            swap_file(instance, change)
        sync_changes(instance, changes)
        with refusing(instance, "deliver", directory):
            record = save_record(directory, record, phase=DeliveryPhase.DELIVERED)
    except BaseException as error:
        _undo(directory, record, error)
        raise
    return record.receipt()


def _undo(directory: Path, record: DeliveryRecord, error: BaseException) -> None:
    """Put back a delivery that failed; what cannot be put back is told, and mended later."""
    try:
        _put_back(directory, record)
    except AdapterError as second:
        raise rejected(
            f"{error}; and then putting back the old files failed: {second}",
            instance=record.instance,
            operation="deliver",
            hint=f"{second.hint}; then run again: the old files are kept as "
            "`<name>.rollover-kept` and are put back first",
        ) from None


def _mend(directory: Path, instance: str) -> tuple[DeliveryRecord, ...]:
    """Bring every unfinished delivery to an end; return those that wait to be confirmed."""
    with refusing(instance, "recover", directory):
        found = read_records(directory)
    return tuple(record for record in found if _is_waiting(directory, record))


def _is_waiting(directory: Path, record: DeliveryRecord) -> bool:
    match record.phase:
        case DeliveryPhase.DELIVERED:
            return True
        case DeliveryPhase.PREPARED if _is_wholly_new(record):
            save_record(directory, record, phase=DeliveryPhase.DELIVERED)
            return True
        case DeliveryPhase.PREPARED | DeliveryPhase.RESTORING:
            _put_back(directory, record)
        case DeliveryPhase.DROPPING:
            _drop(directory, record)
    return False


def _is_wholly_new(record: DeliveryRecord) -> bool:
    return all(
        file_sha256(record.instance, "recover", change.target) == change.after
        and not change.staged.exists()
        for change in record.changes
    )


def _is_same(record: DeliveryRecord, changes: tuple[FileChange, ...]) -> bool:
    """Say whether a delivery that waits has put in place exactly what is asked for again."""
    wanted = {(change.requested, change.path, change.after) for change in changes}
    delivered = {(change.requested, change.path, change.after) for change in record.changes}
    return wanted == delivered and all(change.before == change.after for change in changes)


def _supersede(
    directory: Path, changes: tuple[FileChange, ...], *, waiting: tuple[DeliveryRecord, ...]
) -> None:
    paths = {change.path for change in changes}
    for record in waiting:
        if paths & {change.path for change in record.changes}:
            _drop(directory, record)


def _restore(directory: Path, record: DeliveryRecord) -> None:
    for change in record.changes:
        check_restorable(record.instance, change)
    with refusing(record.instance, "restore", directory):
        save_record(directory, record, phase=DeliveryPhase.RESTORING)
    _put_back(directory, record)


def _put_back(directory: Path, record: DeliveryRecord) -> None:
    # All before the first: what cannot be put back as a whole is left as it is.
    for change in record.changes:
        check_restorable(record.instance, change)
    for change in record.changes:
        put_file_back(record.instance, change)
    sync_changes(record.instance, record.changes)
    with refusing(record.instance, "restore", directory):
        remove_record(directory, record)


def _drop(directory: Path, record: DeliveryRecord) -> None:
    with refusing(record.instance, "confirm", directory):
        # Written down first: with some of the kept files gone, nothing can be put back any more.
        save_record(directory, record, phase=DeliveryPhase.DROPPING)
    for change in record.changes:
        drop_kept_file(record.instance, change)
    sync_changes(record.instance, record.changes)
    with refusing(record.instance, "confirm", directory):
        remove_record(directory, record)
