"""The names of the files in the state directory of a fleet."""

from __future__ import annotations

from typing import Final

CREDENTIALS: Final = "credentials.db"
JOURNAL: Final = "journal.db"
LEASES: Final = "leases.db"
SEALING_KEY: Final = "sealing.key"
PAUSE: Final = "pause"
"""While it is there no rollout is begun."""
