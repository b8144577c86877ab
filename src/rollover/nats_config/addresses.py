"""Addresses in a configuration: where a server listens, and the URLs that it dials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from urllib.parse import unquote, urlsplit

import msgspec

from rollover.nats_config.errors import NatsConfigError
from rollover.nats_config.fields import Located, Section
from rollover.nats_config.position import Place, Remark
from rollover.nats_config.tree import Field

DEFAULT_HOST = "0.0.0.0"  # noqa: S104 - what nats-server binds to when nothing is said
DEFAULT_CLIENT_PORT = 4222
DEFAULT_LEAF_PORT = 7422
_ANY_PORT = -1
_PORTS = range(1, 65536)


class Port(StrEnum):
    """What a port is for."""

    CLIENT = "client"
    CLUSTER = "cluster"
    GATEWAY = "gateway"
    LEAFNODES = "leafnodes"
    WEBSOCKET = "websocket"
    MQTT = "mqtt"
    HTTP = "http"
    HTTPS = "https"


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """An address that the server listens on."""

    port_kind: Port
    host: str
    port: int
    """0: the server picks a free one."""
    place: Place
    advertise: str = ""
    """The address that the server tells others instead, as written."""


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that the server dials, without its password."""

    scheme: str
    host: str
    port: int
    """0: none is written."""
    user: str
    place: Place


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Host and port as one section gives them; the port 0 where it is not set."""

    host: str
    port: int
    place: Place


def read_address(section: Section, *, listen: str = "listen") -> Address:
    """Return what `listen`, `host` and `port` of a section say together."""
    both = section.find(listen)
    host = section.text("host", "net")
    port = section.integer("port")
    address = split_listen(section, both) if both else None
    if port is not None:
        check_port(section.find("port"), port.value, section)
    if address is None:
        place = port.place if port else host.place if host else section.place
        return Address(host=host.value if host else "", port=port.value if port else 0, place=place)
    _remark_both(section, listen)
    return address


def _remark_both(section: Section, listen: str) -> None:
    other = section.find("port") or section.find("host", "net")
    if other is not None:
        section.remark(
            "same-field-twice",
            other,
            f"`{listen}` sets the same: nats-server takes one of them at random",
        )


def split_listen(section: Section, field: Field) -> Address:
    """Return the address of a `listen` field, a port or `host:port` (Go's net.SplitHostPort)."""
    value = field.node.value
    host = ""
    if isinstance(value, str):
        found = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^\[\]:]*)):([+-]?[0-9]+)", value)
        if found is None:
            raise section.wrong(field, "a port, or `host:port` (`[address]:port` for IPv6)")
        host, value = found.group(1) or found.group(2) or "", int(found.group(3))
    if isinstance(value, bool) or not isinstance(value, int):
        raise section.wrong(field, "a port, or `host:port`")
    check_port(field, value, section)
    return Address(host=host, port=value, place=field.place)


def check_port(field: Field | None, port: int, section: Section) -> None:
    """Raise NatsConfigError for a port that cannot exist; -1 asks for any, 0 for the default."""
    if field is not None and port not in _PORTS and port not in (_ANY_PORT, 0):
        raise section.wrong(
            field, "a port from 1 to 65535, or -1 for any", hint=f"`{port}` is no port"
        )


def listener(kind: Port, address: Address, *, host: str = "", advertise: str = "") -> Listener:
    """Make a listener; `host` is used where the address has none."""
    return Listener(
        port_kind=kind,
        host=address.host or host or DEFAULT_HOST,
        port=0 if address.port == _ANY_PORT else address.port,
        place=address.place,
        advertise=advertise,
    )


def read_urls(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URLs of a field that is an array of strings.

    A text that nats-server reads and could never dial is left out, with a remark.
    """
    return tuple(_dialable(section, names[0], section.strings(*names), default_port))


def read_url(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URL of a field that is a string, nothing when it is not set."""
    text = section.text(*names)
    return tuple(_dialable(section, names[0], (text,) if text else (), default_port))


def read_url_or_urls(section: Section, *names: str, default_port: int = 0) -> tuple[Url, ...]:
    """Return the URLs of a field that is a string or an array of strings."""
    field = section.find(*names)
    read = read_url if field and isinstance(field.node.value, str) else read_urls
    return read(section, *names, default_port=default_port)


def _dialable(
    section: Section, name: str, texts: Iterable[Located[str]], default_port: int
) -> Iterator[Url]:
    for text in texts:
        url = _url(text, default_port)
        if url is None:
            section.remarks.append(_no_url(f"{section.name}.{name}", text.place))
        else:
            yield url


def _no_url(path: str, place: Place) -> Remark:
    message = f"an entry of `{path}` is no URL with a host, and will never connect"
    return Remark(code="not-a-url", place=place, message=message)


def _url(text: Located[str], default_port: int) -> Url | None:
    try:
        parts = urlsplit(text.value.strip())
        port = parts.port
    except ValueError:
        raise NatsConfigError(
            "this is not a URL",
            place=str(text.place),
            hint="write `nats://host:port`; put `[` and `]` around an IPv6 address",
        ) from None
    if not parts.scheme or not parts.hostname:
        return None
    return Url(
        scheme=parts.scheme,
        host=parts.hostname,
        port=default_port if port is None else port,
        user=unquote(parts.username or ""),
        place=text.place,
    )
