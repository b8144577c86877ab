"""Delivers files on this machine: all of them or none, kept until confirmed, safe to kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rollover.delivery import placing, records
from rollover.delivery.records import Change, Phase, Record
from rollover.delivery.refusals import refusing, rejected
from rollover.delivery.workspace import locked
from rollover.engine.delivery_port import File, Receipt
from rollover.errors import AdapterError


class LocalDelivery:
    """`Delivery` and `Recovery` (rollover.engine.delivery_port) for files of this machine.

    `state` is a directory of our own for the records of deliveries; nothing secret goes there.
    Old files are kept beside the new ones as `<name>.rollover-kept`, with the mode and owner that
    they had. A link is followed: the file behind it is replaced, and the link stays.

    A new delivery that touches files of an unconfirmed one, and is not the same, takes that one as
    confirmed: call `recover` first to decide otherwise.
    """

    def __init__(self, *, state: Path) -> None:
        self._state = state

    def deliver(self, instance: str, files: tuple[File, ...]) -> Receipt:
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
        return {path: placing.read(instance, "read", Path(path)) for path in paths}


def check_files(instance: str, files: tuple[File, ...]) -> None:
    """Refuse files that are too large and private keys that others could read."""
    for file in files:
        if len(file.plain()) > placing.LARGEST_FILE:
            raise rejected(
                f"the new `{file.path}` has more than {placing.LARGEST_FILE} bytes",
                instance=instance,
                operation="deliver",
                hint="deliver certificates, keys and configuration only",
            )
        if file.secret and file.mode is not None and file.mode & ~placing.WIDEST_SECRET_MODE:
            raise rejected(
                f"`{file.path}` holds a private key and would get mode {file.mode:04o}",
                instance=instance,
                operation="deliver",
                hint="use 0600, or 0640 where the server reads it through its group",
            )


def _changes(instance: str, files: tuple[File, ...]) -> Iterator[Change]:
    seen: dict[Path, str] = {}
    for file in files:
        path = placing.resolve(instance, file.path)
        if path in seen:
            raise rejected(
                f"`{file.path}` and `{seen[path]}` are one file",
                instance=instance,
                operation="deliver",
                hint="deliver each file once",
            )
        seen[path] = file.path
        yield Change(
            asked=file.path,
            path=str(path),
            after=placing.digest(file.plain()),
            before=placing.content_digest(instance, "deliver", path),
        )


def _deliver(
    directory: Path,
    instance: str,
    changes: tuple[Change, ...],
    *,
    files: tuple[File, ...],
    waiting: tuple[Record, ...],
) -> Receipt:
    with refusing(instance, "deliver", directory):
        record = records.save(directory, records.begin(instance, changes), phase=Phase.PREPARED)
    try:
        for change, file in zip(changes, files, strict=True):
            placing.stage(instance, change, file)
        _supersede(directory, changes, waiting=waiting)
        for change in changes:
            placing.keep(instance, change)
        placing.sync(instance, changes)
        for change in changes:
            placing.swap(instance, change)
        placing.sync(instance, changes)
        with refusing(instance, "deliver", directory):
            record = records.save(directory, record, phase=Phase.DELIVERED)
    except BaseException as error:
        _undo(directory, record, error)
        raise
    return record.receipt()


def _undo(directory: Path, record: Record, error: BaseException) -> None:
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


def _mend(directory: Path, instance: str) -> tuple[Record, ...]:
    """Bring every unfinished delivery to an end; return those that wait to be confirmed."""
    with refusing(instance, "recover", directory):
        found = records.all_of(directory)
    return tuple(record for record in found if _is_waiting(directory, record))


def _is_waiting(directory: Path, record: Record) -> bool:
    match record.phase:
        case Phase.DELIVERED:
            return True
        case Phase.PREPARED if _is_wholly_new(record):
            records.save(directory, record, phase=Phase.DELIVERED)
            return True
        case Phase.PREPARED | Phase.RESTORING:
            _put_back(directory, record)
        case Phase.DROPPING:
            _drop(directory, record)
    return False


def _is_wholly_new(record: Record) -> bool:
    return all(
        placing.content_digest(record.instance, "recover", change.target) == change.after
        and not change.staged.exists()
        for change in record.changes
    )


def _is_same(record: Record, changes: tuple[Change, ...]) -> bool:
    """Say whether a delivery that waits has put in place exactly what is asked for again."""
    wanted = {(change.asked, change.path, change.after) for change in changes}
    delivered = {(change.asked, change.path, change.after) for change in record.changes}
    return wanted == delivered and all(change.before == change.after for change in changes)


def _supersede(
    directory: Path, changes: tuple[Change, ...], *, waiting: tuple[Record, ...]
) -> None:
    paths = {change.path for change in changes}
    for record in waiting:
        if paths & {change.path for change in record.changes}:
            _drop(directory, record)


def _restore(directory: Path, record: Record) -> None:
    for change in record.changes:
        placing.check_restorable(record.instance, change)
    with refusing(record.instance, "restore", directory):
        records.save(directory, record, phase=Phase.RESTORING)
    _put_back(directory, record)


def _put_back(directory: Path, record: Record) -> None:
    for change in record.changes:
        placing.check_restorable(record.instance, change)
    for change in record.changes:
        placing.put_back(record.instance, change)
    placing.sync(record.instance, record.changes)
    with refusing(record.instance, "restore", directory):
        records.remove(directory, record)


def _drop(directory: Path, record: Record) -> None:
    with refusing(record.instance, "confirm", directory):
        records.save(directory, record, phase=Phase.DROPPING)
    for change in record.changes:
        placing.drop(record.instance, change)
    placing.sync(record.instance, record.changes)
    with refusing(record.instance, "confirm", directory):
        records.remove(directory, record)
