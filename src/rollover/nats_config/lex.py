"""The structure of a configuration text: keys, values, maps, arrays, includes, comments.

One function for each state of nats-server's conf/lex.go that decides what may follow. A state is
given the lexer, consumes text and returns the state after it; None ends the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator

from rollover.nats_config.scan import Kind, Token, character, run, scan_scalar
from rollover.nats_config.source import Source
from rollover.nats_config.tree import fold

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

_State = Callable[["_Lexer"], "_State | None"]


def tokens(source: Source) -> Iterator[Token]:
    """Yield the tokens of a text up to `Kind.END`; raise NatsConfigError where it is malformed.

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

    def __init__(self, source: Source) -> None:
        self.source = source
        self.position = 0
        self.after: list[_State] = []
        self.ready: deque[Token] = deque()

    def peek(self) -> str:
        return character(self.source, self.position)

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.position = run(pattern, self.source, self.position)

    def take_comment(self) -> bool:
        """Skip a comment that begins here and say whether there was one."""
        if self.peek() == "#" or self.source.text.startswith("//", self.position):
            self.skip(_COMMENT)
            return True
        return False

    def emit(self, kind: Kind, text: str, offset: int) -> None:
        self.ready.append(Token(kind, text, offset, self.position))

    def emit_end(self) -> None:
        self.emit(Kind.END, "", self.position)

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


_VALUE_END_HINT = "end a value with a new line, `,` or `;`, and put values with spaces in quotes"


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
    end = run(_QUOTED_KEYS[first], lexer.source, offset)
    if character(lexer.source, end) != first:
        # nats-server takes a text that ends right after an opening quote as complete.
        if end == offset:
            lexer.position = len(lexer.source.text)
            lexer.emit_end()
            return None
        raise lexer.unexpected("begins a key that is not closed", "add the closing quote")
    lexer.position = end + 1
    lexer.emit(Kind.KEY, lexer.source.text[offset:end], offset - 1)
    return _after_key


def _bare_key(lexer: _Lexer, offset: int, then: _State) -> _State | None:
    """Read a key without quotes; its first character was judged by the caller."""
    lexer.position = run(_KEY, lexer.source, offset + 1)
    name = lexer.source.text[offset : lexer.position]
    if fold(name) == "include" and _ONE_SPACE.match(lexer.peek()):
        return _include
    lexer.emit(Kind.KEY, name, offset)
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
        lexer.position = run(_QUOTED_KEYS[first], lexer.source, offset + 1)
        name = lexer.source.text[offset + 1 : lexer.position]
        if lexer.peek() != first:
            raise lexer.unexpected("in a quoted file name", "add the closing quote")
        lexer.position += 1
    else:
        lexer.skip(_INCLUDE)
        name = lexer.source.text[offset : lexer.position]
        lexer.position += lexer.peek() == "'"
    lexer.emit(Kind.INCLUDE, name, offset)
    return lexer.after.pop()


def _value(lexer: _Lexer) -> _State | None:
    """Read a value; the state after it lies on the stack."""
    lexer.skip(_BLANKS)
    offset = lexer.position
    match lexer.peek():
        case "[":
            lexer.position += 1
            lexer.emit(Kind.ARRAY_START, "", offset)
            return _array
        case "{":
            lexer.position += 1
            lexer.emit(Kind.MAP_START, "", offset)
            return _map
    token = scan_scalar(lexer.source, offset)
    lexer.position = token.end
    lexer.ready.append(token)
    return None if token.kind is Kind.END else lexer.after.pop()


def _array(lexer: _Lexer) -> _State | None:
    lexer.skip(_SPACES)
    if lexer.take_comment():
        return _array
    match lexer.peek():
        case "]":
            return _close(lexer, Kind.ARRAY_END)
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
            return _close(lexer, Kind.ARRAY_END)
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
            return _close(lexer, Kind.MAP_END)
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
    lexer.position = run(_QUOTED_KEYS[quote], lexer.source, offset)
    if lexer.peek() != quote:
        raise lexer.unexpected("in a quoted key", "add the closing quote")
    name = lexer.source.text[offset : lexer.position]
    lexer.position += 1
    lexer.emit(Kind.KEY, name, offset - 1)
    return _after_map_key


def _bare_map_key(lexer: _Lexer) -> _State | None:
    end = run(_KEY, lexer.source, lexer.position + 1)
    if character(lexer.source, end) in ("", "\0"):
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
            return _close(lexer, Kind.MAP_END)
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
            return _close(lexer, Kind.MAP_END)
    raise lexer.unexpected("in a map", _VALUE_END_HINT + "; close a map with `}`")


def _close(lexer: _Lexer, kind: Kind) -> _State | None:
    lexer.position += 1
    lexer.emit(kind, "", lexer.position - 1)
    return lexer.after.pop()
