"""Writes YAML byte for byte as gopkg.in/yaml.v2 does: its order of keys, its styles of scalars."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterable
from functools import cmp_to_key
from typing import Literal, NamedTuple

from bosh_interpolate.values import Key, Tree, float_text, key_value, stays_text

# The order of keys: numbers first, then the "natural" order of sorter.go, keyList.Less.

_BY_CODE = re.compile(r"[ $()\-./:_a-z]*")
"""Keys of these characters alone: letters follow the rest, no digits, so code points decide."""

_WORD = 2**64
_NUMBER, _NIL, _STRING = range(3)
_KINDS: tuple[type, ...] = (bool, int, float)
"""Of equal numbers the kind decides."""


def sort_keys(keys: Iterable[Key]) -> list[Key]:
    """Return the keys in the order in which they are written."""
    found = list(keys)
    texts = [key for key in found if isinstance(key, str)]
    if len(texts) == len(found) and _BY_CODE.fullmatch("".join(texts)):
        texts.sort()
        return list[Key](texts)
    return sorted(found, key=cmp_to_key(_compare))


def _compare(one: Key, other: Key) -> int:
    if isinstance(one, str) and isinstance(other, str):
        return _compare_texts(one, other)
    first, second = _rank(one), _rank(other)
    return (first > second) - (first < second)


def _rank(key: Key) -> tuple[int, float, int]:
    value = key_value(key)
    if isinstance(value, str):
        return _STRING, 0, 0
    return (_NIL, 0, 0) if value is None else (_NUMBER, value, _KINDS.index(type(value)))


def _compare_texts(one: str, other: str) -> int:
    """Compare by the first difference: letters last, numbers by their value."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return _compare_at(one, other, place)
    return len(one) - len(other)


def _compare_at(one: str, other: str, place: int) -> int:
    left, right = one[place], other[place]
    if left.isalpha() and right.isalpha():
        return -1 if left < right else 1
    if left.isalpha() or right.isalpha():
        return -1 if right.isalpha() else 1
    start = 1 if "0" in (left, right) and _follows_digits(one, place) else 0
    (first, first_end), (second, second_end) = (
        _run_of_digits(text, place, start) for text in (one, other)
    )
    if first != second:
        return -1 if first < second else 1
    if first_end != second_end:
        return first_end - second_end
    return -1 if left < right else 1


def _follows_digits(text: str, place: int) -> bool:
    """Say whether a digit other than 0 stands before `place` in the same run of digits."""
    for char in reversed(text[:place]):
        if not char.isdecimal():
            return False
        if char != "0":
            return True
    return False


