"""Reads PEM exactly as Go's encoding/pem does, quirks included, to know what a Go peer loads.

A port of the rules of `pem.Decode` and `CertPool.AppendCertsFromPEM`: no error is ever reported
there; what does not fit is skipped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import NamedTuple

_BEGIN = b"-----BEGIN "
_END_LINE = b"\n-----END "
_DASHES = b"-----"
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


class GoBlock(NamedTuple):
    """A block that Go finds."""

    label: bytes
    headers: bool
    content: bytes


def certificates(data: bytes) -> Iterator[bytes]:
    """Yield the DER of the blocks which AppendCertsFromPEM would try to parse."""
    for block in blocks(data):
        if block.label == b"CERTIFICATE" and not block.headers:
            yield block.content


def blocks(data: bytes) -> Iterator[GoBlock]:
    """Yield the blocks that repeated calls of `pem.Decode` return."""
    position = 0
    while True:
        end = data.find(_END_LINE, position)
        if end < 0:
            return
        found, position = _decode(data, position, end)
        if found is not None:
            yield found


def _decode(data: bytes, position: int, end: int) -> tuple[GoBlock | None, int]:
    """Return the block that ends at `end`, and from where to go on."""
    trailer = end + len(_END_LINE)
    begin = data.rfind(_BEGIN, position, end)
    if begin < 0 or (begin > position and data[begin - 1] != ord("\n")):
        return None, trailer
    label_line, body = _line(data, begin + len(_BEGIN))
    if not label_line.endswith(_DASHES):
        return None, trailer
    label = label_line.removesuffix(_DASHES)
    content_start = _after_headers(data, body)
    headers = content_start > body
    if (headers and content_start > end) or not _end_line_fits(data, trailer, label):
        return None, trailer
    content = _base64(data[content_start:end]) if content_start < end else b""
    if content is None:
        return None, trailer
    return GoBlock(label, headers, content), _line(data, trailer)[1] if content else trailer


def _after_headers(data: bytes, position: int) -> int:
    while position < len(data):
        line, following = _line(data, position)
        if b":" not in line:
            break
        position = following
    return position


def _end_line_fits(data: bytes, trailer: int, label: bytes) -> bool:
    wanted = label + _DASHES
    return (
        data[trailer : trailer + len(wanted)] == wanted
        and _line(data, trailer + len(wanted))[0] == b""
    )


def _line(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the line at `position` without what ends it, and where the next one begins."""
    stop = data.find(b"\n", position)
    if stop < 0:
        return data[position:].rstrip(b" \t\r\n"), len(data)
    line = data[position:stop].removesuffix(b"\r")
    return line.rstrip(b" \t"), stop + 1


def _base64(body: bytes) -> bytes | None:
    encoded = body.translate(None, b" \t\r\n")
    if not _ALPHABET.issuperset(encoded):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
