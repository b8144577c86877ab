"""Who did what when: the director's events."""

from __future__ import annotations

import time

import msgspec

from rollover_lab.bosh.director.database import Database, Value

_LIMIT = 200
_FILTERS = ("task", "deployment", "instance", "user", "action", "object_type", "object_name")


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event is about."""

    user: str
    action: str
    object_type: str
    object_name: str | None = None
    parent_id: int | None = None
    error: str | None = None
    task: str | None = None
    deployment: str | None = None
    instance: str | None = None
    context: dict[str, object] = {}


class History:
    """Adds and finds events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, happening: Happening) -> int:
        """Write down an event that happens now; return its id."""
        columns: dict[str, Value] = {
            name: getattr(happening, name) for name in happening.__struct_fields__
        }
        columns["context"] = msgspec.json.encode(happening.context).decode()
        return self._database.insert("events", timestamp=int(time.time()), **columns)

    def find(self, wanted: dict[str, str]) -> list[dict[str, object]]:
        """Return the newest events that fit, as clients see them, at most 200.

        `wanted` may have `before_id`, `before_time`, `after_time` (Unix seconds) and columns.
        """
        conditions = {
            "id < ?": wanted.get("before_id"),
            "timestamp < ?": wanted.get("before_time"),
            "timestamp > ?": wanted.get("after_time"),
            **{f"{name} = ?": wanted.get(name) for name in _FILTERS},
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join(given) or "1"
        # The texts above are all there are; values are bound.
        statement = f"SELECT * FROM events WHERE {where} ORDER BY id DESC LIMIT {_LIMIT}"  # noqa: S608
        return [_shown(dict(row)) for row in self._database.rows(statement, *given.values())]

    def get(self, number: str) -> dict[str, object] | None:
        """Return one event as clients see it."""
        row = self._database.row("SELECT * FROM events WHERE id = ?", number)
        return None if row is None else _shown(dict(row))


def _shown(row: dict[str, object]) -> dict[str, object]:
    parent = row["parent_id"]
    shown = {
        **row,
        "id": str(row["id"]),
        "parent_id": "" if parent is None else str(parent),
        "context": msgspec.json.decode(str(row["context"])),
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}