def _run_of_digits(text: str, place: int, number: int) -> tuple[int, int]:
    """Return the number at `place`, as a 64-bit integer that may overflow, and where it ends."""
    while place < len(text) and text[place].isdecimal():
        number = number * 10 + ord(text[place]) - ord("0")
        place += 1
    return (number + _WORD // 2) % _WORD - _WORD // 2, place


# Scalars: plain, quoted or as a block, and where they are folded (emitterc.go).

WIDTH = 80
"""A space is turned into a line break once this many characters stand before it."""
INDENT = 2
_BASE64_LINE = 70

Form = Literal["plain", "single", "double", "block", "binary"]


class Style(NamedTuple):
    """How a string is written, and whether it fits into the key of a line `key: value`."""

    form: Form
    fits_key: bool


_LONGEST_SIMPLE_KEY = 128
_SAFE = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_UNPRINTABLE = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
_SURROGATE = re.compile("[\udc80-\udcff]")
_BREAKS = "\n\r\x85\u2028\u2029"
_BLOCK_BREAKS = "\n\u2028\u2029"
"""Line breaks that a block can hold."""
_HAS_BREAK = re.compile(f"[{_BREAKS}]")
_SPACE_BEFORE_BREAK = re.compile(f" [{_BREAKS}]")
_SPACE_AFTER_BREAK = re.compile(f"[{_BREAKS}] ")
_INDICATORS = re.compile(
    r"(?:---|\.\.\.|[#,\[\]{}&*!|>'\"%@`]|[?:-](?:[ \t]|\Z))"  # at the beginning
    r"|.+?:(?:[ \t]|\Z)"  # a colon that ends a key
    rf"|.*?[\0 \t{_BREAKS}]\#",  # a comment
    re.DOTALL,
)
_LINE_STARTS = re.compile("(?<=[\n\u2028\u2029])(?=[^\n\u2028\u2029])")
_ESCAPES = {
    "\0": "0",
    "\x07": "a",
    "\x08": "b",
    "\t": "t",
    "\n": "n",
    "\x0b": "v",
    "\x0c": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\xa0": "_",
    "\u2028": "L",
    "\u2029": "P",
}
_ALWAYS_ESCAPED = frozenset(_ESCAPES) - {"\xa0"}


def choose_style(text: str) -> Style:
    """Return how a string is written."""
    if _SAFE.fullmatch(text) and stays_text(text):
        return Style("plain", len(text) <= _LONGEST_SIMPLE_KEY)
    if _is_simple(text):
        return Style(_simple_form(text), "\n" not in text and len(text) <= _LONGEST_SIMPLE_KEY)
    if _SURROGATE.search(text):
        return Style("binary", fits_key=False)
    fits = len(text.encode()) <= _LONGEST_SIMPLE_KEY and not _HAS_BREAK.search(text)
    return Style(_form(text), fits)


def _is_simple(text: str) -> bool:
    """Say whether the text is printable ASCII with line breaks: asked of megabytes of PEM."""
    return text.isascii() and text.replace("\n", "").isprintable()


def _simple_form(text: str) -> Form:
    if "\n" in text:
        return "double" if " \n" in text or text[-1] == " " else "block"
    if not stays_text(text):
        return "double"
    return "single" if " " in (text[0], text[-1]) or _INDICATORS.match(text) else "plain"


def _form(text: str) -> Form:
    if _UNPRINTABLE.search(text) or _SPACE_BEFORE_BREAK.search(text):
        return "double"
    if "\n" in text:
        return "double" if text.endswith(" ") else "block"
    if not stays_text(text) or _SPACE_AFTER_BREAK.search(text):
        return "double"
    edged = text[:1] == " " or text[-1:] == " "
    if edged or _HAS_BREAK.search(text) or _INDICATORS.match(text):
        return "single"
    return "plain"


def render(text: str, form: Form, *, column: int, indent: int) -> str:
    """Return a string as it is written from `column` on, and the end of its last line.

    Further lines begin at `indent`.
    """
    match form:
        case "plain":
            return _plain(text, column, indent, WIDTH) + "\n"
        case "single":
            return _single(text, column, indent, WIDTH) + "\n"
        case "double":
            return _double(text, column, indent, WIDTH) + "\n"
        case "block":
            return _block(text, indent)
        case "binary":
            return _binary(text, indent)


def render_key(text: str, form: Form) -> str:
    """Return a string as the key of a line `key: value`, which is never folded."""
    if form == "plain":
        return text
    return (_single if form == "single" else _double)(text, 0, 0, sys.maxsize)


def _plain(text: str, column: int, indent: int, limit: int) -> str:
    if column + len(text) <= limit or " " not in text:
        return text
    lines, start = [], 0
    place = text.find(" ", limit + 1 - column)
    while place >= 0:
        if text[place - 1] != " " and text[place + 1] != " ":
            lines.append(text[start:place])
            start = place + 1
            place = text.find(" ", start + limit + 1 - indent)
        else:
            place = text.find(" ", place + 1)
    lines.append(text[start:])
    return ("\n" + " " * indent).join(lines)


def _single(text: str, column: int, indent: int, limit: int) -> str:
    """Write between single quotes; the rare line breaks of YAML 1.1 are kept as they are."""
    out = ["'"]
    column += 1
    spaces = breaks = False
    for place, char in enumerate(text):
        if char == " ":
            inside = 0 < place < len(text) - 1
            if not spaces and column > limit and inside and text[place + 1] != " ":
                out.append("\n" + " " * indent)
                column = indent
            else:
                out.append(char)
                column += 1
            spaces = True
        elif char in _BREAKS:
            out.append(char)
            column, breaks = 0, True
        else:
            if breaks:
                out.append(" " * indent)
                column = indent
            out.append("''" if char == "'" else char)
            column += 2 if char == "'" else 1
            spaces = breaks = False
    return "".join((*out, "'"))


def _double(text: str, column: int, indent: int, limit: int) -> str:
    # The library looks for a byte order mark at the start only, and then escapes everything.
    escape_all = text.startswith("\ufeff")
    out = ['"']
    column += 1
    spaces = False
    for place, char in enumerate(text):
        if escape_all or char in _ALWAYS_ESCAPED or _UNPRINTABLE.match(char):
            escaped = _escaped(char)
            out.append(escaped)
            column += len(escaped)
            spaces = False
        elif char == " " and not spaces and column > limit and 0 < place < len(text) - 1:
            out.append("\n" + " " * indent + ("\\" if text[place + 1] == " " else ""))
            column = indent + (text[place + 1] == " ")
            spaces = True
        else:
            out.append(char)
            column += 1
            spaces = char == " "
    return "".join((*out, '"'))


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return "\\" + _ESCAPES[char]
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 - one octet
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004 - two octets


def _block(text: str, indent: int) -> str:
    pad = " " * indent
    head = "|" + (str(INDENT) if text[0] in " \n\u2028\u2029" else "") + _chomping(text) + "\n"
    end = "" if text[-1] in _BLOCK_BREAKS else "\n"
    if "\n\n" in text or text[0] == "\n" or "\u2028" in text or "\u2029" in text:
        begins = "" if text[0] in _BLOCK_BREAKS else pad
        return head + begins + _LINE_STARTS.sub(pad, text) + end
    body = text.removesuffix("\n").replace("\n", "\n" + pad)
    return head + pad + body + "\n"


def _chomping(text: str) -> str:
    """Return the mark for how many line breaks end a block: one needs none."""
    if text[-1] not in _BLOCK_BREAKS:
        return "-"
    return "+" if len(text) == 1 or text[-2] in _BLOCK_BREAKS else ""


def _binary(text: str, indent: int) -> str:
    """Write bytes that are no UTF-8."""
    encoded = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
    if len(encoded) < _BASE64_LINE:
        return f"!!binary {encoded}\n"
    starts = range(0, len(encoded), _BASE64_LINE)
    lines = "".join(encoded[start : start + _BASE64_LINE] + "\n" for start in starts)
    return "!!binary " + _block(lines, indent)


# Documents: sorted keys, lists not indented.

_PLAIN = Style("plain", fits_key=True)


def emit(value: Tree) -> str:
    """Return a document that holds the value, its last line ended."""
    writer = _Writer()
    writer.document(value)
    return "".join(writer.out)


class _Writer:
    """Collects the parts of the text of one document."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._styles: dict[str, Style] = {}

    def document(self, value: Tree) -> None:
        """Write the root."""
        if isinstance(value, dict | list) and value:
            self._collection(value, 0, "")
        else:
            self.out.append(self._scalar(value, 0, INDENT))

    def _collection(self, value: dict[Key, Tree] | list[Tree], indent: int, lead: str) -> None:
        if isinstance(value, dict):
            self._map(value, indent, lead)
        else:
            self._list(value, indent, lead)

    def _map(self, value: dict[Key, Tree], indent: int, lead: str) -> None:
        pad = " " * indent
        for key in sort_keys(value):
            scalar = key_value(key)
            found = self._style(scalar) if isinstance(scalar, str) else _PLAIN
            if found.fits_key:
                text = render_key(scalar if isinstance(scalar, str) else _word(scalar), found.form)
                self._after_key(value[key], indent, f"{lead}{text}:", indent + len(text) + 1)
            else:
                text = self._scalar(scalar, indent + INDENT, indent + INDENT)
                self.out.append(f"{lead}? {text}")
                self._inline(value[key], indent, pad + ":")
            lead = pad

    def _after_key(self, value: Tree, indent: int, start: str, column: int) -> None:
        if isinstance(value, dict) and value:
            self.out.append(start + "\n")
            self._map(value, indent + INDENT, " " * (indent + INDENT))
        elif isinstance(value, list) and value:
            self.out.append(start + "\n")
            self._list(value, indent, " " * indent)
        else:
            self.out.append(f"{start} {self._scalar(value, column + 1, indent + INDENT)}")

    def _list(self, value: list[Tree], indent: int, lead: str) -> None:
        pad = " " * indent
        for item in value:
            self._inline(item, indent, lead + "-")
            lead = pad

    def _inline(self, value: Tree, indent: int, start: str) -> None:
        """Write a value on the line of a mark (`-`, or the `:` after a long key)."""
        if isinstance(value, dict | list) and value:
            self._collection(value, indent + INDENT, start + " ")
        else:
            self.out.append(f"{start} {self._scalar(value, indent + INDENT, indent + INDENT)}")

    def _style(self, text: str) -> Style:
        found = self._styles.get(text)
        if found is None:
            found = self._styles[text] = choose_style(text)
        return found

    def _scalar(self, value: Tree, column: int, indent: int) -> str:
        """Return a scalar or an empty collection, and the end of its line."""
        if not isinstance(value, str):
            return _word(value) + "\n"
        form = self._style(value).form
        if form == "plain" and column + len(value) <= WIDTH:
            return value + "\n"
        return render(value, form, column=column, indent=indent)


def _word(value: Tree) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case list():
            return "[]"
        case dict():
            return "{}"
        case _:
            return str(value)
