"""The digest of a configuration that `nats-server -t` prints.

SHA-256 of the tree as Go's json.Encoder writes it, with its final newline (conf/parse.go,
configDigest). It covers variable definitions, and not the content of certificate files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal

from nats_config.tree import Date, Table, Tree, Value, ValueNode

_ESCAPED = re.compile("[<>&\u2028\u2029]")
_NO_UTF8 = re.compile("[\udc80-\udcff]")
# encoding/json, floatEncoder: outside of these it writes an exponent, as ES6 does.
_PLAIN_FROM = 1e-6
_PLAIN_BELOW = 1e21


def compute_digest(tree: Tree) -> str:
    """Return `sha256:` and the hexadecimal digest."""
    total = hashlib.sha256()
    for piece in encoded(tree.root):
        total.update(piece.encode())
    total.update(b"\n")
    return f"sha256:{total.hexdigest()}"


def encoded(value: Value) -> Iterator[str]:
    """Yield the pieces of the JSON text of a value, as Go writes it."""
    if isinstance(value, Table):
        yield from _map(value)
    elif isinstance(value, tuple):
        yield from _array(value)
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, float):
        yield _float(value)
    else:
        yield _string(value.text if isinstance(value, Date) else value)


def _map(table: Table) -> Iterator[str]:
    separator = "{"
    # Go sorts the keys of a map by their bytes.
    for name in sorted(table.fields, key=lambda key: key.encode("utf-8", "surrogateescape")):
        yield f"{separator}{_string(name)}:"
        yield from encoded(table.fields[name].node.value)
        separator = ","
    yield "}" if table.fields else "{}"


def _array(nodes: tuple[ValueNode, ...]) -> Iterator[str]:
    separator = "["
    for node in nodes:
        yield separator
        yield from encoded(node.value)
        separator = ","
    yield "]" if nodes else "[]"


def _string(text: str) -> str:
    """Write a string as Encoder.SetEscapeHTML does.

    A byte that is no UTF-8 becomes U+FFFD itself, as in nats-server 2.15.1; encoding/json of
    Go 1.25 and before wrote it as an escape, so older servers differ for such texts.
    """
    written = _ESCAPED.sub(
        lambda found: f"\\u{ord(found.group()):04x}", json.dumps(text, ensure_ascii=False)
    )
    return _NO_UTF8.sub("\ufffd", written)


def _float(number: float) -> str:
    """Write a float as encoding/json does: plain between 1e-6 and 1e21, else with an exponent."""
    shortest = repr(number)
    if number == 0 or _PLAIN_FROM <= abs(number) < _PLAIN_BELOW:
        return f"{Decimal(shortest):f}".removesuffix(".0")
    mantissa, _, exponent = shortest.partition("e")
    return f"{mantissa}e{int(exponent):+d}"
