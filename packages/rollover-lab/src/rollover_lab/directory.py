"""What every lab has in its directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class LabDirectory(NamedTuple):
    """What every lab has in its directory, which is absolute."""

    root: Path

    @property
    def state(self) -> Path:
        """What runs: process ids with their start times, and how processes ended."""
        return self.root / "lab.json"

    @property
    def lock(self) -> Path:
        """Locked as long as a supervisor lives."""
        return self.root / ".lab.lock"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.root / ".lab.socket"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor itself has to say."""
        return self.root / "supervisor.log"
