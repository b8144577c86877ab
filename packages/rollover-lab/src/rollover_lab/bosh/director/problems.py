"""Problems that a cloud check finds, and what can be done about each (`problem_handlers/`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from rollover_lab.bosh.director.database import Database


class ProblemType(StrEnum):
    """What can be wrong with a VM."""

    UNRESPONSIVE = "unresponsive_agent"
    MISSING = "missing_vm"


class Resolution(StrEnum):
    """What can be done."""

    IGNORE = "ignore"
    REBOOT = "reboot_vm"
    RECREATE_WITHOUT_WAIT = "recreate_vm_without_wait"
    RECREATE = "recreate_vm"
    DELETE = "delete_vm"
    DELETE_REFERENCE = "delete_vm_reference"


PLANS: Final = {
    Resolution.IGNORE: "Skip for now",
    Resolution.REBOOT: "Reboot VM",
    Resolution.RECREATE_WITHOUT_WAIT: "Recreate VM without waiting for processes to start",
    Resolution.RECREATE: "Recreate VM and wait for processes to start",
    Resolution.DELETE: "Delete VM",
    Resolution.DELETE_REFERENCE: "Delete VM reference",
}
_FORCEFUL: Final = (
    " (forceful; may need to manually delete VM from the Cloud to avoid IP conflicts)"
)
OFFERED: Final = {
    ProblemType.UNRESPONSIVE: tuple(Resolution),
    ProblemType.MISSING: (
        Resolution.IGNORE,
        Resolution.RECREATE_WITHOUT_WAIT,
        Resolution.RECREATE,
        Resolution.DELETE_REFERENCE,
    ),
}
BY_ITSELF: Final = {
    ProblemType.UNRESPONSIVE: Resolution.IGNORE,
    ProblemType.MISSING: Resolution.RECREATE_WITHOUT_WAIT,
}
"""What `cloud-check --auto` does."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An open problem of an instance."""

    id: int
    deployment: str
    instance_id: int
    type: ProblemType

    def plan(self, resolution: Resolution) -> str:
        """Return what a resolution means, for people."""
        text = PLANS[resolution]
        forceful = (Resolution.DELETE_REFERENCE, ProblemType.UNRESPONSIVE)
        return text + _FORCEFUL if (resolution, self.type) == forceful else text


class Problems:
    """Finds, adds and closes problems."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, deployment: str) -> tuple[Problem, ...]:
        """Return the open problems of a deployment, the oldest first."""
        rows = self._database.rows(
            "SELECT id, deployment, instance_id, type FROM problems "
            "WHERE deployment = ? AND state = 'open' ORDER BY id",
            deployment,
        )
        return tuple(msgspec.convert(dict(row), Problem) for row in rows)

    def add(self, *, deployment: str, instance_id: int, kind: ProblemType) -> None:
        """Write down a problem."""
        self._database.insert("problems", deployment=deployment, instance_id=instance_id, type=kind)

    def close(self, problem: Problem) -> None:
        """Write down that something was done about it."""
        self._database.update("problems", problem.id, state="resolved")

    def close_all(self, deployment: str) -> None:
        """Forget the problems of a deployment: it is looked at anew."""
        self._database.run(
            "UPDATE problems SET state = 'closed' WHERE deployment = ? AND state = 'open'",
            deployment,
        )
