"""The live connections of all servers by the names of their peers, looked up at most so often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from time import monotonic
from typing import NamedTuple

from rollover.fleet.names import InstanceName
from rollover.probe.views import ConnectionView

MAX_AGE_SECONDS = 0.2
"""Many clients are confirmed at once: they share one listing, not one each."""


class Connected(NamedTuple):
    """One connection, and the server that holds it."""

    server: InstanceName
    view: ConnectionView

    @property
    def leaf(self) -> str:
        """The fingerprint of the certificate that the peer presented, empty without one."""
        certificates = self.view.tls_peer_certs
        return certificates[0].cert_sha256 if certificates else ""

    @property
    def key(self) -> tuple[InstanceName, int]:
        """What tells it from every other connection."""
        return self.server, self.view.cid


Listing = Callable[[], Iterable[tuple[InstanceName, ConnectionView]]]


class Roster:
    """A listing of connections that several threads share while it is fresh."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._lock = Lock()
        self._fetched_at = float("-inf")
        self._by_name: Mapping[str, tuple[Connected, ...]] = {}

    def of(self, name: str) -> tuple[Connected, ...]:
        """Return the connections of that name; `EvidenceMissing` when they cannot be listed."""
        # Noted before the lock: who waited for a listing may use it, and need not fetch another.
        asked = monotonic()
        with self._lock:
            if asked - self._fetched_at > MAX_AGE_SECONDS:
                # Begun before it is fetched: what it shows is never older than it claims.
                self._fetched_at, self._by_name = monotonic(), self._fetch()
            return self._by_name.get(name, ())

    def _fetch(self) -> Mapping[str, tuple[Connected, ...]]:
        found: dict[str, list[Connected]] = {}
        for server, view in self._listing():
            found.setdefault(view.name, []).append(Connected(server, view))
        return {name: tuple(views) for name, views in found.items()}
