"""What a certificate may be used for, by the part that its owner plays in a NATS fleet."""

from __future__ import annotations

from types import MappingProxyType

import msgspec

SERVER_AUTH = "server_auth"
CLIENT_AUTH = "client_auth"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Usages of one kind of certificate (RFC 5280 §4.2.1.3, §4.2.1.12)."""

    name: str
    key_usages: tuple[str, ...] = ("digital_signature",)
    rsa_key_usages: tuple[str, ...] = ()
    """Set besides when the key is RSA: what TLS 1.2 key transport needs."""
    extended_key_usages: tuple[str, ...] = ()
    """Empty: the extension is left out, which allows every purpose."""
    is_ca: bool = False


_ENCIPHER = ("key_encipherment",)
_BOTH = (SERVER_AUTH, CLIENT_AUTH)

SERVER = Profile(name="server", rsa_key_usages=_ENCIPHER, extended_key_usages=(SERVER_AUTH,))
"""Client, WebSocket and MQTT ports of a nats-server."""

ROUTE = Profile(name="route", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Cluster port: every server dials and accepts with the same certificate."""

GATEWAY = Profile(name="gateway", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Gateway port: with one usage missing, a supercluster becomes one-way."""

LEAF_NODE = Profile(name="leaf-node", rsa_key_usages=_ENCIPHER, extended_key_usages=_BOTH)
"""Leaf node listener and remote."""

CLIENT = Profile(name="client", extended_key_usages=(CLIENT_AUTH,))

MONITORING = Profile(
    name="monitoring", rsa_key_usages=_ENCIPHER, extended_key_usages=(SERVER_AUTH,)
)
"""The HTTPS monitoring port."""

CA = Profile(
    name="ca",
    key_usages=("key_cert_sign", "crl_sign"),
    is_ca=True,
)

PROFILES = MappingProxyType(
    {
        profile.name: profile
        for profile in (SERVER, ROUTE, GATEWAY, LEAF_NODE, CLIENT, MONITORING, CA)
    }
)
"""Every profile by its name."""
