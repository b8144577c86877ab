"""Puts a CA into the trust stores of this machine and takes it out, by the stores' own tools."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollover import files
from rollover.certificates.issue_for_role import PUBLIC_FILE
from rollover.delivery.bounded_command import run
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import short
from rollover.pki.pem import write_certificates

TOOL_SECONDS = 60.0
_SHOWN = 300
_OURS = "ROLLOVER_"


class TrustOutcome(StrEnum):
    """What became of one store."""

    INSTALLED = "installed"
    REMOVED = "removed"
    ABSENT = "absent"
    """It was not there, so there was nothing to take out."""
    FAILED = "failed"


class StoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to one store, or why it was not."""

    store: str
    outcome: TrustOutcome
    detail: str = ""


class TrustingMachine(NamedTuple):
    """Where the stores of a machine and its tools are looked for."""

    root: Path
    home: Path
    environment: Mapping[str, str]

    def tool(self, name: str) -> str | None:
        """Return the path of a tool on PATH, None when it is not there."""
        # `sbin` is not on the PATH of people, but it is where these tools are.
        places = [*self.environment.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]
        return shutil.which(name, path=os.pathsep.join(places))


def install(certificate: Certificate, machine: TrustingMachine) -> tuple[StoreResult, ...]:
    """Put a CA into every store that is found here; `SpecError` when there is none."""
    return tuple(store.install(certificate) for store in _stores(machine))


def uninstall(certificate: Certificate, machine: TrustingMachine) -> tuple[StoreResult, ...]:
    """Take a CA out of every store that is found here; `SpecError` when there is none."""
    return tuple(store.uninstall(certificate) for store in _stores(machine))


class _Anchors(NamedTuple):
    """A directory of anchors from which a tool makes the system's bundle."""

    name: str
    directory: Path
    suffix: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    environment: Mapping[str, str]

    def install(self, certificate: Certificate) -> StoreResult:
        pem = write_certificates((certificate,))
        try:
            files.atomic_write(self._file(certificate), pem, mode=PUBLIC_FILE, durable=True)
        except OSError as error:
            return _failed(self.name, _refused(self.directory, error))
        return _ended(self.name, self.added, self.environment, done=TrustOutcome.INSTALLED)

    def uninstall(self, certificate: Certificate) -> StoreResult:
        try:
            self._file(certificate).unlink()
        except FileNotFoundError:
            return StoreResult(store=self.name, outcome=TrustOutcome.ABSENT)
        except OSError as error:
            return _failed(self.name, _refused(self.directory, error))
        return _ended(self.name, self.removed, self.environment, done=TrustOutcome.REMOVED)

    def _file(self, certificate: Certificate) -> Path:
        return self.directory / f"{_name(certificate)}{self.suffix}"


class _Nss(NamedTuple):
    """One NSS database: that of Chromium on Linux, or of a Firefox profile."""

    tool: str
    directory: Path
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"NSS {self.directory}"

    def install(self, certificate: Certificate) -> StoreResult:
        # Else `-A` adds a second one of this nickname.
        self._run("-D", certificate, done=TrustOutcome.REMOVED)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(write_certificates((certificate,)))
            file.flush()
            # `C,,`: trusted to issue server certificates, not for mail and code.
            arguments = ("-t", "C,,", "-a", "-i", file.name)
            return self._run("-A", certificate, *arguments, done=TrustOutcome.INSTALLED)

    def uninstall(self, certificate: Certificate) -> StoreResult:
        if self._run("-L", certificate, done=TrustOutcome.INSTALLED).outcome is TrustOutcome.FAILED:
            return StoreResult(store=self.name, outcome=TrustOutcome.ABSENT)
        return self._run("-D", certificate, done=TrustOutcome.REMOVED)

    def _run(
        self, verb: str, certificate: Certificate, *arguments: str, done: TrustOutcome
    ) -> StoreResult:
        where = ("-d", f"sql:{self.directory}", "-n", _name(certificate))
        return _ended(self.name, (self.tool, verb, *where, *arguments), self.environment, done=done)


def _stores(machine: TrustingMachine) -> list[_Anchors | _Nss]:
    found: list[_Anchors | _Nss] = []
    found.extend(_system_stores(machine))
    found.extend(_nss_stores(machine))
    if not found:
        raise SpecError(
            "no trust store of this machine is known",
            hint="`update-ca-certificates` (Debian), `update-ca-trust` (Fedora) or `certutil` "
            "with an NSS database must be there; elsewhere add `ca.pem` by hand",
        )
    return found


def _system_stores(machine: TrustingMachine) -> Iterator[_Anchors]:
    for name, place, suffix, command in (
        ("Debian", "usr/local/share/ca-certificates", ".crt", ("update-ca-certificates",)),
        ("Fedora", "etc/pki/ca-trust/source/anchors", ".pem", ("update-ca-trust", "extract")),
    ):
        tool, directory = machine.tool(command[0]), machine.root / place
        if tool is None or not directory.is_dir():
            continue
        added = (tool, *command[1:])
        # Only from scratch does Debian's tool forget what is gone.
        removed = (*added, "--fresh") if name == "Debian" else added
        yield _Anchors(name, directory, suffix, added, removed, machine.environment)


def _nss_stores(machine: TrustingMachine) -> Iterator[_Nss]:
    tool = machine.tool("certutil")
    if tool is None:
        return
    home = machine.home
    profiles = [
        home / ".pki/nssdb",
        *sorted(home.glob(".mozilla/firefox/*")),
        *sorted(home.glob("snap/firefox/common/.mozilla/firefox/*")),
    ]
    for directory in profiles:
        if (directory / "cert9.db").is_file():
            yield _Nss(tool, directory, machine.environment)


def _ended(
    store: str,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    done: TrustOutcome,
) -> StoreResult:
    # The tools need nothing of ours, the sealing key least of all.
    theirs = {name: value for name, value in environment.items() if not name.startswith(_OURS)}
    try:
        ended = run(argv, environment=theirs, timeout_seconds=TOOL_SECONDS)
    except OSError as error:
        return _failed(store, f"`{argv[0]}` cannot be started: {error.strerror}")
    if ended.timed_out:
        return _failed(store, f"`{argv[0]}` did not end within {TOOL_SECONDS:.0f} s")
    if ended.code:
        said = " ".join(ended.output.split())[:_SHOWN]
        return _failed(store, f"`{argv[0]}` ended with {ended.code}: {said}")
    return StoreResult(store=store, outcome=done)


def _name(certificate: Certificate) -> str:
    return f"rollover-ca-{short(certificate.fingerprint)}"


def _failed(store: str, detail: str) -> StoreResult:
    return StoreResult(store=store, outcome=TrustOutcome.FAILED, detail=detail)


def _refused(directory: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"`{directory}`: {reason}; run it with sudo and name the CA with `--ca-dir`"
