"""Tells the program and the rotator what happens to a connection."""

from __future__ import annotations

import os
from pathlib import Path

from rollover.clients.errors import StatusFileError
from rollover.clients.events import EventKind, OnEvent, now
from rollover.clients.link import Link
from rollover.clients.rotation import Rotation
from rollover.clients.status_file import ConnectionStatus, write_status
from rollover.clients.subscription import Subscription


class Reporter:
    """Hears everything that links, subscriptions and the rotation of one connection have to say."""

    def __init__(self, name: str, *, status_file: Path | None, on_event: OnEvent) -> None:
        self._name = name
        self._status_file = status_file
        self._on_event = on_event
        self._duplicates = 0
        self._rotation: Rotation | None = None
        self._leaving = False

    def attend(self, rotation: Rotation) -> None:
        """Report on `rotation`, which has just connected; what came before was its own affair."""
        self._rotation = rotation
        self.write_status()

    def leave(self) -> None:
        """Say nothing more about links: the program itself is closing them."""
        self._leaving = True

    def status(self, rotation: Rotation) -> ConnectionStatus:
        """Return what a new handshake presents and trusts, and how the connection stands."""
        return ConnectionStatus(
            pid=os.getpid(),
            name=self._name,
            loaded_at=rotation.material.loaded_at,
            certificate_sha256=rotation.material.leaf,
            ca_sha256=rotation.material.authorities,
            connected=rotation.link.connected,
            connected_url=rotation.link.url,
            connected_server_id=rotation.link.server_id,
            cid=rotation.link.cid,
            swaps=rotation.swaps,
            retiring=len(rotation.retiring),
            duplicates=self._duplicates,
            error=rotation.error,
        )

    def write_status(self) -> None:
        """Write the status file, if there is one; a disk that is full is reported, not fatal."""
        if self._status_file is None or self._rotation is None:
            return
        try:
            write_status(self._status_file, self.status(self._rotation))
        except StatusFileError as error:
            self.failed(error)

    # What a rotation tells.

    def happened(self, kind: EventKind, detail: str = "") -> None:
        """Tell the program, and the rotator through the status file."""
        self.write_status()
        self._on_event(now(kind, detail))

    # What links tell. Only the one in use matters: the others are meant to go.

    def lost(self, link: Link) -> None:
        """Tell that the connection in use broke."""
        if self._in_use(link):
            self.happened(EventKind.DISCONNECTED)

    def regained(self, link: Link) -> None:
        """Tell that the connection in use is back."""
        if self._in_use(link):
            self.happened(EventKind.RECONNECTED, link.url)

    def ended(self, link: Link) -> None:
        """Ask for another connection when nats-py has given this one up."""
        if self._in_use(link) and self._rotation is not None:
            self._rotation.ask()

    def asked_to_leave(self, link: Link) -> None:
        """Ask for another connection when the server wants this one to go."""
        if self._rotation is not None and link not in self._rotation.retiring:
            self.happened(EventKind.LAME_DUCK, link.url)
            self._rotation.ask()

    def failed(self, error: Exception) -> None:
        """Tell the program about an error that ends nothing."""
        self._on_event(now(EventKind.ERROR, str(error) or type(error).__name__))

    def _in_use(self, link: Link) -> bool:
        mine = self._rotation is not None and link is self._rotation.link
        return mine and not self._leaving

    # What subscriptions tell.

    def count_duplicate(self) -> None:
        """Count a message that two connections delivered."""
        self._duplicates += 1

    def forget(self, subscription: Subscription) -> None:
        """Stop moving a subscription that has ended."""
        if self._rotation is not None:
            self._rotation.subscriptions.discard(subscription)
