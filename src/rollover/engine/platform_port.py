"""What the engine needs of a platform: observe, roll out, prove. It names no files, no signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.fleet.description import FleetDescription
from rollover.fleet.evidence import Evidence, Holdout, Identity, Observation, Order, Result
from rollover.fleet.names import Fingerprint, InstanceName


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout moves: so many canaries first, alone; then a window that slides."""

    canaries: int = 1
    max_in_flight: int = 1


class Platform(Protocol):
    """One group of instances on one kind of system. Each group has its own.

    Every call may be repeated. Instances are named as in the fleet description. Failures of one
    instance are results, not exceptions; only what concerns the whole group raises
    `AdapterError`.
    """

    def observe(self, instances: Sequence[InstanceName]) -> Iterator[Observation]:
        """Yield one observation for each instance, as they come in: what it *uses* now.

        An instance that does not answer is yielded as unreachable, with what is still known.
        Changes nothing.
        """
        ...

    def roll_out(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Bring new material to instances; yield a result for each that was tried.

        An instance counts as applied once it was confirmed by observation: what it uses is what
        was ordered. One that refuses keeps, or gets back, what it had. After a failure no further
        instance is begun, and none once `stopping()` is true; those begun are finished.
        """
        ...

    def handshakes(
        self,
        instances: Sequence[InstanceName],
        *,
        accepted: Sequence[Identity],
        refused: Sequence[Identity],
    ) -> Iterator[Evidence]:
        """Dial every endpoint afresh with each identity; yield what each of them answered.

        Evidence holds when an accepted identity was let in, or a refused one was not. Endpoints
        that demand no certificate yield what they present only.
        """
        ...

    def holdouts(
        self, instances: Sequence[InstanceName], *, retired: Sequence[Certificate]
    ) -> Iterator[Holdout]:
        """Yield the live connections whose peer still presents a certificate of a retired CA.

        Empty means drained. Raises `EvidenceMissing` when the connections cannot be listed.
        """
        ...

    def cycle(self, holdouts: Sequence[Holdout]) -> Iterator[Evidence]:
        """Make peers reconnect, as gently as each allows; yield how each was asked."""
        ...


class Recognition(Protocol):
    """What a platform is told of the authorities. Asked anew whenever it is needed."""

    def of_authorities(self) -> Sequence[Certificate]:
        """Return the CA certificates by which a bundle is recognised that no file holds."""
        ...

    def issuer_of(self, leaf: Fingerprint) -> Fingerprint | None:
        """Return which CA issued a certificate that a peer presents; None: unknown."""
        ...

    def all_identities(self) -> Sequence[Identity]:
        """Return the chains that Rollover presents itself."""
        ...


class Platforms(Protocol):
    """The platforms of a fleet, one for each group."""

    def __call__(self, group: str) -> Platform:
        """Return the platform of a group by the group's name: the same one each time."""
        ...

    def completed(self, described: FleetDescription) -> FleetDescription:
        """Return a fleet file's fleet as it is now; platforms work on that from now on.

        Only a director knows its instances, and where a server's files lie its configuration
        knows best. A fleet that leaves nothing open is returned as it is.
        """
        ...
