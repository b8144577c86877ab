"""Splits the text of a configuration into tokens, exactly as nats-server's conf/lex.go does.

One function for each state of conf/lex.go that decides what may follow: a state is given the
lexer, consumes text and returns the state after it; None ends the text. Single values follow that
file's oddities too, because they decide what a running server was told. A NUL character counts as
the end of the text wherever that file says so.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

from nats_config.errors import NatsConfigError
from nats_config.tree import Position, fold

MOST_SHOWN = 400
"""Characters of a message; a name in it may be as long as the file."""


def clip(text: str) -> str:
    """Return the beginning and the end of a text that nobody would read as a whole."""
    if len(text) <= MOST_SHOWN:
        return text
    half = MOST_SHOWN // 2
    return f"{text[:half]}… ({len(text) - 2 * half:,} characters) …{text[-half:]}"


class SourceText:
    """A configuration text with the name under which people know it.

    Bytes that are no UTF-8 are kept, each as one lone surrogate (PEP 383), because nats-server
    reads such files too: one character here is one rune there.
    """

    def __init__(self, text: bytes | str, *, name: str) -> None:
        self.text = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
        self.name = name

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        end = self.text.find("\n")
        while end >= 0:
            starts.append(end + 1)
            end = self.text.find("\n", end + 1)
        return starts

    def place(self, offset: int) -> Position:
        """Return where the character at `offset` stands; the end of the text is a place too."""
        line = bisect_right(self._line_starts, offset)
        return Position(self.name, line, offset - self._line_starts[line - 1] + 1)

    def error(self, offset: int, message: str, *, hint: str) -> NatsConfigError:
        """Make the error for what was found at `offset`."""
        return NatsConfigError(clip(message), place=str(self.place(offset)), hint=hint)


# Single values: strings, numbers, dates, addresses, blocks.


class TokenKind(Enum):
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

    kind: TokenKind
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


def character_at(source: SourceText, offset: int) -> str:
    """Return the character at `offset`, nothing at the end of the text."""
    return source.text[offset : offset + 1]


def end_of_run(pattern: re.Pattern[str], source: SourceText, offset: int) -> int:
    """Return where a run that matches `pattern` (perhaps empty) ends."""
    found = pattern.match(source.text, offset)
    return found.end() if found else offset


def scan_scalar(source: SourceText, offset: int) -> Token:
    """Return the value that begins at `offset`, which is not a space, a brace or a bracket."""
    first = character_at(source, offset)
    match first:
        case "'":
            return _single_quoted(source, offset)
        case '"':
            return _double_quoted(source, offset)
        case "(":
            return _block_string(source, offset)
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


def _single_quoted(source: SourceText, offset: int) -> Token:
    end = end_of_run(_SINGLE_QUOTED, source, offset + 1)
    if character_at(source, end) == "'":
        return Token(TokenKind.STRING, source.text[offset + 1 : end], offset, end + 1)
    return _unclosed(source, offset, quiet=end == offset + 1 == len(source.text))


def _double_quoted(source: SourceText, offset: int) -> Token:
    parts: list[str] = []
    start = offset + 1
    while True:
        end = end_of_run(_DOUBLE_QUOTED, source, start)
        parts.append(source.text[start:end])
        match character_at(source, end):
            case '"':
                return Token(TokenKind.STRING, _joined(parts), offset, end + 1)
            case "\\":
                part, start = _escape(source, end)
                parts.append(part)
            case _:
                return _unclosed(source, offset, quiet=end == start == len(source.text))


def _unclosed(source: SourceText, offset: int, *, quiet: bool) -> Token:
    # nats-server takes a file that ends right after an opening quote (or an escape) as complete.
    if quiet:
        return Token(TokenKind.END, "", offset, len(source.text))
    raise source.error(
        offset, "a quoted string is not closed", hint="add the closing quote of the same kind"
    )


def _block_string(source: SourceText, offset: int) -> Token:
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
    return Token(TokenKind.STRING, source.text[offset + 1 : end], offset, found.end())


def _negative(source: SourceText, offset: int) -> Token:
    digits = _DIGITS.match(source.text, offset + 1)
    if digits is None:
        raise source.error(
            offset,
            "a `-` is not followed by a digit",
            hint="put strings that begin with `-` in quotes",
        )
    end = digits.end()
    match character_at(source, end):
        case ".":
            return _float_or_address(source, offset, end)
        case suffix if suffix and suffix in "kKmMgGtTpPeE":
            return _with_suffix(source, offset, end)
    return Token(TokenKind.INTEGER, source.text[offset:end], offset, end)


def _number(source: SourceText, offset: int) -> Token:
    end = end_of_run(_DIGITS, source, offset)
    following = character_at(source, end)
    if following in NUMBER_ENDS:
        return Token(TokenKind.INTEGER, source.text[offset:end], offset, end)
    if following == "-":
        return _date(source, offset, end)
    if following == ".":
        return _float_or_address(source, offset, end)
    if following in "kKmMgGtTpPeE":
        return _with_suffix(source, offset, end)
    # The character that makes it a string is taken as it is, even a backslash, quote or bracket.
    return _bare(source, offset, end + 1)


def _date(source: SourceText, offset: int, end: int) -> Token:
    rest = _DATE_REST.match(source.text, end + 1)
    if end - offset != len("2006") or rest is None:
        raise source.error(
            offset,
            "this looks like a date, but is none in full Zulu form",
            hint="write `2006-01-02T15:04:05Z`, or put the string in quotes",
        )
    return Token(TokenKind.DATE, source.text[offset : rest.end()], offset, rest.end())


def _float_or_address(source: SourceText, offset: int, end: int) -> Token:
    fraction = _FRACTION.match(source.text, end)
    if fraction is None:
        raise source.error(
            offset,
            "the dot of a number is not followed by a digit",
            hint="put names that begin with a digit in quotes",
        )
    end = fraction.end()
    if character_at(source, end) != ".":
        return Token(TokenKind.FLOAT, source.text[offset:end], offset, end)
    end = end_of_run(_ADDRESS_REST, source, end)
    return Token(TokenKind.STRING, source.text[offset:end], offset, end)


def _with_suffix(source: SourceText, offset: int, end: int) -> Token:
    end = end_of_run(_SUFFIX_REST, source, end + 1)
    # `1m30s` is text to 2.15.1; servers before it refuse a digit here.
    if character_at(source, end) in NUMBER_ENDS:
        return Token(TokenKind.INTEGER, source.text[offset:end], offset, end)
    return _bare(source, offset, end)


def _bare(source: SourceText, offset: int, position: int) -> Token:
    """Scan an unquoted string from `offset`; up to `position` it is known to be text."""
    parts: list[str] = []
    start = offset
    while True:
        end = end_of_run(_BARE, source, position)
        parts.append(source.text[start:end])
        match character_at(source, end):
            case "\\":
                part, start = _escape(source, end)
                position = start
                parts.append(part)
            case "'":  # ends it, and is dropped, although none began it (lexString)
                return Token(TokenKind.STRING, _joined(parts), offset, end + 1)
            case _ if len(parts) > 1:
                return Token(TokenKind.STRING, _joined(parts), offset, end)
            case _:
                return _bare_word(parts[0], offset, end)


def _bare_word(text: str, offset: int, end: int) -> Token:
    if fold(text) in BOOLEANS:
        return Token(TokenKind.BOOLEAN, text, offset, end)
    if text.startswith("$"):
        return Token(TokenKind.VARIABLE, text[1:], offset, end)
    return Token(TokenKind.STRING, text, offset, end)


def _escape(source: SourceText, offset: int) -> tuple[str, int]:
    r"""Return what the escape at `offset` stands for and where it ends; bytes as surrogates."""
    letter = character_at(source, offset + 1)
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


# The structure: keys, values, maps, arrays, includes, comments. One function is one state.

# Go's unicode.IsSpace, which is narrower than Python's.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_SPACE}]*")
_ONE_SPACE = re.compile(f"[{_SPACE}]")
_BLANKS = re.compile(r"[ \t]*")
_COMMENT = re.compile(r"[^\n\r\0]*")
_KEY = re.compile(f"[^{_SPACE}=:\0]*")
_QUOTED_KEYS = {"'": re.compile(r"[^'\0]*"), '"': re.compile(r'[^"\0]*')}
_INCLUDE = re.compile(r"[^\n\r\0;}\t ']*")
_NOT_INCLUDED = re.compile(r"[\[{(\d\\\n\r-]")

_VALUE_END_HINT = "end a value with a new line, `,` or `;`, and put values with spaces in quotes"

_State = Callable[["_Lexer"], "_State | None"]


def tokens(source: SourceText) -> Iterator[Token]:
    """Yield the tokens of a text up to its END; raise NatsConfigError where it is malformed.

    Lazy: the tokens before an error come first.
    """
    lexer = _Lexer(source)
    state: _State | None = _top
    while state is not None:
        state = state(lexer)
        while lexer.ready:
            yield lexer.ready.popleft()


class _Lexer:
    """What the states share: the position, the states to return to, the tokens made."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.position = 0
        self.after: list[_State] = []
        self.ready: deque[Token] = deque()

    def peek(self) -> str:
        return character_at(self.source, self.position)

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.position = end_of_run(pattern, self.source, self.position)

    def take_comment(self) -> bool:
        """Skip a comment that begins here and say whether there was one."""
        if self.peek() == "#" or self.source.text.startswith("//", self.position):
            self.skip(_COMMENT)
            return True
        return False

    def emit(self, kind: TokenKind, text: str, offset: int) -> None:
        self.ready.append(Token(kind, text, offset, self.position))

    def emit_end(self) -> None:
        self.emit(TokenKind.END, "", self.position)

    def unexpected(self, where: str, hint: str) -> Exception:
        found = self.peek()
        shown = (
            f"`{found}`" if found.isprintable() and found else repr(found) if found else "the end"
        )
        return self.source.error(self.position, f"unexpected {shown} {where}", hint=hint)


