"""Delivers by a command of the operator's own, so that ssh, Ansible or a pipeline carry the files.

The command is run as ``ARGV… VERB INSTANCE DIRECTORY``, without a shell, and finds the same in
``ROLLOVER_VERB``, ``ROLLOVER_INSTANCE`` and ``ROLLOVER_DIRECTORY``. Exit code 0 says that it is
done; anything else that nothing was changed. Verbs:

=========  ======================================================================================
deliver    put all files in place and keep what they replace, or change nothing and fail
restore    put back what the last delivery of these paths replaced; must succeed when nothing is to
           be put back; also run after a `deliver` that failed or took too long
confirm    optional: drop what was kept
read       optional: write each file of the manifest, as it is on the instance, into the directory
=========  ======================================================================================

The directory (0700) holds the manifest and, for `deliver`, the new files::

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from rollover.delivery import bounded_command
from rollover.delivery.bounded_command import CommandResult
from rollover.delivery.local import LARGEST_FILE, SECRET_MODE, check_files, content_sha256
from rollover.delivery.workspace import locked, missing, refused, refusing, rejected
from rollover.engine.ports import Delivered, DeliveredFile, Receipt
from rollover.errors import AdapterError, TimedOut
from rollover.files import TooLarge, read_regular
from rollover.fleet.secret import SecretBytes

_NAME: Final = "parcel-"


class ManifestItem(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the manifest: `file` is its name here, `path` where it goes on the instance."""

    file: str
    path: str
    mode: str = ""
    sha256: str = ""
    secret: bool = False


class DeliveryManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the command is asked to do, and with what."""

    version: int = 1
    verb: str
    instance: str
    delivery: str
    files: tuple[ManifestItem, ...]


def manifest_items(files: tuple[DeliveredFile, ...]) -> tuple[ManifestItem, ...]:
    """Return the manifest's items of files to deliver."""
    return tuple(
        ManifestItem(
            file=_file_name(index, file.path),
            path=file.path,
            mode=_manifest_mode(file),
            sha256=content_sha256(file.plain()),
            secret=file.secret,
        )
        for index, file in enumerate(files)
    )


def named_items(paths: tuple[str, ...]) -> tuple[ManifestItem, ...]:
    """Return items for files that are only named, to be read or restored."""
    return tuple(
        ManifestItem(file=_file_name(index, path), path=path) for index, path in enumerate(paths)
    )


