"""From the tokens of a configuration to its tree: nesting, duplicate keys, variables, includes."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from nats_config.errors import NatsConfigError
from nats_config.lexer import BOOLEANS, SourceText, Token, TokenKind, tokens
from nats_config.tree import (
    ConfigRemark,
    Date,
    Field,
    Position,
    Table,
    Tree,
    Value,
    ValueNode,
    fold,
)

Include = Callable[[str, Position], bytes]
"""Returns the content of a file by its path; told where it is asked for. Raises NatsConfigError."""

MAX_TEXT = 8 * 1024 * 1024
"""Characters of one file, and of the environment."""
MAX_NESTING = 100
"""Maps and arrays inside each other, variables and includes filled in."""
MAX_SOURCES_DEPTH = 32
"""Includes and environment variables inside each other."""
MAX_SOURCES = 1000
"""Includes and environment variables read in all."""
MAX_WEIGHT = 16 * 1024 * 1024
"""Of the whole tree, variables filled in: they can double it with every line."""
_NODE_WEIGHT = 8

_SECRETS = frozenset(("pass", "password", "token", "nkey", "seed", "key", "user", "username"))
_BCRYPT = "2a$"


def parse_text(
    text: bytes | str, *, place: str, include: Include, environment: Mapping[str, str]
) -> Tree:
    """Read one configuration text into a tree. Pure, but for what `include` does.

    `place` is the path of the file, which included paths are relative to. Raises NatsConfigError
    with the place for everything that nats-server refuses to parse, and for what exceeds the
    limits of this module.
    """
    session = _Session(include, environment)
    root = _Parser(SourceText(text, name=place), session, chain=(place,)).table(nesting=0)
    tree = Tree(
        root=root, remarks=tuple(session.remarks), definitions=frozenset(session.definitions)
    )
    if root.fields:
        return tree
    empty = ConfigRemark(
        code="empty", place=Position(place, 1, 1), message="no values: `nats-server -t` refuses it"
    )
    return Tree(root=root, remarks=(*tree.remarks, empty))


class _Session:
    """What the texts of one configuration share."""

    def __init__(self, include: Include, environment: Mapping[str, str]) -> None:
        self.include = include
        self.environment = environment
        self.remarks: list[ConfigRemark] = []
        self.definitions: set[Position] = set()
        self.sources = 0

    def remark(self, code: str, place: Position, message: str) -> None:
        self.remarks.append(ConfigRemark(code=code, place=place, message=message))


class _Frame:
    """A map or array that is still open."""

    def __init__(self, place: Position, *, is_map: bool) -> None:
        self.place = place
        self.is_map = is_map
        self.fields: dict[str, Field] = {}
        self.items: list[ValueNode] = []
        self.weight = _NODE_WEIGHT
        self.height = 0

    def node(self) -> ValueNode:
        value: Value = Table(self.fields) if self.is_map else tuple(self.items)
        return ValueNode(value=value, place=self.place, weight=self.weight, height=self.height + 1)


class _Parser:
    """Reads one text: a file, an included file, or an environment variable."""

    def __init__(self, source: SourceText, session: _Session, *, chain: tuple[str, ...]) -> None:
        self.source = source
        self.session = session
        self.chain = chain
        self.frames = [_Frame(source.place(0), is_map=True)]
        # As in nats-server one stack for all levels: a key whose value is missing lends its
        # name to the next value that closes.
        self.keys: list[Token] = []
        self.nesting = 0

    def table(self, *, nesting: int) -> Table:
        """Read to the end; `nesting` is the depth of the place that includes this text."""
        self.nesting = nesting
        self._check_sources()
        previous = Token(TokenKind.END, "", 0, 0)
        for token in tokens(self.source):
            if token.kind is TokenKind.END:
                self._finish(previous)
                break
            self._process(token, previous)
            previous = token
        return Table(self.frames[0].fields)

    def _check_sources(self) -> None:
        self.session.sources += 1
        if len(self.source.text) > MAX_TEXT:
            raise self.source.error(
                0,
                f"more than {MAX_TEXT} characters",
                hint="this is no configuration; check the path",
            )
        if len(self.chain) > MAX_SOURCES_DEPTH or self.session.sources > MAX_SOURCES:
            raise self.source.error(
                0,
                f"more than {MAX_SOURCES_DEPTH} includes or variables inside each other, "
                f"or {MAX_SOURCES} in all",
                hint="look for files that include each other",
            )

    def _finish(self, previous: Token) -> None:
        # As conf/parse.go, which lets a text end with `}` so that JSON is a configuration, too.
        if previous.kind is TokenKind.KEY and previous.text != "}":
            raise self.source.error(
                previous.offset,
                f"`{previous.text}` has no value",
                hint="give it a value, or remove it",
            )
        if len(self.frames) > 1:
            self.session.remark(
                "cut-off",
                self.frames[1].place,
                "the text ends inside this value, and nats-server drops it without a word",
            )

    def _process(self, token: Token, previous: Token) -> None:
        place = self.source.place(token.offset)
        match token.kind:
            case TokenKind.KEY:
                self.keys.append(token)
            case TokenKind.MAP_START | TokenKind.ARRAY_START:
                self._open(token, place)
            case TokenKind.MAP_END | TokenKind.ARRAY_END:
                self._close(token, previous)
            case TokenKind.INCLUDE:
                self._include(token, place)
            case TokenKind.VARIABLE:
                self._set(self._variable(token, place))
            case _:
                self._set_scalar(token, place)

    def _open(self, token: Token, place: Position) -> None:
        if self._depth() + 1 > MAX_NESTING:
            raise self._too_deep(token)
        self.frames.append(_Frame(place, is_map=token.kind is TokenKind.MAP_START))

    def _depth(self) -> int:
        return self.nesting + len(self.frames) - 1

    def _too_deep(self, token: Token) -> NatsConfigError:
        return self.source.error(
            token.offset,
            f"more than {MAX_NESTING} maps and arrays inside each other",
            hint="look for a bracket that is never closed",
        )

    def _close(self, token: Token, previous: Token) -> None:
        if previous.kind is TokenKind.KEY:
            self.session.remark(
                "key-without-value",
                self.source.place(previous.offset),
                f"`{previous.text}` has no value: nats-server gives its name to the map around it",
            )
        node = self.frames.pop().node()
        if self._depth() + node.height > MAX_NESTING:
            raise self._too_deep(token)
        self._set(node)

    def _set_scalar(self, token: Token, place: Position) -> None:
        try:
            value = _scalar(token, self.source)
        except UnknownUnit:
            self.session.remark(
                "unknown-unit",
                place,
                "a number has no known unit: nats-server drops the value without a word",
            )
            return
        self._set(ValueNode(value=value, place=place, weight=_NODE_WEIGHT + len(token.text)))

    def _set(self, node: ValueNode) -> None:
        frame = self.frames[-1]
        if not frame.is_map:
            frame.items.append(node)
            self._account(frame, node)
            return
        key = self.keys.pop()
        self._put(Field(name=key.text, place=self.source.place(key.offset), node=node))

    def _put(self, field: Field) -> None:
        frame = self.frames[-1]
        earlier = frame.fields.pop(field.name, None)
        if earlier is not None:
            self.session.remark(
                "duplicate-key",
                field.place,
                f"`{field.name}` replaces the one at {earlier.place}, nothing of which is kept",
            )
        frame.fields[field.name] = field
        self._account(frame, field.node)

    def _account(self, frame: _Frame, node: ValueNode) -> None:
        frame.weight += node.weight
        frame.height = max(frame.height, node.height)
        if frame.weight > MAX_WEIGHT:
            raise NatsConfigError(
                "far too large with all variables filled in",
                place=str(node.place),
                hint="look for variables that refer to each other many times",
            )

    def _include(self, token: Token, place: Position) -> None:
        # Go's filepath.Join: an absolute name is joined too, and `//` at the beginning is `/`.
        directory = posixpath.dirname(self.source.name) or "."
        path = posixpath.normpath(f"{directory}/{token.text}").replace("//", "/", 1)
        if path in self.chain:
            raise self.source.error(
                token.offset,
                f"`{path}` includes itself",
                hint=f"break the loop: {' -> '.join((*self.chain, path))}",
            )
        included = SourceText(self.session.include(path, place), name=path)
        parser = _Parser(included, self.session, chain=(*self.chain, path))
        table = parser.table(nesting=self._depth())
        for field in table.fields.values():
            self._put(field)

    def _variable(self, token: Token, place: Position) -> ValueNode:
        # A password that is hashed with bcrypt begins as a variable does.
        if token.text.startswith(_BCRYPT):
            return ValueNode(
                value=f"${token.text}", place=place, weight=_NODE_WEIGHT + len(token.text)
            )
        for frame in reversed(self.frames):
            field = frame.fields.get(token.text)
            if field is not None:
                self.session.definitions.add(field.place)
                return _used(field.node, place, token.text)
        return self._environment_variable(token, place)

    def _environment_variable(self, token: Token, place: Position) -> ValueNode:
        # An unquoted password that begins with `$` would stand in the message.
        is_secret = bool(self.keys) and fold(self.keys[-1].text) in _SECRETS
        shown = "" if is_secret else f" `{token.text}`"
        name = f"${token.text}"
        if name in self.chain:
            raise self.source.error(
                token.offset,
                f"the variable{shown} refers to itself",
                hint="give the environment variable a plain value",
            )
        text = self.session.environment.get(token.text)
        parsed: Mapping[str, Field] = {}
        if text is not None:
            # As conf/parse.go does: the value is read as that of a key in a text of its own.
            parser = _Parser(
                SourceText(f"pk={text}", name=name), self.session, chain=(*self.chain, name)
            )
            parsed = parser.table(nesting=self._depth()).fields
        if "pk" not in parsed:
            raise self.source.error(
                token.offset,
                f"the variable{shown} is defined neither above nor in the environment",
                hint="define it before its use, set it in the environment, "
                "or put a string that begins with `$` in quotes",
            )
        return _used(parsed["pk"].node, place, token.text)


def _used(node: ValueNode, place: Position, variable: str) -> ValueNode:
    return ValueNode(
        value=node.value, place=place, variable=variable, weight=node.weight, height=node.height
    )


def _scalar(token: Token, source: SourceText) -> Value:
    match token.kind:
        case TokenKind.INTEGER:
            return read_integer(token, source)
        case TokenKind.FLOAT:
            return read_float(token, source)
        case TokenKind.DATE:
            return read_date(token, source)
        case TokenKind.BOOLEAN:
            return BOOLEANS[fold(token.text)]
        case _:
            return token.text


# From the text of a number or date to its value, within the limits of nats-server.

_INT64_DIGITS = 19
_INT64_LIMIT = 1 << 63
_INTEGER = re.compile(r"(-?)([0-9]+)(.*)", re.DOTALL)
# The switch over suffixes in conf/parse.go, processItem.
_UNITS = {"": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _UNITS[_letter] = 1000**_power
    _UNITS |= dict.fromkeys((f"{_letter}b", f"{_letter}i", f"{_letter}ib"), 1024**_power)


class UnknownUnit(Exception):
    """The letters after a number are a unit to the lexer, but none that has a size."""


def read_integer(token: Token, source: SourceText) -> int:
    """Return the integer with its unit applied; it wraps at 64 bits as nats-server's does.

    Raises UnknownUnit for `kbb` and the like, whose field nats-server silently drops.
    """
    found = _INTEGER.fullmatch(token.text)
    if found is None:
        raise source.error(
            token.offset, "an integer has digits that are not 0 to 9", hint="write plain digits"
        )
    sign, digits, unit = found.groups()
    significant = digits.lstrip("0") or "0"
    number = int(sign + significant) if len(significant) <= _INT64_DIGITS else _INT64_LIMIT
    if not -_INT64_LIMIT <= number < _INT64_LIMIT:
        raise source.error(
            token.offset,
            "an integer does not fit into 64 bits",
            hint="put long digit strings in quotes",
        )
    if unit.lower() not in _UNITS:
        raise UnknownUnit
    # Go multiplies two int64, and what does not fit wraps without a word.
    return (number * _UNITS[unit.lower()] + _INT64_LIMIT) % (1 << 64) - _INT64_LIMIT


def read_float(token: Token, source: SourceText) -> float:
    """Return the float; raise NatsConfigError when it is out of range."""
    number = float(token.text) if token.text.isascii() else math.inf
    if math.isinf(number):
        raise source.error(
            token.offset, "a float is out of range", hint="put digit strings in quotes"
        )
    return number


def read_date(token: Token, source: SourceText) -> Date:
    """Return the moment; raise NatsConfigError when the calendar has no such day or time."""
    numbers = [int(digits) for digits in re.findall(r"\d+", token.text)]
    year, *rest = numbers
    try:
        # The calendar repeats every 400 years; Python has no year 0, Go has.
        datetime(2000 + year % 400, *rest, tzinfo=UTC)  # type: ignore[arg-type,misc]  # five more integers
    except ValueError:
        rest = []
    if not rest or not token.text.isascii():
        raise source.error(
            token.offset,
            "there is no such date and time",
            hint="check month, day, hour, minute and second, or put the string in quotes",
        )
    return Date(token.text)
