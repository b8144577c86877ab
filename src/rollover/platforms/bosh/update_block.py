"""The `update` blocks of a manifest: how a director paces the instances of each group."""

from __future__ import annotations

import re

import msgspec

from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.manifest.reading import load
from rollover.manifest.values import Key, Tree

_SHARE = re.compile(r"\s*(\d+)\s*%\s*")
_NUMBER = re.compile(r"\s*(\d+)")
_MILLISECONDS = 1000


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """How the instances of one group are updated. Numbers may be shares, `10%`."""

    canaries: str = "1"
    max_in_flight: str = "1"
    serial: bool = True
    """Whether the group is updated alone; else beside its neighbours that are not serial either."""
    canary_watch_seconds: float = 30.0
    """How long a canary is watched at least."""
    watch_seconds: float = 30.0


class Updates(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest says of its groups, in their order."""

    groups: dict[str, Update] = {}
    default: Update = msgspec.field(default_factory=Update)

    def of(self, group: str) -> Update:
        """Return how a group is updated."""
        return self.groups.get(group, self.default)


def updates(manifest: str) -> Updates:
    """Return the pacing of a manifest; that of a director without any where none can be read.

    It is for estimates and windows only: the director judges the manifest, not Rollover.
    """
    try:
        with manifest_errors():
            tree = load(manifest.encode())
    except SpecError:
        return Updates()
    if not isinstance(tree, dict):
        return Updates()
    general = _map(tree.get("update"))
    groups = tree.get("instance_groups", tree.get("jobs"))
    # A group's own `update` goes over the manifest's, key by key.
    found = {
        str(each["name"]): _update({**general, **_map(each.get("update"))})
        for each in (groups if isinstance(groups, list) else ())
        if isinstance(each, dict) and each.get("name") is not None
    }
    return Updates(groups=found, default=_update(general))


def amount(text: str, size: int, *, least: int) -> int:
    """Return how many of `size` instances a number or a share means, `least` at least."""
    if share := _SHARE.fullmatch(text):
        return max(least, size * int(share[1]) // 100)
    number = _NUMBER.match(text)
    return max(least, int(number[1])) if number else least


def _map(value: Tree) -> dict[Key, Tree]:
    return dict(value) if isinstance(value, dict) else {}


def _update(block: dict[Key, Tree]) -> Update:
    known = Update()
    return Update(
        canaries=str(block.get("canaries", known.canaries)),
        max_in_flight=str(block.get("max_in_flight", known.max_in_flight)),
        serial=block.get("serial") is not False,
        canary_watch_seconds=_least(block.get("canary_watch_time"), known.canary_watch_seconds),
        watch_seconds=_least(block.get("update_watch_time"), known.watch_seconds),
    )


def _least(value: Tree, default: float) -> float:
    """Return the shorter end of `30000-300000` (milliseconds) in seconds."""
    found = _NUMBER.match(str(value)) if value is not None else None
    return int(found[1]) / _MILLISECONDS if found else default
