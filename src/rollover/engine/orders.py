"""From a rollout of a plan to what each instance is sent: real chains in the place of specimens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollover.engine.issuing import Issuers, Leaf, Wanted
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.model import Endpoint, Fleet, Instance
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Assignment, Rollout


class Drafting:
    """Writes the orders of one rollout."""

    def __init__(
        self, fleet: Fleet, *, certificates: Mapping[Fingerprint, Certificate], issuers: Issuers
    ) -> None:
        self._fleet = fleet.name
        self._certificates = certificates
        self._issuers = issuers
        self._instances = {each.name: each for each in fleet.instances()}

    def wanted(self, rollout: Rollout) -> list[Wanted]:
        """Return the leaves that have to be made before the rollout may begin."""
        found: dict[Wanted, None] = {}
        for instance, endpoint, chain, _ in self._assigned(rollout):
            if self._reissued(endpoint, chain):
                like = self._certificates[endpoint.presents[0]]
                found[Wanted(self._leaf_name(instance.name, endpoint), like)] = None
        return list(found)

    def orders(self, rollout: Rollout, leaves: Mapping[str, Leaf]) -> list[Order]:
        """Return one order for each instance that the rollout changes."""
        materials: dict[InstanceName, list[EndpointMaterial]] = {}
        for instance, endpoint, chain, bundle in self._assigned(rollout):
            material = EndpointMaterial(
                endpoint=endpoint.name,
                bundle=self._bundle(endpoint, bundle),
            )
            if self._reissued(endpoint, chain):
                leaf = leaves[self._leaf_name(instance.name, endpoint)]
                material = EndpointMaterial(
                    endpoint=endpoint.name,
                    chain=(leaf.certificate, *self._known(chain[1:])),
                    key=leaf.key,
                    bundle=material.bundle,
                )
            elif chain[1:] != endpoint.presents[1:]:
                material = EndpointMaterial(
                    endpoint=endpoint.name,
                    chain=self._known((endpoint.presents[0], *chain[1:])),
                    bundle=material.bundle,
                )
            if material.chain is not None or material.bundle is not None:
                materials.setdefault(instance.name, []).append(material)
        return [
            Order(instance=name, endpoints=tuple(endpoints))
            for name, endpoints in materials.items()
        ]

    def _assigned(
        self, rollout: Rollout
    ) -> Iterator[tuple[Instance, Endpoint, Chain, tuple[Fingerprint, ...] | None]]:
        for assignment in rollout.assignments:
            for name in assignment.instances:
                yield from self._of_instance(self._instances[name], assignment)

    @staticmethod
    def _of_instance(
        instance: Instance, assignment: Assignment
    ) -> Iterator[tuple[Instance, Endpoint, Chain, tuple[Fingerprint, ...] | None]]:
        for endpoint, chain, bundle in zip(
            instance.endpoints, assignment.presents, assignment.trusts, strict=True
        ):
            yield instance, endpoint, chain, bundle

    def _reissued(self, endpoint: Endpoint, chain: Chain) -> bool:
        if not endpoint.presents or not chain:
            return False
        return self._issuer(endpoint.presents) != self._issuer(chain)

    def _issuer(self, chain: Chain) -> Fingerprint | None:
        return self._issuers.of(self._known(chain))

    def _bundle(
        self, endpoint: Endpoint, bundle: tuple[Fingerprint, ...] | None
    ) -> tuple[Certificate, ...] | None:
        if bundle is None or bundle == endpoint.trusts:
            return None
        return self._known(bundle)

    def _known(self, fingerprints: tuple[Fingerprint, ...]) -> tuple[Certificate, ...]:
        return tuple(self._certificates[each] for each in fingerprints)

    def _leaf_name(self, instance: InstanceName, endpoint: Endpoint) -> str:
        slot = endpoint.chain_slot or f"{endpoint.name}:chain"
        return f"/fleets/{self._fleet}/{instance}/{slot}"
