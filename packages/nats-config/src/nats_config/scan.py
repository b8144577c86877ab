"""Scanning of single values: strings, numbers, dates, addresses, blocks.

Follows the states of nats-server's conf/lex.go, with its oddities: they decide what a running
server was told. A NUL character counts as the end of the text wherever that file says so.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from nats_config.source import Source
from nats_config.tree import fold


class Kind(Enum):
    """What a token is."""

    KEY = auto()
    STRING = auto()
    BOOLEAN = auto()
    INTEGER = auto()
    FLOAT = auto()
    DATE = auto()
    VARIABLE = auto()
    INCLUDE = auto()
    MAP_START = auto()
    MAP_END = auto()
    ARRAY_START = auto()
    ARRAY_END = auto()
    END = auto()


class Token(NamedTuple):
    """A piece of the text, escapes resolved; `offset` is where it begins, `end` where it stops."""

    kind: Kind
    text: str
    offset: int
    end: int


BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NUMBER_ENDS = frozenset(("\n", "\r", "", "\0", "}", ";", ",", " ", "\t"))
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}

_DIGITS = re.compile(r"\d+")
_FRACTION = re.compile(r"\.\d+")
_ADDRESS_REST = re.compile(r"[\d.:-]*")
_SUFFIX_REST = re.compile(r"[bBiI]*")
_DATE_REST = re.compile(r"\d\d-\d\dT\d\d:\d\d:\d\dZ")
_HEX_PAIR = re.compile(r"[0-9A-Fa-f]{2}")
_BARE = re.compile(r"[^\n\r\0;,\]}\t '\\]*")
_SINGLE_QUOTED = re.compile(r"[^'\0]*")
_DOUBLE_QUOTED = re.compile(r'[^"\\\0]*')
_BLOCK_END = re.compile(r"\n\)(?=[\n\0]|\Z)")


def character(source: Source, offset: int) -> str:
    """Return the character at `offset`, nothing at the end of the text."""
    return source.text[offset : offset + 1]


def run(pattern: re.Pattern[str], source: Source, offset: int) -> int:
    """Return where a run that matches `pattern` (perhaps empty) ends."""
    found = pattern.match(source.text, offset)
    return found.end() if found else offset


def scan_scalar(source: Source, offset: int) -> Token:
    """Return the value that begins at `offset`, which is not a space, a brace or a bracket."""
    first = character(source, offset)
    match first:
        case "'":
            return _single_quoted(source, offset)
        case '"':
            return _double_quoted(source, offset)
        case "(":
            return _block(source, offset)
        case "-":
            return _negative(source, offset)
        case ".":
            raise source.error(
                offset,
                "a value begins with a dot",
                hint="write a digit before the dot of a number, or put the string in quotes",
            )
        case "\n" | "\r":
            raise source.error(
                offset,
                "the value after the separator is missing",
                hint="write the value on the line of its key, or leave out the `=` or `:`",
            )
    return _number(source, offset) if _DIGITS.match(first) else _bare(source, offset, offset)


def _single_quoted(source: Source, offset: int) -> Token:
    end = run(_SINGLE_QUOTED, source, offset + 1)
    if character(source, end) == "'":
        return Token(Kind.STRING, source.text[offset + 1 : end], offset, end + 1)
    return _unclosed(source, offset, quiet=end == offset + 1 == len(source.text))


def _double_quoted(source: Source, offset: int) -> Token:
    parts: list[str] = []
    start = offset + 1
    while True:
        end = run(_DOUBLE_QUOTED, source, start)
        parts.append(source.text[start:end])
        match character(source, end):
            case '"':
                return Token(Kind.STRING, _joined(parts), offset, end + 1)
            case "\\":
                part, start = _escape(source, end)
                parts.append(part)
            case _:
                return _unclosed(source, offset, quiet=end == start == len(source.text))


def _unclosed(source: Source, offset: int, *, quiet: bool) -> Token:
    # nats-server takes a file that ends right after an opening quote (or an escape) as complete.
    if quiet:
        return Token(Kind.END, "", offset, len(source.text))
    raise source.error(
        offset, "a quoted string is not closed", hint="add the closing quote of the same kind"
    )


def _block(source: Source, offset: int) -> Token:
    found = _BLOCK_END.search(source.text, offset + 1)
    nul = source.text.find("\0", offset + 1, found.start() if found else len(source.text))
    if found is None or nul >= 0:
        raise source.error(
            offset,
            "a block string is not closed",
            hint="put `)` alone on a line of its own, ended by a plain newline (not CR LF)",
        )
    # At the end of the file nats-server keeps the parenthesis as part of the text.
    end = found.end() if found.end() == len(source.text) else found.end() - 1
    return Token(Kind.STRING, source.text[offset + 1 : end], offset, found.end())


def _negative(source: Source, offset: int) -> Token:
    digits = _DIGITS.match(source.text, offset + 1)
    if digits is None:
        raise source.error(
            offset,
            "a `-` is not followed by a digit",
            hint="put strings that begin with `-` in quotes",
        )
    end = digits.end()
    match character(source, end):
        case ".":
            return _float_or_address(source, offset, end)
        case suffix if suffix and suffix in "kKmMgGtTpPeE":
            return _with_suffix(source, offset, end)
    return Token(Kind.INTEGER, source.text[offset:end], offset, end)


def _number(source: Source, offset: int) -> Token:
    end = run(_DIGITS, source, offset)
    following = character(source, end)
    if following in NUMBER_ENDS:
        return Token(Kind.INTEGER, source.text[offset:end], offset, end)
    if following == "-":
        return _date(source, offset, end)
    if following == ".":
        return _float_or_address(source, offset, end)
    if following in "kKmMgGtTpPeE":
        return _with_suffix(source, offset, end)
    # The character that makes it a string is taken as it is, even a backslash, quote or bracket.
    return _bare(source, offset, end + 1)


def _date(source: Source, offset: int, end: int) -> Token:
    rest = _DATE_REST.match(source.text, end + 1)
    if end - offset != len("2006") or rest is None:
        raise source.error(
            offset,
            "this looks like a date, but is none in full Zulu form",
            hint="write `2006-01-02T15:04:05Z`, or put the string in quotes",
        )
    return Token(Kind.DATE, source.text[offset : rest.end()], offset, rest.end())


def _float_or_address(source: Source, offset: int, end: int) -> Token:
    fraction = _FRACTION.match(source.text, end)
    if fraction is None:
        raise source.error(
            offset,
            "the dot of a number is not followed by a digit",
            hint="put names that begin with a digit in quotes",
        )
    end = fraction.end()
    if character(source, end) != ".":
        return Token(Kind.FLOAT, source.text[offset:end], offset, end)
    end = run(_ADDRESS_REST, source, end)
    return Token(Kind.STRING, source.text[offset:end], offset, end)


def _with_suffix(source: Source, offset: int, end: int) -> Token:
    end = run(_SUFFIX_REST, source, end + 1)
    # `1m30s` is text to 2.15.1; servers before it refuse a digit here.
    if character(source, end) in NUMBER_ENDS:
        return Token(Kind.INTEGER, source.text[offset:end], offset, end)
    return _bare(source, offset, end)


def _bare(source: Source, offset: int, position: int) -> Token:
    """Scan an unquoted string from `offset`; up to `position` it is known to be text."""
    parts: list[str] = []
    start = offset
    while True:
        end = run(_BARE, source, position)
        parts.append(source.text[start:end])
        match character(source, end):
            case "\\":
                part, start = _escape(source, end)
                position = start
                parts.append(part)
            case "'":
                return Token(Kind.STRING, _joined(parts), offset, end + 1)
            case _ if len(parts) > 1:
                return Token(Kind.STRING, _joined(parts), offset, end)
            case _:
                return _bare_word(parts[0], offset, end)


def _bare_word(text: str, offset: int, end: int) -> Token:
    if fold(text) in BOOLEANS:
        return Token(Kind.BOOLEAN, text, offset, end)
    if text.startswith("$"):
        return Token(Kind.VARIABLE, text[1:], offset, end)
    return Token(Kind.STRING, text, offset, end)


def _escape(source: Source, offset: int) -> tuple[str, int]:
    r"""Return what the escape at `offset` stands for and where it ends; bytes as surrogates."""
    letter = character(source, offset + 1)
    if letter in _ESCAPES:
        return _ESCAPES[letter], offset + 2
    pair = _HEX_PAIR.match(source.text, offset + 2)
    if letter == "x" and pair:
        byte = bytes.fromhex(pair.group())
        return byte.decode("ascii", "surrogateescape"), pair.end()
    raise source.error(
        offset,
        "a backslash is not followed by a known escape",
        hint=r"use `\t`, `\n`, `\r`, `\"`, `\\` or `\x` with two hexadecimal digits, "
        "or single quotes, in which nothing is escaped",
    )


def _joined(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    # Escaped bytes may form one UTF-8 character together.
    return "".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
