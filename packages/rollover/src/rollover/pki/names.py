"""Whether a certificate's names cover the one that a dialer expects (RFC 6125 §6.4, as Go)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def covers(names: Iterable[str], expected: str) -> bool:
    """Return whether any of `names` covers the DNS name or IP address `expected`.

    DNS names compare without case and without the dot that ends an absolute name; `*` stands for
    exactly one whole left-most label. IP addresses compare by value, to IP entries only.
    """
    address = ip_address(expected)
    if address is not None:
        return any(ip_address(name) == address for name in names)
    return any(_dns_covers(name, expected) for name in names if ip_address(name) is None)


def ip_address(text: str) -> IpAddress | None:
    """Return the address that `text` is (brackets allowed), an IPv4-mapped one as IPv4, or None."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" not in text and not text[-1:].isdecimal():
        return None  # most names end here: parsing one to find that it is none is slow
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def labels(host: str) -> tuple[str, ...]:
    """Return the lower-case labels of a host name, the absolute form's last dot removed."""
    return tuple(host.lower().removesuffix(".").split("."))


def _dns_covers(pattern: str, host: str) -> bool:
    if not _valid_pattern(pattern) or not _valid_host(host):
        # Go falls back to plain equality for names that are none, such as `nats/client`.
        return bool(pattern) and pattern.lower() == host.lower()
    wanted, given = labels(host), tuple(pattern.lower().split("."))
    if len(wanted) != len(given):
        return False
    return given[1:] == wanted[1:] and given[0] in ("*", wanted[0])


def _valid_host(host: str) -> bool:
    return _valid_labels(host.removesuffix("."))


def _valid_pattern(pattern: str) -> bool:
    return _valid_labels(pattern.removeprefix("*."))


def _valid_labels(name: str) -> bool:
    return bool(name) and all(_valid_label(label) for label in name.split("."))


def _valid_label(label: str) -> bool:
    if not label or label.startswith("-"):
        return False
    return label.isascii() and all(letter.isalnum() or letter in "-_" for letter in label)
