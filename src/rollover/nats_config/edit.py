"""Changes a single value of a configuration in place; every other byte stays as it is."""

from __future__ import annotations

from rollover.nats_config.lex import tokens
from rollover.nats_config.position import Place
from rollover.nats_config.scan import Kind, Token
from rollover.nats_config.source import Source

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def with_string(text: bytes, key: Place, value: str) -> bytes:
    """Return a configuration text in which the key at a place has this string as its value.

    A variable that stood there is no longer used there. KeyError when no key with a string or a
    variable begins at that place; NatsConfigError as for reading.
    """
    source = Source(text, name=key.file)
    token = _value_of(source, key)
    changed = f"{source.text[: token.offset]}{quoted(value)}{source.text[token.end :]}"
    return changed.encode("utf-8", "surrogateescape")


def quoted(value: str) -> str:
    """Return a string as it is written in a configuration."""
    return f'"{value.translate(_ESCAPES)}"'


def _value_of(source: Source, key: Place) -> Token:
    found = False
    for token in tokens(source):
        if found and token.kind in (Kind.STRING, Kind.VARIABLE):
            return token
        found = token.kind is Kind.KEY and source.place(token.offset)[1:] == key[1:]
    raise KeyError(str(key))
