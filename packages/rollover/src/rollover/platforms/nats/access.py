"""The ways to talk to one nats-server: its system account and its monitoring port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rollover.errors import AdapterError, Denied, EvidenceMissing, NotFound, PemError, SpecError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription, SystemAccount
from rollover.fleet.evidence import Identity
from rollover.fleet.names import Fingerprint
from rollover.pki.names import covers
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.instance_files import SYSTEM_STORE, client_port
from rollover.platforms.nats.ports import presentable
from rollover.probe import nats_client, system_account
from rollover.probe.identity import ClientIdentity, Login
from rollover.probe.monitoring import Monitor
from rollover.probe.nats_client import NatsConnection
from rollover.probe.server_views import ConnectionView, Varz
from rollover.probe.target import parse_address

ASK_TIMEOUT_SECONDS = 5.0
MOST_ATTEMPTS = 4
"""Identities that are tried one after another when a server turns one away."""
LARGEST_SECRET = 64 * 1024


class Account(NamedTuple):
    """How to log in to the system account."""

    login: Login | None
    own: ClientIdentity | None
    """The certificate that belongs to the account; None: any identity that is let in."""


def read_account(described: SystemAccount, *, base: Path) -> Account:
    """Read the files of a described system account; relative paths begin at `base`.

    Raises `SpecError` with the field when a file is missing or only half is described.
    """
    login = None
    if described.user is not None:
        if described.password_file is None:
            raise SpecError(
                "the user of the system account has no password",
                field="system.password_file",
                hint="write the password into a file of mode 0600 and name it there",
            )
        password = _text(base / described.password_file, "system.password_file").strip()
        login = Login(described.user, password.decode(errors="replace"))
    if described.certificate is None or described.key is None:
        return Account(login, None)
    chain = _text(base / described.certificate, "system.certificate")
    key = _text(base / described.key, "system.key")
    return Account(login, ClientIdentity.from_pem(chain, key, place=described.certificate))


def _text(path: Path, field: str) -> bytes:
    try:
        return read_start(path, size=LARGEST_SECRET)
    except OSError as error:
        raise SpecError(
            f"`{path}` cannot be read: {error.strerror}", field=field, hint="check the path"
        ) from error


class ServerAccess(NamedTuple):
    """One server, and what is needed to talk to it.

    `trust` are certificates that its own may be, or be issued from: the leaves in its files are
    pinned, so it is recognised also under a name that its leaf does not have. `issuers` are the
    CAs whose identities it should let in: those are tried first.
    """

    instance: InstanceDescription
    account: Account | None
    trust: tuple[Certificate, ...]
    identities: Sequence[Identity]
    issuers: frozenset[Fingerprint] = frozenset()

    @contextmanager
    def connection(self) -> Iterator[NatsConnection]:
        """Connect to the system account through the server's own client port.

        Raises an `AdapterError` that says why this is not possible.
        """
        port = client_port(self.instance)
        if self.account is None or port is None or port.address is None:
            what = "system account" if self.account is None else "client port with an address"
            raise NotFound(
                f"no {what} is described",
                system=f"nats-server `{self.instance.name}`",
                operation="connect",
                hint="describe `system` in the fleet file, and the `address` of the client port",
            )
        with self._connect(self.account, port, port.address) as connection:
            yield connection

    def _connect(self, account: Account, port: EndpointDescription, address: str) -> NatsConnection:
        refusal: Denied | None = None
        for identity in self._candidates(account, port):
            try:
                return nats_client.connect(
                    address,
                    timeout_seconds=ASK_TIMEOUT_SECONDS,
                    login=account.login,
                    identity=identity,
                    trust=write_certificates(self._anchors()),
                    server_name=self._expected_name(address),
                    handshake_first=port.handshake_first,
                )
            except Denied as error:
                # The first one is that of the identity which fits best.
                refusal = refusal or error
        raise refusal or NotFound("no way to connect", system=address, operation="connect")

    def _candidates(
        self, account: Account, port: EndpointDescription
    ) -> Iterable[ClientIdentity | None]:
        if account.own is not None:
            yield account.own
        if not port.verify:
            yield None
            return
        # Each one that is turned away is a line in the server's log.
        ordered = sorted(self.identities, key=lambda identity: identity.issuer not in self.issuers)
        for identity in ordered[:MOST_ATTEMPTS]:
            yield presentable(identity)

    def _anchors(self) -> tuple[Certificate, ...]:
        return tuple(dict.fromkeys(anchor for anchor in self.trust if anchor is not SYSTEM_STORE))

    def _expected_name(self, address: str) -> str:
        # We dial by address, and leaves may have DNS names only: the pin decides, not the name.
        host = parse_address(address).host
        leaves = [pinned for pinned in self.trust if not pinned.is_ca and pinned.names]
        if not leaves or any(covers(leaf.names, host) for leaf in leaves):
            return host
        return leaves[0].names[0]

    def monitor(self) -> Monitor | None:
        """Return the server's monitoring port, None when none is described."""
        if self.instance.monitor is None:
            return None
        anchors = self._anchors()
        return Monitor(
            self.instance.monitor,
            timeout_seconds=ASK_TIMEOUT_SECONDS,
            ca=write_certificates(anchors) if anchors else None,
        )

    def varz(self) -> Varz:
        """Return the server's own view, from its monitoring port or its system account."""
        monitor = self.monitor()
        if monitor is not None:
            return monitor.varz()
        with self.connection() as connection:
            server = connection.info.server_id
            return system_account.varz(connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS)

    def connections(self) -> tuple[ConnectionView, ...]:
        """Return the server's list of connections, without the one that asks.

        Raises `EvidenceMissing` when neither way is open.
        """
        try:
            monitor = self.monitor()
            return monitor.connections() if monitor is not None else self._asked_connections()
        except (AdapterError, PemError) as error:
            raise EvidenceMissing(
                f"the connections of `{self.instance.name}` cannot be listed: {error}",
                hint="describe its `monitor` address, or the system account under `system`",
            ) from error

    def _asked_connections(self) -> tuple[ConnectionView, ...]:
        with self.connection() as connection:
            server, own = connection.info.server_id, connection.info.client_id
            found = system_account.connections(
                connection, server, timeout_seconds=ASK_TIMEOUT_SECONDS
            )
        return tuple(view for view in found if view.cid != own)
