"""The files of one agent: what it was told, what it does, and what it must not forget."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from rollover_lab import private_files
from rollover_lab.bosh.agent.settings import Settings, Told, UpdateSettings

T = TypeVar("T")


class UnreadableFile(Exception):
    """A file of the agent is missing or damaged; the text holds nothing of its content."""


class AgentDirectory(NamedTuple):
    """The directory of one agent."""

    root: Path

    @property
    def settings(self) -> Path:
        """Written by the cloud, read at each start."""
        return self.root / "settings.json"

    @property
    def update_settings(self) -> Path:
        """What `update_settings` brought."""
        return self.root / "update_settings.json"

    @property
    def tasks(self) -> Path:
        """Tasks whose results must be known after a restart."""
        return self.root / "tasks.json"

    @property
    def spec(self) -> Path:
        """What was applied last."""
        return self.root / "spec.json"

    @property
    def jobs(self) -> Path:
        """What monit is told: whether jobs are stopped or failing."""
        return self.root / "jobs.json"

    @property
    def log(self) -> Path:
        """Starts, ends and connections; never a message."""
        return self.root / "agent.log"

    @property
    def store(self) -> Path:
        """Where the persistent disk is mounted: a symbolic link."""
        return self.root / "store"

    @property
    def store_migration(self) -> Path:
        """Where a second disk is mounted, for `migrate_disk`."""
        return self.root / "store_migration_target"

    def told(self) -> Told:
        """Read both files of settings; `UnreadableFile`: the agent cannot start with them."""
        update = UpdateSettings()
        if self.update_settings.exists():
            update = read(self.update_settings, UpdateSettings)
        return Told(settings=read(self.settings, Settings), update=update)

    def save_update(self, update: UpdateSettings) -> None:
        """Write `update_settings.json` as the real agent does: truncated, then written.

        One that dies in between never starts again.
        """
        descriptor = os.open(
            self.update_settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, private_files.PRIVATE_FILE
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(update))


def read(path: Path, kind: type[T]) -> T:
    """Return the content of a JSON file; raise `UnreadableFile`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path.name}: {type(error).__name__}") from None


def write(path: Path, content: object) -> None:
    """Replace a JSON file."""
    private_files.write(path, msgspec.json.encode(content))
