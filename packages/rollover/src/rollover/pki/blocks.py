"""Splits PEM text into its blocks, tolerantly: what a person would see in the file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import NamedTuple

BEGIN = b"-----BEGIN "
END = b"-----END "
DASHES = b"-----"
LONGEST_LABEL = 80
NO_END = "its end line is missing"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """One block from `BEGIN` to `END`, wherever on its line it begins."""

    label: str
    line: int
    """Line of its `BEGIN`, from 1."""
    content: bytes
    """What its base64 says; empty when that is damaged."""
    headers: bool
    """Whether header lines (`Name: value`) stand before the base64."""
    joined: bool
    """Whether it begins on the line on which the block before it ends."""
    damage: str
    """Why there is no content; empty when there is."""
    indented: bool = False
    """Whether something stands before its `BEGIN` on the line, other than a block's end."""
    trailing: bool = False
    """Whether text follows its `END` on the line, other than another block."""
    blank_lines: bool = False
    """Whether empty lines stand inside it, one directly below its `BEGIN` aside.

    That one ends a list of headers which is empty (OpenSSL, get_header_and_data of pem_lib.c).
    """


def split(data: bytes) -> tuple[Block, ...]:
    """Return all blocks in order. A block that cannot be read has no content, but `damage`."""
    return tuple(_blocks(data))


def place_of(line: int, *, file: str) -> str:
    """Return `file:line`, or the line alone when nobody says which file it is."""
    return f"{file}:{line}" if file else f"line {line}"


def _blocks(data: bytes) -> Iterator[Block]:
    line, counted, last_end = 1, 0, -1
    start = data.find(BEGIN)
    while start >= 0:
        following = data.find(BEGIN, start + len(BEGIN))
        limit = following if following >= 0 else len(data)
        line += data.count(b"\n", counted, start)
        counted = start
        joined = last_end >= 0 and b"\n" not in data[last_end:start]
        found, last_end = _block(data, start, limit, line=line, joined=joined)
        yield found
        start = following


def _block(data: bytes, start: int, limit: int, *, line: int, joined: bool) -> tuple[Block, int]:
    """Return the block that begins at `start`, and where its end line ends (-1: nowhere)."""
    label_start = start + len(BEGIN)
    label_end = data.find(DASHES, label_start, min(limit, label_start + LONGEST_LABEL))
    label = data[label_start : max(label_end, label_start)].decode("ascii", "replace")
    body = label_end + len(DASHES)
    stop = data.find(END, body, limit) if label_end >= 0 else -1
    if stop < 0:
        return Block(label, line, b"", headers=False, joined=joined, damage=NO_END), -1
    end = stop + len(END)
    end_label = data[end : end + len(label)].decode("ascii", "replace")
    if end_label != label:
        damage = "its end line names another kind of block"
        return Block(label, line, b"", headers=False, joined=joined, damage=damage), end
    content, headers, damage = _content(data[body:stop])
    after = end + len(label) + len(DASHES)
    found = Block(
        label,
        line,
        content,
        headers=headers,
        joined=joined,
        damage=damage,
        indented=not joined and bool(_line_before(data, start)),
        trailing=bool(data[after : _line_end(data, after, limit)].strip()),
        blank_lines=_has_blank_lines(data[body:stop]),
    )
    return found, after


def _has_blank_lines(body: bytes) -> bool:
    _, *lines = body.splitlines() or [b""]
    if lines and not lines[0].strip():
        del lines[0]
    return any(not line.strip() for line in lines)


def _line_before(data: bytes, start: int) -> bytes:
    """Return what stands before `start` on its line, a byte order mark aside."""
    begin = data.rfind(b"\n", max(0, start - LONGEST_LABEL), start) + 1
    return data[begin or max(0, start - LONGEST_LABEL) : start].removeprefix(BYTE_ORDER_MARK)


def _line_end(data: bytes, after: int, limit: int) -> int:
    end = data.find(b"\n", after, limit)
    return end if end >= 0 else limit


def _content(body: bytes) -> tuple[bytes, bool, str]:
    """Return the decoded base64, whether headers stand before it, and the damage."""
    lines = body.split(b"\n")
    encoded = [part for part in lines if b":" not in part]
    try:
        content = base64.b64decode(b"".join(b"".join(encoded).split()), validate=True)
    except binascii.Error as error:
        return b"", len(encoded) < len(lines), f"its base64 is damaged ({error})"
    return content, len(encoded) < len(lines), "" if content else "it is empty"
