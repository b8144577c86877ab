"""Hypothesis strategies for texts in the grammar of nats-server's configuration."""

from __future__ import annotations

from hypothesis import strategies as st

SCALARS: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        *("word", "'a b'", '"q\\t\\x41"', '"\\xc3\\xa9"', "C:\\\\x", "a'", "é"),
        *("1", "-3", "0007", "1k", "2kib", "3kbb", "1m30s", "12ab", "9223372036854775808"),
        *("1.5", "-0.0", "0.0000001", "1.2.3.4", "127.0.0.1:4222", "5."),
        *("true", "OFF", "yes", "$w", "$nowhere", "$2a$10$abc"),
        *("2026-01-02T03:04:05Z", "2026-13-02T03:04:05Z", "(\nblock\n)", "(\r\nblock\r\n)"),
    )
)
SEPARATORS = (b": ", b"=", b" ", b" = ", b":", b"\n", b" :\n")
ENDS = (b"\n", b", ", b"; ", b"\r\n", b" # c\n", b" // c\n", b",\n", b" ")
KEYS = (b"a", b"b", b"w", b"'k k'", b'"q"', b"10", b"\xff", b"A.b", b"/x")
DAMAGE = (b"{", b"}", b"[", b"]", b"'", b'"', b"\\", b"#", b"/", b"\n", b"\x00", b"(", b"=", b",")
_MAX_LEAVES = 12
_MAX_ITEMS = 4


def _containers(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    element = st.tuples(values, st.sampled_from(ENDS)).map(b"".join)
    key, separator = st.sampled_from(KEYS), st.sampled_from(SEPARATORS)
    pair = st.tuples(key, separator, values, st.sampled_from(ENDS)).map(b"".join)
    array = st.lists(element, max_size=_MAX_ITEMS).map(lambda items: b"[" + b"".join(items) + b"]")
    table = st.lists(pair, max_size=_MAX_ITEMS).map(lambda items: b"{" + b"".join(items) + b"}")
    return array | table


def values() -> st.SearchStrategy[bytes]:
    """Values that mostly parse: scalars, and maps and arrays of them."""
    return st.recursive(st.sampled_from(SCALARS), _containers, max_leaves=_MAX_LEAVES)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a value into which a piece was inserted, or of which one was dropped or doubled."""
    text = draw(values())
    at = draw(st.integers(0, len(text) - 1))
    inserted = text[:at] + draw(st.sampled_from(DAMAGE)) + text[at:]
    return draw(st.sampled_from((inserted, text[:at] + text[at + 1 :], text[: at + 1] + text[at:])))


def pieces() -> st.SearchStrategy[bytes]:
    """Any pieces of the grammar in any order."""
    every = (*SCALARS, *SEPARATORS, *ENDS, *KEYS, *DAMAGE, b"include x", b"include 'y'")
    return st.lists(st.sampled_from(every), max_size=_MAX_LEAVES).map(b"".join)
