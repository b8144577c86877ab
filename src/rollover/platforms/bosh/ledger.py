"""The book of what agents were seen with and what they were handed, kept in a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

import msgspec

from rollover import replacing
from rollover.errors import SpecError
from rollover.files import TooLarge, read_bounded
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.certificate import parse_der
from rollover.platforms.bosh.book import (
    VERSION,
    AgentState,
    Book,
    Issued,
    Sighting,
    states_of,
    with_connections,
    with_handout,
    with_settled,
)
from rollover.platforms.bosh.handout import Handout

FILE_LIMIT = 256 * 1024 * 1024
"""Octets; an agent takes about 300."""


class Ledger:
    """The book, in a private file of the state directory; several threads may share it.

    Every method raises `SpecError` when the file cannot be read, `OSError` when it cannot be
    written. Another process that writes meanwhile is waited for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._book: Book | None = None
        self._stamp: tuple[int, int] | None = None

    def book(self) -> Book:
        """Return what is in the file now."""
        with self._lock:
            stamp = self._stamped()
            if self._book is None or stamp != self._stamp:
                self._book, self._stamp = self._read(), stamp
            return self._book

    def handed_out(self, handout: Handout, *, at: datetime | None = None) -> None:
        """Note what the director hands out, as of now; the same again changes no history."""
        instant = at or handout.since or datetime.now(UTC)
        self._change(lambda book: with_handout(book, handout, at=instant))

    def handouts(self) -> tuple[Handout, ...]:
        """Return everything that was handed out, oldest first."""
        book = self.book()
        return tuple(
            Handout(
                signer=self.certificate(each.signer),
                bundle=tuple(self.certificate(one) for one in each.bundle),
                since=each.since,
                task=each.task,
            )
            for each in book.handouts
        )

    def certificate(self, fingerprint: Fingerprint) -> Certificate:
        """Return a CA that was handed out; KeyError when it never was."""
        return parse_der(self.book().certificates[fingerprint], place=str(self._path))

    def saw(
        self,
        seen: Mapping[str, Fingerprint],
        *,
        born: Mapping[str, datetime | None],
        trusted: Iterable[Fingerprint],
        at: datetime,
    ) -> None:
        """Note the certificates of the agents that are connected, and conclude what can be.

        `born`: a time that an agent's VM is certainly younger than, by our clock.
        """
        accepted = frozenset(trusted)

        def change(book: Book) -> Book:
            book = with_connections(book, seen, at=at)
            connected = {agent: born.get(agent) for agent in seen}
            return with_settled(book, trusted=accepted, connected=connected, at=at)

        self._change(change, durable=False)

    def issued(
        self, agent: str, certificate: Fingerprint, state: AgentState, *, at: datetime
    ) -> None:
        """Note a certificate that Rollover is about to send to an agent itself."""
        made = Issued(agent=agent, signer=state.signer, bundle=state.bundle, at=at)

        def change(book: Book) -> Book:
            others = {one: each for one, each in book.issued.items() if each.agent != agent}
            return msgspec.structs.replace(book, issued=others | {certificate: made})

        self._change(change)

    def states(
        self,
        agent: str,
        *,
        trusted: Iterable[Fingerprint],
        certificate: Fingerprint | None,
        born: datetime | None,
        at: datetime,
    ) -> tuple[AgentState, ...]:
        """Return what an agent can hold, likeliest first; see `states_of`."""
        return states_of(
            self.book(),
            agent,
            trusted=frozenset(trusted),
            certificate=certificate,
            born=born,
            at=at,
        )

    def sightings(self, agent: str) -> tuple[Sighting, ...]:
        """Return the certificates that an agent was seen with, the latest last."""
        return self.book().agents.get(agent, ())

    def _change(self, change: Callable[[Book], Book], *, durable: bool = True) -> None:
        with self._lock, self._alone():
            book = self.book()
            changed = change(book)
            if changed != book:
                content = msgspec.json.encode(changed)
                replacing.replace(self._path, content, mode=0o600, durable=durable)
                self._book, self._stamp = changed, self._stamped()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file of its own: the book is replaced, and a lock on it would go with the old one.
        lock = self._path.with_name(f"{self._path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _stamped(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        # With the inode: two writers within one tick of the file system's clock differ in that.
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> Book:
        try:
            content = read_bounded(self._path, limit=FILE_LIMIT)
        except FileNotFoundError:
            return Book()
        except TooLarge:
            raise self._damaged(f"it has more than {FILE_LIMIT} octets") from None
        try:
            book = msgspec.json.decode(content, type=Book)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error
        if book.version != VERSION:
            raise self._damaged(f"it has version {book.version}, this Rollover knows {VERSION}")
        return book

    def _damaged(self, what: str) -> SpecError:
        return SpecError(
            f"the ledger of agents cannot be read: {what}",
            place=str(self._path),
            hint="restore it from a backup; without it, agents count as unknown as long as the "
            "NATS server trusts several CAs",
        )
