"""Where Rollover keeps what a rotation of a director needs between two runs: private files.

ops/01/add-new-ca.yml      ops files that were, or are about to be, deployed, oldest first
backups/creds.yml.<sha>    the vars store before it was changed
variables.json             the variables that Rollover has added to the vars store
create-env-*.log           what `create-env` said
create-env.lock            held as long as a `create-env` runs, by that process itself
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from rollover import replacing
from rollover.errors import SpecError
from rollover.platforms.bosh.ops_files import OpsFile

_PRIVATE, _PRIVATE_DIRECTORY = 0o600, 0o700
_SHORT = 12


class Workplace:
    """One director's directory below the state directory; made when something is put into it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def lock(self) -> Path:
        """The file that a running `create-env` holds locked."""
        return self.directory / "create-env.lock"

    @property
    def _ops(self) -> Path:
        return self.directory / "ops"

    @property
    def _variables(self) -> Path:
        return self.directory / "variables.json"

    def ops_files(self) -> tuple[Path, ...]:
        """Return the ops files, the latest last."""
        return tuple(sorted(self._ops.glob("[0-9]*/*.yml"), key=lambda each: int(each.parent.name)))

    def put_ops_file(self, wanted: OpsFile) -> Path:
        """Keep an ops file, and return where. The same one again is the one that is there."""
        present = self.ops_files()
        for each in present:
            if each.name == wanted.name and each.read_bytes() == wanted.content:
                return each
        number = int(present[-1].parent.name) + 1 if present else 1
        path = self._ops / f"{number:02}" / wanted.name
        self._made(path.parent)
        replacing.replace(path, wanted.content, mode=_PRIVATE, durable=True)
        return path

    def remove_ops_files(self) -> tuple[Path, ...]:
        """Remove all ops files, and return which there were."""
        found = self.ops_files()
        if self._ops.exists():
            shutil.rmtree(self._ops)
            replacing.sync_directory(self.directory)
        return found

    def backups(self) -> tuple[Path, ...]:
        """Return the copies that are kept, the latest last."""
        found = (self.directory / "backups").glob("*")
        return tuple(sorted(found, key=lambda each: each.stat().st_mtime))

    def back_up(self, path: Path) -> Path:
        """Keep a copy of a file, and return where; the same content is kept once."""
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:_SHORT]
        kept = self.directory / "backups" / f"{path.name}.{digest}"
        if not kept.exists() or kept.read_bytes() != content:
            self._made(kept.parent)
            replacing.replace(kept, content, mode=_PRIVATE, durable=True)
        return kept

    def keep_only(self, kept: Path) -> None:
        """Remove the copies of the vars store but this one: they hold keys that are of no use."""
        for each in self.backups():
            if each != kept:
                each.unlink(missing_ok=True)

    def added(self) -> frozenset[str]:
        """Return the variables that Rollover has added to the vars store."""
        try:
            return frozenset(msgspec.json.decode(self._variables.read_bytes(), type=list[str]))
        except FileNotFoundError:
            return frozenset()
        except msgspec.MsgspecError as error:
            raise SpecError(
                f"cannot be read: {error}",
                place=str(self._variables),
                hint="it is a JSON list of the names of variables that Rollover has added",
            ) from None

    def note_added(self, names: Iterable[str]) -> None:
        """Note variables before they are added."""
        wanted = self.added() | frozenset(names)
        if wanted != self.added():
            self._made(self.directory)
            content = msgspec.json.encode(sorted(wanted))
            replacing.replace(self._variables, content, mode=_PRIVATE, durable=True)

    def forget_added(self) -> None:
        """Forget them: they are gone from the vars store."""
        self._variables.unlink(missing_ok=True)

    def log(self, at: datetime) -> Path:
        """Return the path of a new log of `create-env`."""
        self._made(self.directory)
        return self.directory / f"create-env-{at:%Y%m%dT%H%M%SZ}.log"

    def _made(self, directory: Path) -> None:
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