@contextmanager
def packed_parcel(
    directory: Path, manifest: DeliveryManifest, *, contents: tuple[bytes, ...] = ()
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


def collect_files(
    parcel: Path, instance: str, *, wanted: tuple[ManifestItem, ...]
) -> dict[str, bytes]:
    """Return what the command put under the names of the items."""
    return {
        item.path: _read_parcel_file(parcel / item.file, instance, item.path) for item in wanted
    }


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


def _read_parcel_file(file: Path, instance: str, path: str) -> bytes:
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


def _manifest_mode(file: DeliveredFile) -> str:
    mode = SECRET_MODE if file.mode is None and file.secret else file.mode
    return "" if mode is None else f"{mode:04o}"


# The delivery.

_OWN_VARIABLES: Final = "ROLLOVER_"
"""Variables of ours, the sealing key's among them, are not for the operator's command."""
_SHOWN_LINES: Final = 20
_SHOWN_CHARACTERS: Final = 2000


class Verb(StrEnum):
    """What the command is asked to do."""

    DELIVER = "deliver"
    RESTORE = "restore"
    CONFIRM = "confirm"
    READ = "read"


class OperatorCommandDelivery:
    """`Delivery` and `Recovery` (rollover.engine.ports) by an operator's command.

    `argv` is the command with its first arguments, `state` a private directory of ours (best on a
    tmpfs: the files stand there while the command runs), `environment` what the command gets to
    see, without variables that begin with `ROLLOVER_`. `verbs` are those that the command knows.
    """

    def __init__(
        self,
        argv: tuple[str, ...],
        *,
        state: Path,
        environment: Mapping[str, str],
        timeout_seconds: float = 300.0,
        verbs: frozenset[Verb] = frozenset({Verb.DELIVER, Verb.RESTORE}),
    ) -> None:
        self._argv = argv
        self._state = state
        self._environment = {
            name: value
            for name, value in environment.items()
            if not name.startswith(_OWN_VARIABLES)
        }
        self._timeout_seconds = timeout_seconds
        self._verbs = verbs

    def deliver(self, instance: str, files: tuple[DeliveredFile, ...]) -> Receipt:
        """Have all files put in place; when that fails, have the old ones put back and raise."""
        check_files(instance, files)
        manifest = DeliveryManifest(
            verb=Verb.DELIVER,
            instance=instance,
            delivery=secrets.token_hex(8),
            files=manifest_items(files),
        )
        keys = tuple(file.content for file in files if isinstance(file.content, SecretBytes))
        contents = tuple(file.plain() for file in files)
        with locked(self._state, instance, operation=Verb.DELIVER) as directory:
            shred_leftovers(directory, instance)
            ended = self._run(directory, manifest, contents=contents, keys=keys)
            try:
                self._judge(ended, manifest)
            except AdapterError as error:
                self._undo(directory, manifest, error)
                raise
        return _receipt(manifest, ended)

    def restore(self, receipt: Receipt) -> None:
        """Have the command put back what the delivery replaced."""
        if Verb.RESTORE not in self._verbs:
            raise rejected(
                "the command cannot put files back",
                instance=receipt.instance,
                operation=Verb.RESTORE,
                hint="let it know the verb `restore`, or deliver the former files",
            )
        self._repeat(receipt, Verb.RESTORE)

    def confirm(self, receipt: Receipt) -> None:
        """Have the command drop what it kept, where it knows how to."""
        if Verb.CONFIRM in self._verbs:
            self._repeat(receipt, Verb.CONFIRM)

    def read(self, instance: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Return what the command says that the instance has at these paths."""
        if Verb.READ not in self._verbs:
            raise rejected(
                "the command cannot read files back",
                instance=instance,
                operation=Verb.READ,
                hint="let it know the verb `read`, or rely on the probe of the port",
            )
        manifest = DeliveryManifest(
            verb=Verb.READ, instance=instance, delivery="", files=named_items(paths)
        )
        with (
            locked(self._state, instance, operation=Verb.READ) as directory,
            packed_parcel(directory, manifest) as packed,
        ):
            self._judge(self._call(packed, manifest), manifest)
            return collect_files(packed, instance, wanted=manifest.files)

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Remove the directories of runs that were killed.

        What the command did on the instance then is not known here: the next delivery brings all
        files again, so they end consistent.
        """
        with locked(self._state, instance, operation="recover") as directory:
            shred_leftovers(directory, instance)
        return ()

    def _repeat(self, receipt: Receipt, verb: Verb) -> None:
        """Run a verb about a delivery that was made, without its contents."""
        manifest = DeliveryManifest(
            verb=verb,
            instance=receipt.instance,
            delivery=receipt.delivery,
            files=named_items(tuple(file.path for file in receipt.files)),
        )
        with locked(self._state, receipt.instance, operation=verb) as directory:
            self._judge(self._run(directory, manifest), manifest)

    def _undo(self, directory: Path, manifest: DeliveryManifest, error: AdapterError) -> None:
        if Verb.RESTORE not in self._verbs:
            return
        again = DeliveryManifest(
            verb=Verb.RESTORE,
            instance=manifest.instance,
            delivery=manifest.delivery,
            files=named_items(tuple(item.path for item in manifest.files)),
        )
        try:
            self._judge(self._run(directory, again), again)
        except AdapterError as second:
            raise rejected(
                f"{error}; and then: {second}",
                instance=manifest.instance,
                operation=Verb.DELIVER,
                hint="look at the files on the instance: they may be partly new",
            ) from None

    def _run(
        self,
        directory: Path,
        manifest: DeliveryManifest,
        *,
        contents: tuple[bytes, ...] = (),
        keys: tuple[SecretBytes, ...] = (),
    ) -> CommandResult:
        with packed_parcel(directory, manifest, contents=contents) as packed:
            return self._call(packed, manifest, keys=keys)

    def _call(
        self, packed: Path, manifest: DeliveryManifest, *, keys: tuple[SecretBytes, ...] = ()
    ) -> CommandResult:
        """Run the command to its end; raise only when it cannot be started."""
        arguments = {"VERB": manifest.verb, "INSTANCE": manifest.instance, "DIRECTORY": str(packed)}
        try:
            return bounded_command.run(
                (*self._argv, *arguments.values()),
                environment=self._environment
                | {f"{_OWN_VARIABLES}{name}": value for name, value in arguments.items()},
                timeout_seconds=self._timeout_seconds,
                secrets=keys,
            )
        except OSError as error:
            raise refused(
                error,
                instance=manifest.instance,
                operation=manifest.verb,
                path=self._argv[0],
            ) from None

    def _judge(self, ended: CommandResult, manifest: DeliveryManifest) -> None:
        """Raise for every end but a good one."""
        last_words = _last_words(ended.output)
        if ended.timed_out:
            raise TimedOut(
                f"the command `{self._argv[0]}` did not end within {self._timeout_seconds:g} s"
                f"{last_words}",
                system=f"instance `{manifest.instance}`",
                operation=manifest.verb,
                hint="raise the time limit, or see why the command hangs",
            )
        if ended.code != 0:
            raise rejected(
                f"the command `{self._argv[0]}` ended with {ended.code}{last_words}",
                instance=manifest.instance,
                operation=manifest.verb,
                hint="see what the command says; run it by hand with the same arguments",
            )


def _receipt(manifest: DeliveryManifest, ended: CommandResult) -> Receipt:
    return Receipt(
        instance=manifest.instance,
        delivery=manifest.delivery,
        files=tuple(Delivered(path=item.path, after=item.sha256) for item in manifest.files),
        output=ended.output,
    )


def _last_words(output: str) -> str:
    lines = output.strip().splitlines()[-_SHOWN_LINES:]
    text = "\n".join(lines)[-_SHOWN_CHARACTERS:]
    return f" and said:\n{text}" if text else " and said nothing"
