"""What the engine needs to bring files to an instance, and to take them back."""

from __future__ import annotations

from typing import Protocol

import msgspec

from rollover.fleet.secret import SecretBytes


class File(msgspec.Struct, frozen=True, kw_only=True):
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

    def deliver(self, instance: str, files: tuple[File, ...]) -> Receipt:
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


class Recovery(Protocol):
    """Mends deliveries that were interrupted."""

    def recover(self, instance: str) -> tuple[Receipt, ...]:
        """Leave the files of every interrupted delivery wholly old or wholly new. Idempotent.

        Returns the receipts of complete deliveries that were neither confirmed nor restored yet,
        the oldest first: the caller, who observes the instance, decides about them.
        """
        ...
