"""What the journal holds: entries that are chained by their hashes, and what a rotation came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

Plain: TypeAlias = "str | int | float | bool | Sequence[Plain] | Mapping[str, Plain] | None"
"""A value that JSON can say."""


class EntryKind(StrEnum):
    """What an entry tells of. Kinds are only ever added: old journals stay readable."""

    STARTED = "started"
    PLANNED = "planned"
    REFUSED = "refused"
    OVERRIDDEN = "overridden"
    APPROVED = "approved"
    DECLINED = "declined"
    ROLLOUT_STARTED = "rollout-started"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    EVIDENCE = "evidence"
    GATE = "gate"
    ROLLOUT_FINISHED = "rollout-finished"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, in its place in the chain.

    `subject` names the group or instance that it happened to, empty when it is the rotation.
    `data` holds plain values, never key material. `hash` is the SHA-256 (hexadecimal) over the
    canonical JSON of all other fields, `previous` the hash of the entry before, or `GENESIS`.
    """

    sequence: int
    at: datetime
    rotation: str
    kind: EntryKind
    subject: str
    data: Mapping[str, Plain]
    previous: str
    hash: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a journal ends. Who notes it elsewhere can tell later that nothing was cut off."""

    sequence: int
    hash: str


class RotationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal knows of one rotation; sequences are those of its first and last entry."""

    rotation: str
    first_sequence: int
    last_sequence: int
    started_at: datetime
    last_at: datetime
    entries: int
    last_kind: EntryKind


GENESIS = "0" * 64
"""Stands where the hash of an entry before the first would."""
