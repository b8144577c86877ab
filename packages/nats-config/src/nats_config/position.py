"""Where something stands in a configuration, and what is worth saying about it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Place(NamedTuple):
    """A position in a file: line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that nats-server accepts without a word and that a person should know.

    `code` is stable: `duplicate-key`, `key-without-value`, `unknown-unit`, `empty`,
    `cut-off`, `same-field-twice`, `ignored-option`, `unverified`, `unknown-field`, `not-a-url`.
    """

    code: str
    place: Place
    message: str
