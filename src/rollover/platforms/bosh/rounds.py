"""One rollout over agents: by deploys of the director, or, where Rollover can, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rollover.engine.platform_port import Pacing
from rollover.engine.window import in_window
from rollover.errors import SpecError
from rollover.fleet.description import DirectorDescription
from rollover.fleet.evidence import Failed, Order, Result
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh import versions
from rollover.platforms.bosh.asking import Voices
from rollover.platforms.bosh.converging import Converging, Work
from rollover.platforms.bosh.cost import WORKERS
from rollover.platforms.bosh.direct import Direct, Settings, settings_of
from rollover.platforms.bosh.director_api import DirectorApi
from rollover.platforms.bosh.handout import Handout
from rollover.platforms.bosh.ledger import Ledger
from rollover.platforms.bosh.looking import Lookout, flat
from rollover.platforms.bosh.proving import Patience, Prover
from rollover.platforms.bosh.records import BoshInstance
from rollover.platforms.bosh.side_by_side import side_by_side
from rollover.platforms.bosh.standins import SignerKey

Listed = Mapping[str, tuple[BoshInstance, ...]]


class Means(NamedTuple):
    """What a rollout works with. `recover`: who does not answer is recreated."""

    settings: DirectorDescription
    director: DirectorApi
    lookout: Lookout
    voices: Voices
    ledger: Ledger
    signer_key: SignerKey
    trusted_certs: Callable[[], str | None]
    recover: bool
    clock: Callable[[], datetime]
    patience: Patience


class Round:
    """Brings agents what the director hands out; `prover` has begun to watch `listed`."""

    def __init__(self, means: Means, *, handout: Handout, listed: Listed, prover: Prover) -> None:
        self._means = means
        self._handout = handout
        self._listed = listed
        self._prover = prover

    def results(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Yield a result for each instance that was tried; after a failure none is begun."""
        able = self._able(orders) if self._means.settings.in_place == "direct" else {}
        direct = self._direct()
        failed = False
        for result in in_window(
            lambda order: direct.give(order, *able[order.instance]),
            [each for each in orders if each.instance in able],
            pacing=pacing,
            stopping=stopping,
        ):
            failed = failed or isinstance(result, Failed)
            yield result
        left = [] if failed else [each for each in orders if each.instance not in able]
        yield from self._converged(left, stopping)

    def _able(self, orders: Sequence[Order]) -> dict[InstanceName, tuple[BoshInstance, Settings]]:
        """Return the instances that Rollover can update itself, with what they must keep."""
        version = self._means.director.info().version
        trusted = self._means.trusted_certs()
        instances = {each.name: each for each in flat(self._listed)}
        manifests = self._means.lookout.manifests(tuple(self._listed))
        able: dict[InstanceName, tuple[BoshInstance, Settings]] = {}
        for order in orders:
            each = instances.get(order.instance)
            if each is None or each.agent_id is None:
                continue
            if versions.of_instance(version, each.stemcell).way is versions.Way.RECREATE:
                continue
            try:
                settings = settings_of(each, manifests[each.deployment], trusted)
            except SpecError:
                # The director knows what Rollover does not: its deploy updates this one.
                continue
            able[order.instance] = (each, settings)
        return able

    def _direct(self) -> Direct:
        return Direct(
            mbus=self._means.voices,
            prover=self._prover,
            ledger=self._means.ledger,
            handout=self._handout,
            signer_key=self._means.signer_key,
            clock=self._means.clock,
            patience=self._means.patience,
        )

    def _converged(self, orders: Sequence[Order], stopping: Callable[[], bool]) -> Iterator[Result]:
        if not orders:
            return iter(())
        converging = Converging(
            self._means.director,
            prover=self._prover,
            version=self._means.director.info().version,
            patience=self._means.patience,
            task_seconds=self._means.settings.task_minutes * 60,
            stopping=stopping,
        )
        return side_by_side(
            converging.results,
            tuple(self._works(orders)),
            width=self._means.settings.parallel or WORKERS,
            stopping=stopping,
        )

    def _works(self, orders: Sequence[Order]) -> Iterator[Work]:
        by_deployment: dict[str, list[Order]] = {}
        for order in orders:
            by_deployment.setdefault(order.instance.partition("/")[0], []).append(order)
        everybody = [one for name in by_deployment for one in self._listed.get(name, ())]
        silent = self._silent(everybody) if self._means.recover else frozenset()
        for deployment, ordered in by_deployment.items():
            instances = self._listed.get(deployment, ())
            here = silent & {each.name for each in instances}
            yield Work(
                deployment=deployment,
                orders=tuple(ordered),
                instances=instances,
                silent=here,
                fix=bool(here),
            )

    def _silent(self, instances: Sequence[BoshInstance]) -> frozenset[InstanceName]:
        agents = {each.agent_id: each.name for each in instances if each.agent_id is not None}
        seconds = self._means.patience.ping
        answers = self._means.voices.ping(agents.keys(), timeout_seconds=seconds)
        return frozenset(name for agent, name in agents.items() if agent not in answers)
