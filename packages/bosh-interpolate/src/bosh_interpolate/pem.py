"""PEM as `bosh` reads and writes it: Go's `pem.Decode`, quirks included, and RSA keys as PKCS#1.

What `pem.Decode` cannot read it skips without an error.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_BEGIN = b"-----BEGIN "
_END_LINE = b"\n-----END "
_DASHES = b"-----"
_BASE64_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


class PemBlock(NamedTuple):
    """A block that Go finds."""

    label: bytes
    content: bytes


def first_block(data: bytes) -> PemBlock | None:
    """Return the block that one call of `pem.Decode` returns; None when it finds none."""
    position = 0
    while (end := data.find(_END_LINE, position)) >= 0:
        found = _decode(data, position, end)
        if found is not None:
            return found
        position = end + len(_END_LINE)
    return None


def _decode(data: bytes, position: int, end: int) -> PemBlock | None:
    """Return the block that ends at `end`."""
    begin = data.rfind(_BEGIN, position, end)
    if begin < 0 or (begin > position and data[begin - 1] != ord("\n")):
        return None
    label_line, body = _line_at(data, begin + len(_BEGIN))
    if not label_line.endswith(_DASHES):
        return None
    label = label_line.removesuffix(_DASHES)
    start = _after_headers(data, body)
    if (start > body and start > end) or not _end_line_fits(data, end + len(_END_LINE), label):
        return None
    content = _base64(data[start:end]) if start < end else b""
    return None if content is None else PemBlock(label, content)


def _after_headers(data: bytes, position: int) -> int:
    while position < len(data):
        line, following = _line_at(data, position)
        if b":" not in line:
            break
        position = following
    return position


def _end_line_fits(data: bytes, trailer: int, label: bytes) -> bool:
    wanted = label + _DASHES
    return (
        data[trailer : trailer + len(wanted)] == wanted
        and _line_at(data, trailer + len(wanted))[0] == b""
    )


def _line_at(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the line at `position` without what ends it, and where the next one begins."""
    stop = data.find(b"\n", position)
    if stop < 0:
        return data[position:].rstrip(b" \t\r\n"), len(data)
    line = data[position:stop].removesuffix(b"\r")
    return line.rstrip(b" \t"), stop + 1


def _base64(body: bytes) -> bytes | None:
    encoded = body.translate(None, b" \t\r\n")
    if not _BASE64_ALPHABET.issuperset(encoded):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None


PUBLIC_EXPONENT = 65537


def generate_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return a new random key. It takes 60 to 700 ms and leaves other threads running."""
    return rsa.generate_private_key(PUBLIC_EXPONENT, bits)


def pkcs1_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the key as unencrypted PEM, `BEGIN RSA PRIVATE KEY`."""
    layout = PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, layout, NoEncryption()).decode()
