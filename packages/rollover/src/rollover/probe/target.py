"""What to dial: the address of a port, what kind of port it is, and how to shake hands with it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rollover.errors import SpecError

HIGHEST_PORT = 65535


class Port(StrEnum):
    """The kinds of port that differ in what comes before and after the TLS handshake."""

    CLIENT = "client"
    ROUTE = "route"
    GATEWAY = "gateway"
    LEAFNODE = "leafnode"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"
    MONITORING = "monitoring"
    PLAIN = "plain"
    """TLS at once, and nothing known of what is spoken inside."""


class Versions(StrEnum):
    """The TLS versions that a dialer offers."""

    ANY = "any"
    """TLS 1.2 and 1.3."""
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


class Address(msgspec.Struct, frozen=True):
    """A host name or IP address, and a port number."""

    host: str
    number: int


def parse_address(text: str) -> Address:
    """Read `host:port` or `[IPv6]:port`; raise `SpecError` for anything else."""
    host, colon, digits = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = host != text.rpartition(":")[0]
    sound = bool(colon and host) and digits.isascii() and digits.isdigit()
    if not sound or (":" in host and not bracketed) or not 0 < int(digits) <= HIGHEST_PORT:
        raise SpecError(
            f"`{text}` is not an address",
            hint="write `host:port`, or `[address]:port` for IPv6, with a port from 1 to 65535",
        )
    return Address(host, int(digits))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One port to dial.

    `server_name` goes into the server name indication; empty sends none (an IP address is never
    sent, RFC 6066 §3). `handshake_first` is for client and leaf node ports which start TLS before
    their INFO. What the port serves is always taken: `rollover.pki` judges it afterwards.
    Raises `SpecError` for an address that is none, or a server name outside ASCII (RFC 6066 §3).
    """

    address: str
    port: Port
    server_name: str = ""
    handshake_first: bool = False
    versions: Versions = Versions.ANY

    def __post_init__(self) -> None:
        parse_address(self.address)
        if not self.server_name.isascii():
            raise SpecError(
                f"the server name `{self.server_name}` is not ASCII",
                hint="write the name in its encoded form, `xn--…`",
            )

    @property
    def greets_in_clear(self) -> bool:
        """Whether the port sends an INFO line before TLS starts."""
        return self.port in {Port.CLIENT, Port.LEAFNODE} and not self.handshake_first

    @property
    def greets_inside(self) -> bool:
        """Whether the port sends an INFO line of its own accord once TLS stands."""
        return self.port in {Port.ROUTE, Port.GATEWAY} or self.handshake_first
