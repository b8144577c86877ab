"""One rollout: who must not live on what is withdrawn, the orders, the pace, the results.

Canaries go alone, then a window slides; instances are confirmed one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from rollover.engine import events, gates, run_log
from rollover.engine.events import Ending, Halt, RolloutReport, RunEnded
from rollover.engine.fleet_context import FleetContext
from rollover.engine.gates import DRAINED, GateResult
from rollover.engine.leaves import OrderDrafter
from rollover.engine.observed_fleet import ObservedFleet
from rollover.engine.ports import Pacing, Platform
from rollover.engine.rules import DRAIN
from rollover.engine.run_log import RunLog
from rollover.engine.supply import supply_for
from rollover.errors import EvidenceMissing
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Applied, Failed, Holdout, Order, Result
from rollover.fleet.fleet import Fleet, Role
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Rollout

# A rollout's pace: canaries alone, then a window that slides, never fixed batches.
#
# As soon as one instance is confirmed the next begins, so one slow instance holds up nobody else.


MOST_IN_FLIGHT = 256
"""A window wider than this would only wait for this process."""


def in_window(
    work: Callable[[Order], Result],
    orders: Sequence[Order],
    *,
    pacing: Pacing,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    """Yield the result of every order that was begun, as they come in.

    `work` brings one order to its instance and confirms it; it returns failures as results. After
    the first failure, or once `stopping()` is true, no further order is begun; those begun are
    finished and yielded.
    """
    canaries = max(0, min(pacing.canaries, len(orders)))
    failed = False
    for order in orders[:canaries]:
        if stopping():
            return
        result = work(order)
        failed = failed or isinstance(result, Failed)
        yield result
        if failed:
            return
    yield from _slide_window(work, orders[canaries:], width=pacing.max_in_flight, stopping=stopping)


def _slide_window(
    work: Callable[[Order], Result],
    orders: Sequence[Order],
    *,
    width: int,
    stopping: Callable[[], bool],
) -> Iterator[Result]:
    width = max(1, min(width, MOST_IN_FLIGHT, len(orders)))
    waiting = iter(orders)
    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="rollout") as pool:
        running: set[Future[Result]] = {
            pool.submit(work, order) for order in islice(waiting, width) if not stopping()
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            results = [future.result() for future in done]
            if any(isinstance(result, Failed) for result in results):
                waiting = iter(())
            # Before the results are told: who takes them down may be slower than an instance.
            for order in islice(waiting, width - len(running)):
                if stopping():
                    waiting = iter(())
                    break
                running.add(pool.submit(work, order))
            yield from results


# Before trust is withdrawn: nobody may still live on it, by the servers' own lists.
#
# A connection that is open outlives the withdrawal, and fails at its next reconnect. So whoever
# holds on to an old certificate is asked to come again while both are still accepted; whoever
# then still shows it, or is not in the fleet at all, is named.


DRAIN_HINT = (
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


class DrainPeers(NamedTuple):
    """Whose connections are whose: those of the fleet, and those that an operator gave up."""

    ours: Collection[InstanceName]
    given_up: Collection[InstanceName]


class DrainPatience(NamedTuple):
    """How long peers may take to come again, and how often is looked."""

    seconds: float
    return_seconds: float
    """How long a peer that was asked may be away: only then its absence says something."""
    poll_seconds: float
    stop_if_requested: Callable[[], None]


def withdrawal_of(
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
    dialling = gates.dialing_roles(fleet)
    instances = {instance.name: instance for instance in fleet.group(rollout.group).instances}
    roles: dict[InstanceName, frozenset[Role]] = {}
    retired: set[Fingerprint] = set()
    for assignment in rollout.assignments:
        for name in assignment.instances:
            for endpoint, bundle in zip(instances[name].endpoints, assignment.trusts, strict=True):
                if endpoint.role is Role.SOURCE or (name, endpoint.role) in dialling:
                    continue
                gone = set(endpoint.trusts or ()) - set(bundle or ()) if bundle is not None else ()
                valid = {item for item in gone if certificates[item].not_after >= now}
                if valid:
                    roles[name] = roles.get(name, frozenset()) | {endpoint.role}
                    retired |= valid
    return Withdrawal(roles, tuple(certificates[fingerprint] for fingerprint in sorted(retired)))


def drain(
    platform: Platform,
    leaving: Withdrawal,
    *,
    peers: DrainPeers,
    patience: DrainPatience,
    chronicle: RunLog,
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
        raise RunEnded(Ending.EVIDENCE_MISSING, error.message, error.hint) from None
    chronicle.insist(seen, DRAIN, hint=DRAIN_HINT)


def _drained(
    platform: Platform,
    leaving: Withdrawal,
    *,
    peers: DrainPeers,
    patience: DrainPatience,
    chronicle: RunLog,
) -> GateResult:
    asked: set[tuple[InstanceName, str]] = set()
    deadline = time.monotonic() + patience.seconds
    back_by = float("-inf")
    while True:
        patience.stop_if_requested()
        listed = platform.holdouts(leaving.instances, retired=leaving.retired)
        found = tuple(
            holdout
            for holdout in listed
            if holdout.peer not in peers.given_up and leaving.concerns(holdout)
        )
        ours = [holdout for holdout in found if holdout.peer in peers.ours]
        now = time.monotonic()
        if now > back_by and (not ours or now > deadline):
            return GateResult(gate=DRAINED, holdouts=found)
        # Each peer once: one that comes back with its old certificate would do so forever.
        fresh = [holdout for holdout in ours if (holdout.server, holdout.peer) not in asked]
        if fresh:
            _ask_to_reconnect(platform, fresh, chronicle)
            asked.update((holdout.server, holdout.peer) for holdout in fresh)
            back_by = time.monotonic() + patience.return_seconds
        time.sleep(patience.poll_seconds)


def _ask_to_reconnect(platform: Platform, holdouts: Sequence[Holdout], chronicle: RunLog) -> None:
    chronicle.tell(events.Draining(holdouts=tuple(holdouts)))
    seen = tuple(platform.cycle(holdouts))
    chronicle.record(
        EntryKind.EVIDENCE, subject="cycle", data={"evidence": run_log.evidence_data(seen)}
    )


# One rollout: its leaves made beforehand, its orders, its instances one by one.


class RolloutNumber(NamedTuple):
    """Which rollout of the whole rotation it is."""

    number: int
    of: int


class RolledOut(NamedTuple):
    """A rollout whose instances are confirmed, one by one; what proves it as a whole comes next."""

    place: RolloutNumber
    rollout: Rollout
    orders: tuple[Order, ...]
    results: tuple[Result, ...]
    begun: float

    def report(self) -> RolloutReport:
        """Return the report of the rollout, which ends now."""
        return RolloutReport(
            number=self.place.number,
            rollout=self.rollout,
            results=self.results,
            seconds=time.monotonic() - self.begun,
        )


class RolloutRunner:
    """Rolls out towards one goal."""

    def __init__(
        self, site: FleetContext, goal: Goal, *, chronicle: RunLog, halt: Callable[[], Halt | None]
    ) -> None:
        self._site = site
        self._supply = supply_for(site, goal)
        self._chronicle = chronicle
        self._halt = halt

    def roll_out(self, world: ObservedFleet, rollout: Rollout, place: RolloutNumber) -> RolledOut:
        """Bring every instance what the plan says; end the run when one fails or it is stopped."""
        begun = time.monotonic()
        orders = self._orders(world, rollout)
        self._chronicle.tell(
            events.RolloutStarted(number=place.number, of=place.of, rollout=rollout)
        )
        self._chronicle.record(
            EntryKind.ROLLOUT_STARTED,
            subject=rollout.group,
            data=run_log.rollout_data(rollout, place.number),
        )
        results = self._results(world, rollout, orders)
        self._check(rollout, results, orders)
        return RolledOut(place, rollout, orders, results, begun)

    def _orders(self, world: ObservedFleet, rollout: Rollout) -> tuple[Order, ...]:
        drafting = OrderDrafter(
            world.fleet,
            certificates=world.certificates,
            issuers=self._site.issuers(world),
            signer=self._supply.signer,
            brought=self._supply.supplied(),
        )
        wanted = drafting.wanted(rollout)
        self._chronicle.tell(events.Preparing(group=rollout.group, leaves=len(wanted)))
        return tuple(drafting.orders(rollout, self._supply.leaves(wanted) if wanted else {}))

    def _results(
        self, world: ObservedFleet, rollout: Rollout, orders: tuple[Order, ...]
    ) -> tuple[Result, ...]:
        group = world.fleet.group(rollout.group)
        results: list[Result] = []
        for result in self._site.platforms(rollout.group).roll_out(
            orders,
            pacing=Pacing(canaries=group.canaries, max_in_flight=group.max_in_flight),
            stopping=lambda: self._halt() is not None,
        ):
            results.append(result)
            self._chronicle.record(
                EntryKind.CONFIRMED if isinstance(result, Applied) else EntryKind.FAILED,
                subject=result.instance,
                data=run_log.result_data(result),
            )
            self._chronicle.tell(
                events.InstanceDone(
                    group=rollout.group, result=result, done=len(results), of=len(orders)
                )
            )
        return tuple(results)

    def _check(
        self, rollout: Rollout, results: tuple[Result, ...], orders: tuple[Order, ...]
    ) -> None:
        for result in results:
            if isinstance(result, Failed):
                kept = "it has what it had before" if result.restored else "its state is unknown"
                raise RunEnded(
                    Ending.FAILED,
                    f"`{result.instance}` did not take its new material: {result.message} ({kept})",
                    result.hint or "mend it, then run `rollover rotate` again",
                )
        left = {order.instance for order in orders} - {result.instance for result in results}
        halt = self._halt()
        if left and (halt is not None or left & self._instances()):
            halt = halt or Halt("stopped", "`rollover rotate` goes on from here")
            done = f"{len(results)} of {len(orders)} instances of `{rollout.group}` are done"
            raise RunEnded(Ending.STOPPED, f"{halt.why}: {done}", halt.hint)

    def _instances(self) -> set[InstanceName]:
        """Return the instances that there are now: one that is gone need not be done."""
        return {
            instance.name for group in self._site.refreshed().groups for instance in group.instances
        }
