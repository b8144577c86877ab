"""One rollout: its leaves made beforehand, its orders, its instances one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from rollover.engine import events, records
from rollover.engine.chronicle import Chronicle
from rollover.engine.orders import Drafting
from rollover.engine.outcome import Ended, Ending, Halt, RolloutReport
from rollover.engine.platform_port import Pacing
from rollover.engine.site import Site
from rollover.engine.supply import supply_for
from rollover.engine.world import World
from rollover.fleet.evidence import Applied, Failed, Order, Result
from rollover.fleet.goal import Goal
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import InstanceName
from rollover.fleet.plan import Rollout


class Place(NamedTuple):
    """Which rollout of the whole rotation it is."""

    number: int
    of: int


class Rolled(NamedTuple):
    """A rollout whose instances are confirmed, one by one; what proves it as a whole comes next."""

    place: Place
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


class Rolling:
    """Rolls out towards one goal."""

    def __init__(
        self, site: Site, goal: Goal, *, chronicle: Chronicle, halt: Callable[[], Halt | None]
    ) -> None:
        self._site = site
        self._supply = supply_for(site, goal)
        self._chronicle = chronicle
        self._halt = halt

    def roll_out(self, world: World, rollout: Rollout, place: Place) -> Rolled:
        """Bring every instance what the plan says; end the run when one fails or it is stopped."""
        begun = time.monotonic()
        orders = self._orders(world, rollout)
        self._chronicle.tell(
            events.RolloutStarted(number=place.number, of=place.of, rollout=rollout)
        )
        self._chronicle.record(
            EntryKind.ROLLOUT_STARTED,
            subject=rollout.group,
            data=records.rollout(rollout, place.number),
        )
        results = self._results(world, rollout, orders)
        self._check(rollout, results, orders)
        return Rolled(place, rollout, orders, results, begun)

    def _orders(self, world: World, rollout: Rollout) -> tuple[Order, ...]:
        drafting = Drafting(
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
        self, world: World, rollout: Rollout, orders: tuple[Order, ...]
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
                data=records.result(result),
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
        for each in results:
            if isinstance(each, Failed):
                kept = "it has what it had before" if each.restored else "its state is unknown"
                raise Ended(
                    Ending.FAILED,
                    f"`{each.instance}` did not take its new material: {each.message} ({kept})",
                    each.hint or "mend it, then run `rollover rotate` again",
                )
        left = {each.instance for each in orders} - {each.instance for each in results}
        halt = self._halt()
        if left and (halt is not None or left & self._instances()):
            halt = halt or Halt("stopped", "`rollover rotate` goes on from here")
            done = f"{len(results)} of {len(orders)} instances of `{rollout.group}` are done"
            raise Ended(Ending.STOPPED, f"{halt.why}: {done}", halt.hint)

    def _instances(self) -> set[InstanceName]:
        """Return the instances that there are now: one that is gone need not be done."""
        return {each.name for group in self._site.refreshed().groups for each in group.instances}
