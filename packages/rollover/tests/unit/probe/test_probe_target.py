"""Addresses and targets: what can be dialled, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from rollover.errors import SpecError
from rollover.probe.target import Address, Port, Target, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4222", Address("127.0.0.1", 4222)),
        ("nats.example:1", Address("nats.example", 1)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    """Host names, IPv4 and bracketed IPv6 addresses are split from their ports."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":1", "host", "host:", "host:x", "host:0", "host:65536", "::1:4222", "host:-1", "host:٣"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Anything without a host and a port from 1 to 65535 is refused, and quoted."""
    with pytest.raises(SpecError, match="is not an address") as caught:
        Target(address=text, port=Port.PLAIN)
    assert f"`{text}`" in caught.value.message


def test_server_names_are_ascii() -> None:
    """A server name that TLS could not carry is refused when the target is made."""
    with pytest.raises(SpecError, match="not ASCII"):
        Target(address="h:1", port=Port.PLAIN, server_name="bücher.example")


@pytest.mark.parametrize(
    ("port", "handshake_first", "in_clear", "inside"),
    [
        (Port.CLIENT, False, True, False),
        (Port.CLIENT, True, False, True),
        (Port.LEAFNODE, False, True, False),
        (Port.LEAFNODE, True, False, True),
        (Port.ROUTE, False, False, True),
        (Port.GATEWAY, False, False, True),
        (Port.WEBSOCKET, False, False, False),
        (Port.PLAIN, False, False, False),
    ],
)
def test_where_the_info_line_comes(
    *, port: Port, handshake_first: bool, in_clear: bool, inside: bool
) -> None:
    """INFO comes before TLS on client and leaf node ports, inside it on route and gateway ports."""
    target = Target(address="h:1", port=port, handshake_first=handshake_first)
    assert (target.greets_in_clear, target.greets_inside) == (in_clear, inside)
