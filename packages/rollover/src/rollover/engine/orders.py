"""From a rollout of a plan to what each instance is sent: real chains in the place of specimens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rollover.engine.issuing import Issuers, Leaf, Wanted
from rollover.fleet.certificate import Bundle, Certificate, Chain
from rollover.fleet.evidence import EndpointMaterial, Order, Signer
from rollover.fleet.model import Endpoint, Fleet, Instance, Role, SourceRef
from rollover.fleet.names import Fingerprint, InstanceName
from rollover.fleet.plan import Rollout
from rollover.fleet.secret import SecretBytes


class _Assigned(NamedTuple):
    """What a rollout leads an endpoint to, and all that the endpoint may hold until then."""

    instance: Instance
    endpoint: Endpoint
    chain: Chain
    bundle: Bundle | None
    chains: tuple[Chain, ...]
    bundles: tuple[Bundle | None, ...]
    file: str | None


class Brought(NamedTuple):
    """Chains that nobody has to make, and where their keys come from."""

    chains: frozenset[Chain]
    key: Callable[[Chain], SecretBytes]


class Drafting:
    """Writes the orders of one rollout. `signer` gives the key of a CA that a source gets.

    `brought`: what the goal gives, and nothing is made; None: all is made.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        certificates: Mapping[Fingerprint, Certificate],
        issuers: Issuers,
        signer: Callable[[Fingerprint], Signer],
        brought: Brought | None = None,
    ) -> None:
        self._fleet = fleet.name
        self._certificates = certificates
        self._issuers = issuers
        self._signer = signer
        self._brought = brought
        self._instances = {each.name: each for each in fleet.instances()}
        self._sources = {
            SourceRef(group.name, endpoint.name): endpoint.trusts
            for group in fleet.groups
            for instance in group.instances[:1]
            for endpoint in instance.endpoints
            if endpoint.role is Role.SOURCE
        }

    def wanted(self, rollout: Rollout) -> list[Wanted]:
        """Return the leaves that have to be made before the rollout may begin.

        None for a source, which signs itself, and for what a source makes the chains of.
        """
        found: dict[Wanted, None] = {}
        if self._brought is not None:
            return []
        for each in self._assigned(rollout):
            if _is_given_leaves(each.endpoint) and self._reissued(each):
                like = self._certificates[each.endpoint.presents[0]]
                found[Wanted(self._leaf_name(each), like)] = None
        return list(found)

    def orders(self, rollout: Rollout, leaves: Mapping[str, Leaf]) -> list[Order]:
        """Return one order for each instance that the rollout changes, or has to give again."""
        materials: dict[InstanceName, list[EndpointMaterial]] = {}
        for each in self._assigned(rollout):
            material = self._material(each, leaves)
            if material is not None:
                materials.setdefault(each.instance.name, []).append(material)
        return [
            Order(instance=name, endpoints=tuple(endpoints))
            for name, endpoints in materials.items()
        ]

    def _material(self, each: _Assigned, leaves: Mapping[str, Leaf]) -> EndpointMaterial | None:
        if each.endpoint.source is not None:
            made = self._of_source(each)
        elif each.endpoint.role is Role.SOURCE:
            made = self._for_source(each)
        elif self._brought is not None:
            made = self._given(each, self._brought)
        else:
            made = self._own(each, leaves)
        changes = (made.chain, made.bundle, made.signer, made.issuer)
        return made if any(change is not None for change in changes) else None

    def _of_source(self, each: _Assigned) -> EndpointMaterial:
        """Return what a source has to deliver: always the whole, for it makes all of it anew."""
        name = each.endpoint.name
        if not self._reissued(each) and self._bundle(each) is None:
            return EndpointMaterial(endpoint=name)
        issuer = self._issuer(each.chain)
        bundle = each.bundle if each.bundle is None else self._handed_out(each, each.bundle)
        return EndpointMaterial(
            endpoint=name,
            issuer=None if issuer is None else self._certificates[issuer],
            bundle=None if bundle is None else self._known(bundle),
        )

    def _handed_out(self, each: _Assigned, planned: Bundle) -> Bundle:
        """Return the bundle as the source holds it: in its order, with what else it trusts."""
        source = each.endpoint.source
        held = self._sources.get(source) if source else None
        if held is None or self._issuers.among(held) != self._issuers.among(planned):
            return planned
        return held

    def _for_source(self, each: _Assigned) -> EndpointMaterial:
        signs = self._reissued(each)
        return EndpointMaterial(
            endpoint=each.endpoint.name,
            signer=self._signer(each.chain[0]) if signs else None,
            bundle=self._bundle(each),
        )

    def _given(self, each: _Assigned, brought: Brought) -> EndpointMaterial:
        """Return what was brought, as far as the endpoint has not got it."""
        name, bundle = each.endpoint.name, self._bundle(each)
        if each.file is not None and each.bundle is not None:
            bundle = self._known(each.bundle)
        # Any other chain is a specimen of those that the instances of its class keep.
        if each.chain not in brought.chains or all(one == each.chain for one in each.chains):
            return EndpointMaterial(endpoint=name, bundle=bundle, bundle_file=each.file)
        return EndpointMaterial(
            endpoint=name,
            chain=self._known(each.chain),
            key=brought.key(each.chain),
            bundle=bundle,
            bundle_file=each.file,
        )

    def _own(self, each: _Assigned, leaves: Mapping[str, Leaf]) -> EndpointMaterial:
        name, bundle = each.endpoint.name, self._bundle(each)
        if self._reissued(each):
            leaf = leaves[self._leaf_name(each)]
            chain = (leaf.certificate, *self._known(each.chain[1:]))
            return EndpointMaterial(endpoint=name, chain=chain, key=leaf.key, bundle=bundle)
        if any(chain[1:] != each.chain[1:] for chain in each.chains):
            chain = self._known((each.endpoint.presents[0], *each.chain[1:]))
            return EndpointMaterial(endpoint=name, chain=chain, bundle=bundle)
        return EndpointMaterial(endpoint=name, bundle=bundle)

    def _assigned(self, rollout: Rollout) -> Iterator[_Assigned]:
        for assignment in rollout.assignments:
            for name in assignment.instances:
                instance = self._instances[name]
                states = (instance.state, *instance.may_be)
                for at, endpoint in enumerate(instance.endpoints):
                    yield _Assigned(
                        instance,
                        endpoint,
                        assignment.presents[at],
                        assignment.trusts[at],
                        tuple(state.presents[at] for state in states),
                        tuple(state.trusts[at] for state in states),
                        _moved(endpoint, assignment.files[at] if assignment.files else None),
                    )

    def _reissued(self, each: _Assigned) -> bool:
        """Whether the chain may come from another CA now than it is to."""
        if not each.endpoint.presents or not each.chain:
            return False
        wanted = self._issuer(each.chain)
        return any(self._issuer(chain) != wanted for chain in each.chains)

    def _issuer(self, chain: Chain) -> Fingerprint | None:
        return self._issuers.of(self._known(chain))

    def _bundle(self, each: _Assigned) -> tuple[Certificate, ...] | None:
        if each.bundle is None or all(held == each.bundle for held in each.bundles):
            return None
        return self._known(each.bundle)

    def _known(self, fingerprints: tuple[Fingerprint, ...]) -> tuple[Certificate, ...]:
        return tuple(self._certificates[each] for each in fingerprints)

    def _leaf_name(self, each: _Assigned) -> str:
        slot = each.endpoint.chain_slot or f"{each.endpoint.name}:chain"
        return f"/fleets/{self._fleet}/{each.instance.name}/{slot}"


def _moved(endpoint: Endpoint, file: str | None) -> str | None:
    """Return where a bundle is to lie, None where that is where it lies."""
    return None if file == endpoint.bundle_file else file


def _is_given_leaves(endpoint: Endpoint) -> bool:
    return endpoint.source is None and endpoint.role is not Role.SOURCE
