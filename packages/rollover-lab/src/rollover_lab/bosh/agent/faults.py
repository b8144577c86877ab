"""What can be wrong with an agent on purpose."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """A fault of one VM; `none` heals it."""

    NONE = "none"
    HUNG = "hung"
    """Connected, and that is all: no answers, no heartbeats."""
    DEAD = "dead"
    """The process is gone and nothing starts it again."""
    SLOW = "slow"
    """A restart takes longer than a director waits."""
    CRASH_BEFORE_SAVE = "crash-before-save"
    """The next `update_settings` is accepted, answered `ok` after the restart, and lost. Once."""
