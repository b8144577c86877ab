"""The time in which an operator allows what may interrupt services."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From `begins` until `ends`, both aware. Rollouts begin inside of it only."""

    begins: datetime
    ends: datetime

    def holds(self, now: datetime) -> bool:
        """Whether a rollout may begin now."""
        return self.begins <= now < self.ends

    def __str__(self) -> str:
        return f"{self.begins:%Y-%m-%d %H:%M:%SZ} to {self.ends:%Y-%m-%d %H:%M:%SZ}"
