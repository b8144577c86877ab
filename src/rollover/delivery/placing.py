"""The single moves of a file delivery: stage, keep, swap, put back, drop. Each can be repeated."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from rollover.delivery.records import Change
from rollover.delivery.refusals import missing, refused, refusing, rejected
from rollover.engine.delivery_port import File
from rollover.errors import Conflict, Rejected
from rollover.files import NotRegular, TooLarge, read_regular
from rollover.replacing import sync_directory

LARGEST_FILE: Final = 1024 * 1024
"""Bytes; a bundle of all public roots has about 220 KiB."""

SECRET_MODE: Final = 0o600
WIDEST_SECRET_MODE: Final = 0o640
PUBLIC_MODE: Final = 0o644


def resolve(instance: str, path: str) -> Path:
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


def content_digest(instance: str, operation: str, path: Path) -> str:
    """Return the SHA-256 of a file, empty when there is none."""
    with refusing(instance, operation, path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return ""
    if not stat.S_ISREG(status.st_mode):
        raise _not_plain(instance, operation, path)
    return digest(read(instance, operation, path))


def digest(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read(instance: str, operation: str, path: Path) -> bytes:
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


def stage(instance: str, change: Change, file: File) -> None:
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
            if existing is not None:
                _hand_over(descriptor, existing)
            os.fchmod(descriptor, _mode(file, existing))
            os.fsync(descriptor)


def keep(instance: str, change: Change) -> None:
    """Keep the old file beside its target: the very file, or a copy where links cannot be made."""
    if not change.before:
        return
    with refusing(instance, "deliver", change.path):
        change.kept.unlink(missing_ok=True)
        try:
            change.kept.hardlink_to(change.target)
        except OSError:
            _copy(change.target, change.kept)


def swap(instance: str, change: Change) -> None:
    """Let the new file take the place of the old one."""
    with refusing(instance, "deliver", change.path):
        change.staged.replace(change.target)


def check_restorable(instance: str, change: Change) -> None:
    """Raise `Conflict` when the old file cannot be put back without losing somebody's work."""
    if not change.before:
        return
    present = content_digest(instance, "restore", change.target)
    is_kept = content_digest(instance, "restore", change.kept) == change.before
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


def put_back(instance: str, change: Change) -> None:
    """Leave the target as it was before the delivery, from whatever point that reached."""
    present = content_digest(instance, "restore", change.target)
    if change.before and content_digest(instance, "restore", change.kept) == change.before:
        with refusing(instance, "restore", change.path):
            _move_back(change, present)
    elif not change.before and present == change.after:
        with refusing(instance, "restore", change.path):
            change.target.unlink()
    _remove(instance, "restore", change.staged)


def drop(instance: str, change: Change) -> None:
    """Remove the kept file."""
    _remove(instance, "confirm", change.kept)


def sync(instance: str, changes: Iterable[Change]) -> None:
    """Make the renames in all directories durable."""
    for directory in sorted({change.target.parent for change in changes}):
        with refusing(instance, "deliver", directory):
            sync_directory(directory)


def _remove(instance: str, operation: str, path: Path) -> None:
    """Remove a file of ours; a read-only disk refuses to remove even what is not there."""
    with refusing(instance, operation, path):
        if os.path.lexists(path):
            path.unlink()


def _mode(file: File, existing: os.stat_result | None) -> int:
    if file.mode is not None:
        return file.mode
    if file.secret:
        return SECRET_MODE
    return PUBLIC_MODE if existing is None else stat.S_IMODE(existing.st_mode)


def _hand_over(descriptor: int, existing: os.stat_result) -> None:
    """Give the file to the owner of the one that it replaces, as far as this user may."""
    with suppress(PermissionError):
        os.fchown(descriptor, -1, existing.st_gid)
    with suppress(PermissionError):
        os.fchown(descriptor, existing.st_uid, -1)


def _copy(source: Path, target: Path) -> None:
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


def _move_back(change: Change, present: str) -> None:
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