def _top(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    if lexer.take_comment():
        return _top
    match lexer.peek():
        case "":
            lexer.emit_end()
            return None
        case "{":
            lexer.position += 1
            lexer.after.append(_top)
            return _block
        case "/" | "\0":
            raise lexer.unexpected("where a key should be", "comments begin with `#` or `//`")
    lexer.after.append(_after_top_value)
    return _key


def _after_top_value(lexer: _Lexer) -> _State | None:
    lexer.skip(_BLANKS)
    if lexer.take_comment():
        return _top
    match lexer.peek():
        case "/":
            lexer.position += 1
            return _after_top_value
        case "\n" | "\r" | "\0" | ";" | "," | "}":
            lexer.position += 1
            return _top
        case "":
            return _top
    raise lexer.unexpected("after a value", _VALUE_END_HINT)


def _block(lexer: _Lexer) -> _State | None:
    """Read inside braces without a key, which only stand at the top."""
    lexer.skip(_SPACES)
    if lexer.take_comment():
        return _block
    match lexer.peek():
        case "":
            lexer.emit_end()
            return None
        case "{":
            lexer.position += 1
            lexer.after.append(_after_block)
            return _block
        case "}":
            lexer.position += 1
            return lexer.after.pop()
        case "/" | "\0":
            raise lexer.unexpected("where a key should be", "comments begin with `#` or `//`")
    lexer.after.append(_after_block_value)
    return _key


def _after_block_value(lexer: _Lexer) -> _State | None:
    lexer.skip(_BLANKS)
    if lexer.take_comment():
        return _after_block_value
    match lexer.peek():
        case "/":
            lexer.position += 1
            return _after_block_value
        case "\n" | "\r" | ";" | ",":
            lexer.position += 1
            return _block
        case "}":
            return _after_block
    raise lexer.unexpected("after a value", _VALUE_END_HINT)


def _after_block(lexer: _Lexer) -> _State | None:
    if lexer.take_comment():
        return _block
    match lexer.peek():
        case "/" | "\n" | "\r" | " " | "\t":
            lexer.position += 1
            return _after_block
        case ";" | ",":
            lexer.position += 1
            return _block
        case "}":
            lexer.position += 1
            return lexer.after.pop()
    raise lexer.unexpected("after a block", "close the outer block with `}`")


def _key(lexer: _Lexer) -> _State | None:
    """Read a key at the top or in a block."""
    first = lexer.peek()
    if first in "=:":
        raise lexer.unexpected("where a key should be", "write the name of the field before it")
    if first not in _QUOTED_KEYS:
        return _bare_key(lexer, lexer.position, _after_key)
    offset = lexer.position + 1
    end = end_of_run(_QUOTED_KEYS[first], lexer.source, offset)
    if character_at(lexer.source, end) != first:
        # nats-server takes a text that ends right after an opening quote as complete.
        if end == offset:
            lexer.position = len(lexer.source.text)
            lexer.emit_end()
            return None
        raise lexer.unexpected("begins a key that is not closed", "add the closing quote")
    lexer.position = end + 1
    lexer.emit(TokenKind.KEY, lexer.source.text[offset:end], offset - 1)
    return _after_key


def _bare_key(lexer: _Lexer, offset: int, then: _State) -> _State | None:
    """Read a key without quotes; its first character was judged by the caller."""
    lexer.position = end_of_run(_KEY, lexer.source, offset + 1)
    name = lexer.source.text[offset : lexer.position]
    if fold(name) == "include" and _ONE_SPACE.match(lexer.peek()):
        return _include
    lexer.emit(TokenKind.KEY, name, offset)
    return then


def _after_key(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    match lexer.peek():
        case "" | "\0":
            lexer.emit_end()
            return None
        case "=" | ":":
            lexer.position += 1
    return _value


def _include(lexer: _Lexer) -> _State | None:
    lexer.skip(_BLANKS)
    offset = lexer.position
    first = lexer.peek()
    if _NOT_INCLUDED.match(first):
        raise lexer.unexpected(
            "after `include`", "name a file, relative to this one: `include ./auth.conf`"
        )
    if first in _QUOTED_KEYS:
        lexer.position = end_of_run(_QUOTED_KEYS[first], lexer.source, offset + 1)
        name = lexer.source.text[offset + 1 : lexer.position]
        if lexer.peek() != first:
            raise lexer.unexpected("in a quoted file name", "add the closing quote")
        lexer.position += 1
    else:
        lexer.skip(_INCLUDE)
        name = lexer.source.text[offset : lexer.position]
        lexer.position += lexer.peek() == "'"
    lexer.emit(TokenKind.INCLUDE, name, offset)
    return lexer.after.pop()


def _value(lexer: _Lexer) -> _State | None:
    """Read a value; the state after it lies on the stack."""
    lexer.skip(_BLANKS)
    offset = lexer.position
    match lexer.peek():
        case "[":
            lexer.position += 1
            lexer.emit(TokenKind.ARRAY_START, "", offset)
            return _array
        case "{":
            lexer.position += 1
            lexer.emit(TokenKind.MAP_START, "", offset)
            return _map
    token = scan_scalar(lexer.source, offset)
    lexer.position = token.end
    lexer.ready.append(token)
    return None if token.kind is TokenKind.END else lexer.after.pop()


def _array(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    if lexer.take_comment():
        return _array
    match lexer.peek():
        case "]":
            return _close(lexer, TokenKind.ARRAY_END)
        case "/" | ",":
            raise lexer.unexpected("in an array", "separate values with one `,` or a new line")
    lexer.after.append(_after_element)
    return _value


def _after_element(lexer: _Lexer) -> _State | None:
    lexer.skip(_BLANKS)
    if lexer.take_comment():
        return _after_element
    match lexer.peek():
        case "," | "\n" | "\r" | "/":
            lexer.position += 1
            return _array
        case "]":
            return _close(lexer, TokenKind.ARRAY_END)
    raise lexer.unexpected(
        "in an array",
        "separate values with `,` and close with `]`; "
        "a number directly before `]` needs a space between",
    )


def _map(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    if lexer.take_comment():
        return _map
    first = lexer.peek()
    match first:
        case "}":
            return _close(lexer, TokenKind.MAP_END)
        case "" | "\0" | "=" | ":" | "]":
            raise lexer.unexpected("in a map", "write a key, or close the map with `}`")
        case "'" | '"':
            return _quoted_map_key(lexer, first)
        case "/":
            # nats-server drops a single slash before a key and takes any character after it.
            lexer.position += 1
    return _bare_map_key


def _quoted_map_key(lexer: _Lexer, quote: str) -> _State | None:
    offset = lexer.position + 1
    lexer.position = end_of_run(_QUOTED_KEYS[quote], lexer.source, offset)
    if lexer.peek() != quote:
        raise lexer.unexpected("in a quoted key", "add the closing quote")
    name = lexer.source.text[offset : lexer.position]
    lexer.position += 1
    lexer.emit(TokenKind.KEY, name, offset - 1)
    return _after_map_key


def _bare_map_key(lexer: _Lexer) -> _State | None:
    end = end_of_run(_KEY, lexer.source, lexer.position + 1)
    if character_at(lexer.source, end) in ("", "\0"):
        lexer.position = min(end, len(lexer.source.text))
        raise lexer.unexpected("in a map", "give the key a value and close the map with `}`")
    state = _bare_key(lexer, lexer.position, _after_map_key)
    if state is _include:
        lexer.after.append(_after_map_value)
    return state


def _after_map_key(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    if lexer.peek() in ("=", ":"):
        lexer.position += 1
        lexer.skip(_SPACES)
    match lexer.peek():
        case ",":
            raise lexer.unexpected("in a map", "give the key a value")
        case "}":
            return _close(lexer, TokenKind.MAP_END)
    lexer.after.append(_after_map_value)
    return _value


def _after_map_value(lexer: _Lexer) -> _State | None:
    lexer.skip(_BLANKS)
    if lexer.take_comment():
        return _after_map_value
    match lexer.peek():
        case "," | ";" | "\n" | "\r" | "/":
            lexer.position += 1
            return _map
        case "}":
            return _close(lexer, TokenKind.MAP_END)
    raise lexer.unexpected("in a map", _VALUE_END_HINT + "; close a map with `}`")


def _close(lexer: _Lexer, kind: TokenKind) -> _State | None:
    lexer.position += 1
    lexer.emit(kind, "", lexer.position - 1)
    return lexer.after.pop()
