"""Delivers by a command of the operator's own, so that ssh, Ansible or a pipeline carry the files.

The command is run as ``ARGV… VERB INSTANCE DIRECTORY``, without a shell, and finds the same in
``ROLLOVER_VERB``, ``ROLLOVER_INSTANCE`` and ``ROLLOVER_DIRECTORY``. The directory (0700) holds
`manifest.json` and, for `deliver`, the new files (see `rollover.delivery.parcel`). Exit code 0 says
that it is done; anything else that nothing was changed. Verbs:

=========  ======================================================================================
deliver    put all files in place and keep what they replace, or change nothing and fail
restore    put back what the last delivery of these paths replaced; must succeed when nothing is to
           be put back; also run after a `deliver` that failed or took too long
confirm    optional: drop what was kept
read       optional: write each file of the manifest, as it is on the instance, into the directory
=========  ======================================================================================
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from rollover.delivery import parcel, running
from rollover.delivery.local import check_files
from rollover.delivery.parcel import Manifest
from rollover.delivery.refusals import refused, rejected
from rollover.delivery.running import Ended
from rollover.delivery.workspace import locked
from rollover.engine.delivery_port import Delivered, File, Receipt
from rollover.errors import AdapterError, TimedOut
from rollover.fleet.secret import SecretBytes

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


class CommandDelivery:
    """`Delivery` and `Recovery` (rollover.engine.delivery_port) by an operator's command.

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

    def deliver(self, instance: str, files: tuple[File, ...]) -> Receipt:
        """Have all files put in place; when that fails, have the old ones put back and raise."""
        check_files(instance, files)
        manifest = Manifest(
            verb=Verb.DELIVER,
            instance=instance,
            delivery=secrets.token_hex(8),
            files=parcel.items(files),
        )
        keys = tuple(file.content for file in files if isinstance(file.content, SecretBytes))
        contents = tuple(file.plain() for file in files)
        with locked(self._state, instance, operation=Verb.DELIVER) as directory:
            parcel.shred_leftovers(directory, instance)
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
        manifest = Manifest(
            verb=Verb.READ, instance=instance, delivery="", files=parcel.named(paths)
        )
        with (
            locked(self._state, instance, operation=Verb.READ) as directory,
            parcel.packed(directory, manifest) as packed,
        ):
            self._judge(self._call(packed, manifest), manifest)
            return parcel.collected(packed, instance, wanted=manifest.files)

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Remove the directories of runs that were killed.

        What the command did on the instance then is not known here: the next delivery brings all
        files again, so they end consistent.
        """
        with locked(self._state, instance, operation="recover") as directory:
            parcel.shred_leftovers(directory, instance)
        return ()

    def _repeat(self, receipt: Receipt, verb: Verb) -> None:
        """Run a verb about a delivery that was made, without its contents."""
        manifest = Manifest(
            verb=verb,
            instance=receipt.instance,
            delivery=receipt.delivery,
            files=parcel.named(tuple(file.path for file in receipt.files)),
        )
        with locked(self._state, receipt.instance, operation=verb) as directory:
            self._judge(self._run(directory, manifest), manifest)

    def _undo(self, directory: Path, manifest: Manifest, error: AdapterError) -> None:
        if Verb.RESTORE not in self._verbs:
            return
        again = Manifest(
            verb=Verb.RESTORE,
            instance=manifest.instance,
            delivery=manifest.delivery,
            files=parcel.named(tuple(item.path for item in manifest.files)),
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
        manifest: Manifest,
        *,
        contents: tuple[bytes, ...] = (),
        keys: tuple[SecretBytes, ...] = (),
    ) -> Ended:
        with parcel.packed(directory, manifest, contents=contents) as packed:
            return self._call(packed, manifest, keys=keys)

    def _call(
        self, packed: Path, manifest: Manifest, *, keys: tuple[SecretBytes, ...] = ()
    ) -> Ended:
        """Run the command to its end; raise only when it cannot be started."""
        told = {"VERB": manifest.verb, "INSTANCE": manifest.instance, "DIRECTORY": str(packed)}
        try:
            return running.run(
                (*self._argv, *told.values()),
                environment=self._environment
                | {f"{_OWN_VARIABLES}{name}": value for name, value in told.items()},
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

    def _judge(self, ended: Ended, manifest: Manifest) -> None:
        """Raise for every end but a good one."""
        said = _last_words(ended.output)
        if ended.timed_out:
            raise TimedOut(
                f"the command `{self._argv[0]}` did not end within {self._timeout_seconds:g} s"
                f"{said}",
                system=f"instance `{manifest.instance}`",
                operation=manifest.verb,
                hint="raise the time limit, or see why the command hangs",
            )
        if ended.code != 0:
            raise rejected(
                f"the command `{self._argv[0]}` ended with {ended.code}{said}",
                instance=manifest.instance,
                operation=manifest.verb,
                hint="see what the command says; run it by hand with the same arguments",
            )


def _receipt(manifest: Manifest, ended: Ended) -> Receipt:
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
