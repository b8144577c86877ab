"""One rollout over agents: by deploys of the director, or, where Rollover can, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rollover.engine.platform_port import Pacing
from rollover.engine.window import in_window
from rollover.errors import SpecError
from rollover.fleet.description import DirectorDescription
from rollover.fleet.evidence import Failed, Order, Result
from rollover.fleet.names import InstanceName
from rollover.platforms.bosh import versions
from rollover.platforms.bosh.converging import Converging, Work
from rollover.platforms.bosh.cost import WORKERS
from rollover.platforms.bosh.direct import Direct, Settings, settings_of
from rollover.platforms.bosh.looking import Lookout, flat
from rollover.platforms.bosh.records import BoshInstance
from rollover.platforms.bosh.side_by_side import side_by_side

Listed = Mapping[str, tuple[BoshInstance, ...]]


class Round:
    """Brings agents what the director hands out.

    `listed`: all instances of the deployments, as they were when the rollout began. `deploys` and
    `direct` are the two ways; `version` is the director's. `recover`: who does not answer is
    recreated.
    """

    def __init__(
        self,
        listed: Listed,
        *,
        settings: DirectorDescription,
        observer: Lookout,
        deploys: Converging,
        direct: Direct,
        version: Sequence[int],
        trusted_certs: str | None,
        recover: bool,
    ) -> None:
        self._listed = listed
        self._settings = settings
        self._observer = observer
        self._deploys = deploys
        self._direct = direct
        self._version = version
        self._trusted_certs = trusted_certs
        self._recover = recover

    def results(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Yield a result for each instance that was tried; after a failure none is begun."""
        able = self._able(orders) if self._settings.in_place == "direct" else {}
        failed = False
        for result in in_window(
            lambda order: self._direct.give(order, *able[order.instance]),
            [order for order in orders if order.instance in able],
            pacing=pacing,
            stopping=stopping,
        ):
            failed = failed or isinstance(result, Failed)
            yield result
        left = [order for order in orders if order.instance not in able]
        if left and not failed:
            yield from side_by_side(
                self._deploys.results,
                tuple(self._works(left)),
                width=self._settings.parallel or WORKERS,
                stopping=stopping,
            )

    def _able(self, orders: Sequence[Order]) -> dict[InstanceName, tuple[BoshInstance, Settings]]:
        """Return the instances that Rollover can update itself, with what they must keep."""
        instances = {instance.name: instance for instance in flat(self._listed)}
        manifests = self._observer.manifests(tuple(self._listed))
        able: dict[InstanceName, tuple[BoshInstance, Settings]] = {}
        for order in orders:
            instance = instances.get(order.instance)
            if instance is None or instance.agent_id is None:
                continue
            way = versions.of_instance(self._version, instance.stemcell).way
            if way is versions.Way.RECREATE:
                continue
            try:
                settings = settings_of(
                    instance, manifests[instance.deployment], self._trusted_certs
                )
            except SpecError:
                # The director knows what Rollover does not: its deploy updates this one.
                continue
            able[order.instance] = (instance, settings)
        return able

    def _works(self, orders: Sequence[Order]) -> Iterator[Work]:
        by_deployment: dict[str, list[Order]] = {}
        for order in orders:
            by_deployment.setdefault(order.instance.partition("/")[0], []).append(order)
        everybody = [one for name in by_deployment for one in self._listed.get(name, ())]
        silent = self._observer.silent(everybody) if self._recover else frozenset()
        for deployment, ordered in by_deployment.items():
            instances = self._listed.get(deployment, ())
            here = silent & {instance.name for instance in instances}
            yield Work(
                deployment=deployment,
                orders=tuple(ordered),
                instances=instances,
                silent=here,
                fix=bool(here),
            )
