"""The wait until the pods see what was written: kubelet brings it, and tells nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rollover.delivery.kubernetes_objects import Objects
from rollover.delivery.kubernetes_records import DELIVERED_AT
from rollover.delivery.kubernetes_volumes import INSTANCE
from rollover.delivery.placing import LARGEST_FILE
from rollover.errors import TimedOut
from rollover.files import read_start
from rollover.fleet.secret import SecretBytes
from rollover.kubernetes.objects import ObjectRef

_LOOK_SECONDS: Final = 0.5


class Pods:
    """How long to wait for the pods of a group, or where to look.

    `mounted` is a directory below which their volumes are seen here, `{instance}` in it the
    instance; without it `sync_seconds` pass since the last write.
    """

    def __init__(
        self, *, sync_seconds: float, mounted: str | None, pause: Callable[[float], None]
    ) -> None:
        self._sync_seconds = sync_seconds
        self._mounted = mounted
        self._pause = pause

    def await_content(
        self,
        instance: str,
        contents: Mapping[str, SecretBytes | None],
        *,
        objects: Objects,
        refs: Iterable[ObjectRef],
    ) -> None:
        """Wait until the pods should have these files (None: a file is gone)."""
        if self._mounted is None:
            self._settle(objects, refs)
            return
        root = self._mounted.replace(INSTANCE, instance)
        deadline = time.monotonic() + self._sync_seconds
        lacking = dict(contents)
        while lacking := {
            path: content for path, content in lacking.items() if not _shows(root, path, content)
        }:
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"`{next(iter(lacking))}` below `{root}` is not what was delivered after "
                    f"{self._sync_seconds:.0f} s",
                    system=f"instance `{instance}`",
                    operation="deliver",
                    hint="volumes with `subPath` and immutable objects are never renewed; "
                    "otherwise raise `sync_seconds`",
                )
            self._pause(_LOOK_SECONDS)

    def _settle(self, objects: Objects, refs: Iterable[ObjectRef]) -> None:
        """Wait until kubelet should have brought the last write of these objects to the pods."""
        for ref in refs:
            said = objects.read(ref).annotations.get(DELIVERED_AT)
            remaining = self._sync_seconds - _seconds_since(said)
            if said is not None and remaining > 0:
                self._pause(min(remaining, self._sync_seconds))


def _shows(root: str, path: str, content: SecretBytes | None) -> bool:
    try:
        found = read_start(Path(root) / path.lstrip("/"), size=LARGEST_FILE + 1)
    except OSError:
        return content is None
    return content is not None and found == content.reveal()


def _seconds_since(said: str | None) -> float:
    try:
        then = datetime.fromisoformat(said or "")
        return (datetime.now(UTC) - then).total_seconds()
    except (ValueError, TypeError):
        return 0.0
