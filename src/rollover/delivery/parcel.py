"""A private directory with the files of one delivery and its manifest, for an operator's command.

::

    manifest.json     {"version": 1, "verb": "deliver", "instance": "n1", "delivery": "…",
                       "files": [{"file": "00-server.pem", "path": "/etc/nats/server.pem",
                                  "mode": "0644", "sha256": "…", "secret": false}, …]}
    00-server.pem     the content of the first file, and so on

`mode` is empty where the command shall keep the mode of the file that it replaces.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from rollover.delivery.placing import LARGEST_FILE, SECRET_MODE, digest
from rollover.delivery.refusals import missing, refused, refusing, rejected
from rollover.engine.delivery_port import File
from rollover.files import TooLarge, read_regular

_NAME: Final = "parcel-"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the manifest: `file` is its name here, `path` where it goes on the instance."""

    file: str
    path: str
    mode: str = ""
    sha256: str = ""
    secret: bool = False


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command is asked to do, and with what."""

    version: int = 1
    verb: str
    instance: str
    delivery: str
    files: tuple[Item, ...]


def items(files: tuple[File, ...]) -> tuple[Item, ...]:
    """Return the manifest's items of files to deliver."""
    return tuple(
        Item(
            file=_file_name(index, file.path),
            path=file.path,
            mode=_mode(file),
            sha256=digest(file.plain()),
            secret=file.secret,
        )
        for index, file in enumerate(files)
    )


def named(paths: tuple[str, ...]) -> tuple[Item, ...]:
    """Return items for files that are only named, to be read or restored."""
    return tuple(Item(file=_file_name(index, path), path=path) for index, path in enumerate(paths))


@contextmanager
def packed(
    directory: Path, manifest: Manifest, *, contents: tuple[bytes, ...] = ()
) -> Iterator[Path]:
    """Yield a new 0700 directory below `directory`; it is shredded when the block ends."""
    parcel = directory / f"{_NAME}{secrets.token_hex(8)}"
    try:
        with refusing(manifest.instance, manifest.verb, parcel):
            parcel.mkdir(mode=0o700)
            for item, content in zip(manifest.files, contents, strict=False):
                _write(parcel / item.file, content)
            _write(parcel / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
        yield parcel
    finally:
        with refusing(manifest.instance, manifest.verb, parcel):
            shred(parcel)


def collected(parcel: Path, instance: str, *, wanted: tuple[Item, ...]) -> dict[str, bytes]:
    """Return what the command put under the names of the items."""
    return {item.path: _read(parcel / item.file, instance, item.path) for item in wanted}


def shred_leftovers(directory: Path, instance: str) -> None:
    """Remove the parcels of processes that were killed."""
    for parcel in directory.glob(f"{_NAME}*"):
        with refusing(instance, "recover", parcel):
            shred(parcel)


def shred(parcel: Path) -> None:
    """Overwrite the files and remove the directory.

    On flash and copying file systems overwriting is no proof: keep the state on a tmpfs where that
    matters.
    """
    for path, _, files in os.walk(parcel):
        for file in files:
            _overwrite(Path(path) / file)
    if parcel.is_dir():
        shutil.rmtree(parcel)


def _overwrite(file: Path) -> None:
    status = file.lstat()
    # With a second name it may be the live file by now: a command is free to use hard links.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return
    with file.open("r+b") as opened:
        opened.write(bytes(status.st_size))
        opened.flush()
        os.fsync(opened.fileno())


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(file: Path, instance: str, path: str) -> bytes:
    try:
        return read_regular(file, limit=LARGEST_FILE, follow_links=False)
    except FileNotFoundError:
        raise missing(instance, path) from None
    except TooLarge:
        raise rejected(
            f"`{path}` has more than {LARGEST_FILE} bytes",
            instance=instance,
            operation="read",
            hint="this is no certificate or configuration: check the path",
        ) from None
    except OSError as error:
        raise refused(error, instance=instance, operation="read", path=path) from None


def _file_name(index: int, path: str) -> str:
    return f"{index:02d}-{PurePosixPath(path).name}"


def _mode(file: File) -> str:
    mode = SECRET_MODE if file.mode is None and file.secret else file.mode
    return "" if mode is None else f"{mode:04o}"
