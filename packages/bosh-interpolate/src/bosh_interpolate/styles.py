"""How gopkg.in/yaml.v2 writes one scalar: plain, quoted or as a block, and where it folds it."""

from __future__ import annotations

import base64
import re
import sys
from typing import Literal, NamedTuple

from bosh_interpolate.scalars import stays_text

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


def style(text: str) -> Style:
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
