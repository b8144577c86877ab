"""What the engine needs of the world outside: protocols, each with its contract.

A credential store, a journal, leases, the delivery of files, platforms. What only some platforms
do besides (findings, clean-up, former keys) is asked for with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from rollover.fleet.certificate import Certificate, CertificateVersion, FlagChange, Flags
from rollover.fleet.description import FleetDescription
from rollover.fleet.evidence import Evidence, Holdout, Identity, Observation, Order, Result
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.journal import Entry, EntryKind, Head, Plain, RotationSummary
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.rules.rule import Finding

# What the engine needs of a credential store: versions of certificates, their flags and keys.


NAMES_PAGE = 1000
"""Names that one call returns unless told otherwise."""


class Addition(msgspec.Struct, frozen=True, kw_only=True):
    """A version that is to be added: what `CredentialWriter.add` takes."""

    name: str
    chain: bytes
    key: SecretBytes | None
    flags: Flags
    at: datetime


class CredentialStoreReader(Protocol):
    """Reads certificate versions. Safe from several threads; failures raise `StoreError`."""

    def names(
        self, prefix: str = "/", *, after: str = "", limit: int = NAMES_PAGE
    ) -> tuple[str, ...]:
        """Return the names that begin with `prefix`, sorted, the ones behind `after` only."""
        ...

    def versions(self, name: str) -> tuple[CertificateVersion, ...]:
        """Return all versions of a name, the newest first; empty when there is no such name."""
        ...

    def version(self, name: str, number: int) -> CertificateVersion:
        """Return one version; `StoreError` when there is none."""
        ...

    def private_key(self, name: str, number: int) -> SecretBytes:
        """Return the PEM private key of one version.

        Raises `StoreError` when the version is not there or was stored without a key, when the
        sealing key is not known, and when what is stored was changed or moved.
        """
        ...


class CredentialStoreWriter(Protocol):
    """Changes certificate versions; each call is all or nothing and durable when it returns."""

    def add(
        self,
        name: str,
        chain: bytes,
        *,
        key: SecretBytes | None,
        flags: Flags,
        at: datetime,
    ) -> CertificateVersion:
        """Add a version with the next number. Not idempotent: each call adds one.

        `chain` is PEM, the certificate first, then its intermediates; `key` is PEM. Raises
        `StoreError` when the chain or key cannot be read, when they do not belong together, and
        when the flags break a rule (a second transitional version, signing on a leaf).
        """
        ...

    def add_many(self, additions: Sequence[Addition]) -> tuple[CertificateVersion, ...]:
        """Add versions in their order, all of them or none: one durable change, not many.

        Raises what `add` raises for the first that cannot be added.
        """
        ...

    def set_flags(self, name: str, changes: tuple[FlagChange, ...]) -> None:
        """Change the flags of some versions of a name together, or of none.

        Compare and swap: raises `StaleError` when a version has other flags than expected, and
        `StoreError` when there is no such version or the result breaks a rule. So a flag moves
        from one version to another in one call, without a moment in between.
        """
        ...

    def forget(self, name: str, number: int) -> None:
        """Remove a version and its key; idempotent. `StoreError` when it is the signing one."""
        ...


class CredentialStore(CredentialStoreReader, CredentialStoreWriter, Protocol):
    """The whole credential store."""


# What the engine needs of a journal, wherever it is kept.


JOURNAL_PAGE = 500
"""Entries or rotations that one call returns unless told otherwise."""


class Journal(Protocol):
    """An append-only record of evidence and decisions; never the truth about the fleet.

    Several threads and several processes may use one journal at once. Every method raises
    `JournalError` when the place where it is kept fails, is damaged or comes from a newer version.
    """

    def append(
        self,
        rotation: str,
        kind: EntryKind,
        *,
        at: datetime,
        subject: str = "",
        data: Mapping[str, Plain] | None = None,
    ) -> Entry:
        """Add an entry behind the last one and return it, once it would survive a power cut.

        Appends are serialised: sequences have no gaps, and each entry carries the hash of the one
        before, whose own hash is checked first. Not idempotent: each call adds an entry. Raises
        `JournalError` when the last entry was changed, and when the data is not plain JSON, is
        larger than 1 MiB or holds a private key; nothing is added then.
        """
        ...

    def entries(
        self, *, rotation: str | None = None, after: int = 0, limit: int = JOURNAL_PAGE
    ) -> tuple[Entry, ...]:
        """Return entries with a sequence above `after` in order, of one rotation or of all."""
        ...

    def rotations(
        self, *, before: int | None = None, limit: int = JOURNAL_PAGE
    ) -> tuple[RotationSummary, ...]:
        """Return rotations, the last begun first; `before`: the `first_sequence` to go on from."""
        ...

    def verify(self) -> Head:
        """Walk the whole chain and return its head.

        Raises `JournalError` that names the first entry which was changed, removed or put in.
        Entries cut off at the end leave a valid chain: compare the head with one noted earlier.
        """
        ...


def every_entry(journal: Journal, rotation: str) -> Iterator[Entry]:
    """Yield all entries of one rotation in order, page by page."""
    after = 0
    while entries := journal.entries(rotation=rotation, after=after):
        yield from entries
        after = entries[-1].sequence


# What the engine needs so that only one rotation of an authority runs at a time.


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease: one task of one process.

    `boot` tells apart boots of a machine and containers on it, `started` processes that had the
    same number; both are empty where the system does not say. `task` differs for each holder that
    one process makes, so two threads never hold one lease between them.
    """

    host: str
    pid: int
    boot: str = ""
    started: str = ""
    task: str = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act on `name` until `expires_at`.

    `token` is the fencing token: it grows with every lease of the name, so whoever is written to
    can refuse a holder that was overtaken while it slept.
    """

    name: str
    holder: Holder
    token: int
    acquired_at: datetime
    expires_at: datetime


class Leases(Protocol):
    """Leases by name, one holder each. Safe to use from several threads and processes.

    Times are aware and come from the caller; holders on several machines need clocks that agree
    to well within the duration of a lease (an implementation on a database server may use that
    server's clock instead). Storage that fails raises `StoreError`.
    """

    def acquire(self, name: str, holder: Holder, *, seconds: float, now: datetime) -> Lease:
        """Take the lease, or raise `StaleError` which names who holds it, since when, until when.

        Free are: a name that nobody holds, a lease that has run out, and one whose holder is known
        to be dead. Idempotent for one holder: who holds the lease already gets it again with the
        same token and the new expiry. Any other success has a greater token than all before.
        """
        ...

    def renew(self, lease: Lease, *, seconds: float, now: datetime) -> Lease:
        """Return the lease with a new expiry, `seconds` from `now`.

        Compare and swap on the token: raises `StaleError` when the lease was released or taken
        over. A lease that ran out but that nobody took yet can still be renewed.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back. Idempotent; does nothing when somebody else holds it by now."""
        ...

    def current(self, name: str) -> Lease | None:
        """Return the lease of the name, also when it has run out; None when nobody holds it."""
        ...


# What the engine needs to bring files to an instance, and to take them back.


class DeliveredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file to deliver: where it goes on the instance, and what is in it.

    `mode` None means: 0600 for secret content; otherwise the mode of the file that it replaces,
    0644 when there is none. Secret content never gets more than 0640.
    """

    path: str
    content: bytes | SecretBytes
    mode: int | None = None

    @property
    def secret(self) -> bool:
        """Whether the content is a private key."""
        return isinstance(self.content, SecretBytes)

    def plain(self) -> bytes:
        """Return the content as it is written."""
        return self.content.reveal() if isinstance(self.content, SecretBytes) else self.content


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file. `before` and `after` are SHA-256 of the contents, hexadecimal.

    `before` is empty when there was no such file or when the form of delivery cannot know.
    """

    path: str
    after: str
    before: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of one delivery, and the handle to confirm it or to take it back. Plain data."""

    instance: str
    delivery: str
    files: tuple[Delivered, ...]
    output: str = ""
    """What an operator's command said, bounded and without private keys."""


class Delivery(Protocol):
    """Brings files to instances. Blocking; several instances may be served from several threads.

    Failures are `Denied` (permissions, a read-only disk), `Rejected` (a full disk, a missing
    directory, an operator's command that says no), `TimedOut`, `Unreachable` or `NotFound`; each
    names the instance and the path.
    """

    def deliver(self, instance: str, files: tuple[DeliveredFile, ...]) -> Receipt:
        """Put all files in place, or leave all as they were and raise.

        What is replaced is kept until `confirm`. Idempotent: the same files again, while a
        delivery of them waits to be confirmed, give its receipt. First mends what a delivery to
        this instance that was killed left behind.
        """
        ...

    def restore(self, receipt: Receipt) -> None:
        """Put back what the delivery replaced. Idempotent; does nothing once it is confirmed."""
        ...

    def confirm(self, receipt: Receipt) -> None:
        """Drop the kept copies; the delivery can no longer be taken back. Idempotent."""
        ...

    def read(self, instance: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Return what the instance has at these paths now.

        Meant for public files (certificates, bundles, configuration): what it returns is plain
        bytes. Raises `NotFound` for a missing file, `Rejected` when this form cannot read back or
        a file is larger than 1 MiB.
        """
        ...


class DeliveryRecovery(Protocol):
    """Mends deliveries that were interrupted."""

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Leave the files of every interrupted delivery wholly old or wholly new. Idempotent.

        Returns the receipts of complete deliveries that were neither confirmed nor restored yet,
        the oldest first: the caller, who observes the instance, decides about them.
        """
        ...


# What the engine needs of a platform: observe, roll out, prove. It names no files, no signals.


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout moves: so many canaries first, alone; then a window that slides."""

    canaries: int = 1
    max_in_flight: int = 1


class Platform(Protocol):
    """One group of instances on one kind of system. Each group has its own.

    Every call may be repeated. Instances are named as in the fleet description. Failures of one
    instance are results, not exceptions; only what concerns the whole group raises
    `AdapterError`.
    """

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield one observation for each instance, as they come in: what it *uses* now.

        An instance that does not answer is yielded as unreachable, with what is still known.
        Changes nothing.
        """
        ...

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Bring new material to instances; yield a result for each that was tried.

        An instance counts as applied once it was confirmed by observation: what it uses is what
        was ordered. One that refuses keeps, or gets back, what it had. After a failure no further
        instance is begun, and none once `stopping()` is true; those begun are finished.
        """
        ...

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Dial every endpoint afresh with each identity; yield what each of them answered.

        Evidence holds when an accepted identity was let in, or a refused one was not. Endpoints
        that demand no certificate yield what they present only.
        """
        ...

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Yield the live connections whose peer still presents a certificate of a retired CA.

        Empty means drained. Raises `EvidenceMissing` when the connections cannot be listed.
        """
        ...

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Make peers reconnect, as gently as each allows; yield how each was asked."""
        ...


class Recognition(Protocol):
    """What a platform is told of the authorities. Asked anew whenever it is needed."""

    def of_authorities(self) -> Sequence[Certificate]:
        """Return the CA certificates by which a bundle is recognised that no file holds."""
        ...

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return which CA issued a certificate that a peer presents; None: unknown."""
        ...

    def all_identities(self) -> Sequence[Identity]:
        """Return the chains that Rollover presents itself."""
        ...


class Platforms(Protocol):
    """The platforms of a fleet, one for each group."""

    def __call__(self, group: str) -> Platform:
        """Return the platform of a group by the group's name: the same one each time."""
        ...

    def completed(self, described: FleetDescription) -> FleetDescription:
        """Return a fleet file's fleet as it is now; platforms work on that from now on.

        Only a director knows its instances, and where a server's files lie its configuration
        knows best. A fleet that leaves nothing open is returned as it is.
        """
        ...


# What some platforms do besides: findings, tidying, keys, settings. Asked with `isinstance`.


class Moment(StrEnum):
    """When a platform is asked for what it finds."""

    CHECK = "check"
    """`rollover check`: nothing is going to be changed."""
    BEFORE = "before"
    """A rotation begins or is gone on with: also all that would be told in between."""
    BETWEEN = "between"
    """The next rollout of any group begins, and it is not the first of this run."""
    AFTER = "after"
    """The goal is reached and everything is tidied up."""


@runtime_checkable
class ReportsFindings(Protocol):
    """A platform that knows hazards which certificates do not show."""

    def findings(self, moment: Moment) -> Iterator[Finding]:
        """Yield what stands in the way (`error`), cannot be seen (`evidence-missing`), or is told.

        Changes nothing. Every rule is in the catalogue; an operator can answer for each with
        `--override RULE=REASON`.
        """
        ...


@runtime_checkable
class Cleanup(Protocol):
    """A platform that leaves things behind which are of no use once the goal is reached."""

    def clean_up(self) -> Iterator[Evidence]:
        """Put everything in its final place; yield what was done. Done again it does nothing.

        A failure leaves what was there before.
        """
        ...


@runtime_checkable
class ReadsPrivateKeys(Protocol):
    """A platform whose instances have their private keys where this process can read them."""

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys that lie with the endpoints, as far as they can be read; PEM.

        Changes nothing. None where reading them would take a key off the machine that it is on.
        """
        ...


@runtime_checkable
class NamesFilesInSettings(Protocol):
    """A platform whose instances have settings in which the names of their files stand."""

    def renamed_by_hand(self) -> str:
        """Return how a person names another file there, for a hint: where Rollover cannot."""
        ...
