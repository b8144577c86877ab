"""How a run is watched and steered, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rollover.engine import events
from rollover.engine.maintenance import Window
from rollover.fleet.evidence import Result
from rollover.fleet.names import RuleId
from rollover.fleet.plan import Plan, Rollout


class Ending(StrEnum):
    """How a run ended."""

    DONE = "done"
    WAITING = "waiting"
    """Somebody is left behind: the run goes on once they are back."""
    REFUSED = "refused"
    """No safe step is left, and waiting changes nothing."""
    DECLINED = "declined"
    STOPPED = "stopped"
    FAILED = "failed"
    EVIDENCE_MISSING = "evidence-missing"


class Conduct(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is watched and steered.

    `approve` is asked before each rollout. `stopping` is looked at between instances. `overrides`
    are refusals that an operator answers for, each with a reason that goes into the journal.
    `window`: when rollouts may begin; None: at any time.
    """

    approve: Callable[[Plan, Rollout], bool]
    tell: Callable[[events.Event], None]
    stopping: Callable[[], bool]
    overrides: Mapping[RuleId, str] = msgspec.field(default_factory=dict)
    window: Window | None = None


class RolloutReport(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout that was done."""

    number: int
    rollout: Rollout
    results: tuple[Result, ...]
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to. `message` and `hint` say what to do when it is not done."""

    ending: Ending
    rotation: str
    message: str
    hint: str = ""
    rollouts: tuple[RolloutReport, ...] = ()
    last_plan: Plan | None = None
    before: tuple[events.CertificateLine, ...] = ()
    after: tuple[events.CertificateLine, ...] = ()
    seconds: float = 0.0


class Halt(NamedTuple):
    """Why a run is to stop before its next instance, and how it is gone on with."""

    why: str
    hint: str


class Ended(Exception):
    """Ends a run from wherever it is; never leaves the engine."""

    def __init__(self, ending: Ending, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.ending = ending
        self.message = message
        self.hint = hint
