"""Before trust is withdrawn: nobody may still live on it, by the servers' own lists.

A connection that is open outlives the withdrawal, and fails at its next reconnect. So whoever
holds on to an old certificate is asked to come again while both are still accepted; whoever then
still shows it, or is not in the fleet at all, is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.engine import events, gates, records
from rollover.engine.chronicle import Chronicle
from rollover.engine.gates import DRAINED, GateResult
from rollover.engine.outcome import Ended, Ending
from rollover.engine.platform_port import Platform
from rollover.engine.rules import DRAIN
from rollover.errors import EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Holdout
from rollover.fleet.journal import EntryKind
from rollover.fleet.model import Fleet, Role
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Rollout

HINT = (
    "these peers still present the old CA's certificates: give them new ones and have them connect "
    "again (a restart does), or add them to the fleet; `drain-incomplete` can be overridden with a "
    "reason"
)


class Withdrawal(NamedTuple):
    """From which endpoints of which instances a rollout takes trust, and whose."""

    roles: Mapping[InstanceName, frozenset[Role]]
    retired: tuple[Certificate, ...]

    @property
    def instances(self) -> tuple[InstanceName, ...]:
        """The instances of which an endpoint loses trust."""
        return tuple(self.roles)

    def concerns(self, holdout: Holdout) -> bool:
        """Whether a connection goes through an endpoint that loses trust, or may do so."""
        losing = self.roles.get(holdout.server)
        return losing is None or holdout.role is None or holdout.role in losing


class Peers(NamedTuple):
    """Whose connections are whose: those of the fleet, and those that an operator gave up."""

    ours: Collection[InstanceName]
    given_up: Collection[InstanceName]


class Patience(NamedTuple):
    """How long peers may take to come again, and how often is looked."""

    seconds: float
    return_seconds: float
    """How long a peer that was asked may be away: only then its absence says something."""
    poll_seconds: float
    stop_if_asked: Callable[[], None]


def withdrawal(
    fleet: Fleet,
    rollout: Rollout,
    certificates: Mapping[Fingerprint, Certificate],
    *,
    now: datetime,
) -> Withdrawal:
    """Return what a rollout withdraws; without instances it withdraws nothing.

    Trust in a CA that has expired lets nobody in already: whoever takes it away takes nothing.
    Nor does anybody lose anything who dials others of the fleet: the proof is about those.
    """
    dialling = gates.dialling(fleet)
    instances = {each.name: each for each in fleet.group(rollout.group).instances}
    roles: dict[InstanceName, frozenset[Role]] = {}
    retired: set[Fingerprint] = set()
    for assignment in rollout.assignments:
        for name in assignment.instances:
            for endpoint, bundle in zip(instances[name].endpoints, assignment.trusts, strict=True):
                if endpoint.role is Role.SOURCE or (name, endpoint.role) in dialling:
                    continue
                gone = set(endpoint.trusts or ()) - set(bundle or ()) if bundle is not None else ()
                valid = {each for each in gone if certificates[each].not_after >= now}
                if valid:
                    roles[name] = roles.get(name, frozenset()) | {endpoint.role}
                    retired |= valid
    return Withdrawal(roles, tuple(certificates[each] for each in sorted(retired)))


def drain(
    platform: Platform,
    leaving: Withdrawal,
    *,
    peers: Peers,
    patience: Patience,
    chronicle: Chronicle,
) -> None:
    """Return once no connection presents what is withdrawn; end the run with who still does.

    Instances of the fleet are asked to come again, everybody else is only named. The run goes on
    all the same when an operator answers for `drain-incomplete`.
    """
    try:
        seen = _drained(platform, leaving, peers=peers, patience=patience, chronicle=chronicle)
    except EvidenceMissing as error:
        if chronicle.overridden(DRAIN, "drain"):
            return
        raise Ended(Ending.EVIDENCE_MISSING, error.message, error.hint) from None
    chronicle.insist(seen, DRAIN, hint=HINT)


def _drained(
    platform: Platform,
    leaving: Withdrawal,
    *,
    peers: Peers,
    patience: Patience,
    chronicle: Chronicle,
) -> GateResult:
    asked: set[tuple[InstanceName, str]] = set()
    deadline = time.monotonic() + patience.seconds
    back_by = float("-inf")
    while True:
        patience.stop_if_asked()
        listed = platform.holdouts(leaving.instances, retired=leaving.retired)
        found = tuple(
            each for each in listed if each.peer not in peers.given_up and leaving.concerns(each)
        )
        ours = [each for each in found if each.peer in peers.ours]
        now = time.monotonic()
        if now > back_by and (not ours or now > deadline):
            return GateResult(gate=DRAINED, holdouts=found)
        # Each peer once: one that comes back with its old certificate would do so forever.
        fresh = [each for each in ours if (each.server, each.peer) not in asked]
        if fresh:
            _ask(platform, fresh, chronicle)
            asked.update((each.server, each.peer) for each in fresh)
            back_by = time.monotonic() + patience.return_seconds
        time.sleep(patience.poll_seconds)


def _ask(platform: Platform, holdouts: Sequence[Holdout], chronicle: Chronicle) -> None:
    chronicle.tell(events.Draining(holdouts=tuple(holdouts)))
    seen = tuple(platform.cycle(holdouts))
    chronicle.record(EntryKind.EVIDENCE, subject="cycle", data={"evidence": records.evidence(seen)})
