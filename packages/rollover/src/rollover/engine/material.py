"""Material that operators supply: what may be asked for, what is kept of it, what takes it back.

A curated bundle, or a chain that others issued, with the endpoints that it is for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath

import msgspec

from rollover.engine.ports import CredentialStore
from rollover.engine.rules import NO_WAY_BACK
from rollover.errors import SpecError, StoreError
from rollover.fleet.certificate import Bundle, Certificate, Chain, Flags
from rollover.fleet.description import (
    FileDelivery,
    FleetDescription,
    InstanceDescription,
    below,
)
from rollover.fleet.fleet import Endpoint, EndpointRef, Fleet, Group, Instance, Role
from rollover.fleet.goal import Installation, InstallMaterial, MaterialKind
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint, GroupName, InstanceName, short
from rollover.fleet.plan import Caution, Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem
from rollover.pki.pem import read_certificates, write_certificates


class MaterialRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator supplies, and who is to get it.

    `bundle`: whom the chosen endpoints are to trust. `chain`: what they are to present, leaf
    first; `key` belongs to its leaf, and a plan needs none. Empty `groups`, `roles`: all. `file`:
    where the bundle is to lie, below the directory of each instance; None: where it lies.
    """

    bundle: tuple[Certificate, ...] | None = None
    chain: tuple[Certificate, ...] | None = None
    key: SecretBytes | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    file: str | None = None
    margin_seconds: float = 300.0

    @property
    def about(self) -> MaterialKind:
        """What the rotation is about."""
        return MaterialKind.BUNDLE if self.chain is None else MaterialKind.CHAIN

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate that is supplied."""
        return (*(self.chain or ()), *(self.bundle or ()))


class MaterialResumption(msgspec.Struct, frozen=True):
    """To go on with what was supplied last, with all that the store kept of it."""

    about: MaterialKind


def material_goal(
    request: MaterialRequest,
    fleet: Fleet,
    described: FleetDescription,
    *,
    by_hand: Callable[[GroupName], str],
) -> InstallMaterial:
    """Return the goal; `SpecError` when what is supplied, or for whom, cannot be meant.

    `by_hand`: how a person names another file in the settings of a group's instances.
    """
    _check_bundle(request.bundle)
    _check_chain(request)
    chosen = tuple(_chosen(request, fleet))
    if not chosen:
        raise _nobody(request, fleet)
    part = Installation(
        endpoints=chosen,
        bundle=None if request.bundle is None else _fingerprints(request.bundle),
        chain=None if request.chain is None else _fingerprints(request.chain),
        file=None if request.file is None else _file(request.file),
    )
    if part.file is None:
        _check_shared(fleet, part)
    else:
        _check_file(described, part, part.file, by_hand=by_hand)
    margin = timedelta(seconds=request.margin_seconds)
    return InstallMaterial(parts=(part,), step_margin=margin)


# Who is chosen.


def _chosen(request: MaterialRequest, fleet: Fleet) -> Iterator[EndpointRef]:
    _check_groups(request, fleet)
    for group in fleet.groups:
        if request.groups and group.name not in request.groups:
            continue
        for instance in group.instances:
            for endpoint in instance.endpoints:
                if _is_meant(request, endpoint):
                    _check_fit(request, group, instance, endpoint)
                    yield EndpointRef(instance.name, endpoint.name)


def _is_meant(request: MaterialRequest, endpoint: Endpoint) -> bool:
    if request.roles and endpoint.role not in request.roles:
        return False
    if endpoint.role is Role.SOURCE:
        return False
    return bool(endpoint.presents) if request.chain is not None else endpoint.trusts is not None


def _check_groups(request: MaterialRequest, fleet: Fleet) -> None:
    known = [group.name for group in fleet.groups]
    for name in request.groups:
        if name not in known:
            raise SpecError(
                f"the fleet has no group `{name}`",
                hint=f"it has {', '.join(f'`{group_name}`' for group_name in known)}",
            )


def _check_fit(
    request: MaterialRequest, group: Group, instance: Instance, endpoint: Endpoint
) -> None:
    place = f"`{instance.name}/{endpoint.name}`"
    others = "leave it out with `--groups` or `--roles`"
    if endpoint.source is not None:
        raise SpecError(
            f"{place} gets its material from `{endpoint.source.group}`, which brings its own",
            hint=others,
        )
    if request.bundle is not None and endpoint.trusts is not None and endpoint.bundle_file is None:
        raise SpecError(
            f"{place} of `{group.name}` has no `ca` file: it trusts what its system trusts",
            hint=f"give it a `ca_file` in its configuration and the fleet file, or {others}",
        )


def _nobody(request: MaterialRequest, fleet: Fleet) -> SpecError:
    roles = {
        endpoint.role.value
        for group in fleet.groups
        if not request.groups or group.name in request.groups
        for instance in group.instances
        for endpoint in instance.endpoints
    }
    does = "presents" if request.chain is not None else "trusts"
    return SpecError(
        f"nobody is chosen who {does} anything",
        hint=f"there are the roles {', '.join(f'`{role}`' for role in sorted(roles)) or 'none'}",
    )


# What may be supplied.


def _check_bundle(bundle: tuple[Certificate, ...] | None) -> None:
    if bundle is None:
        return
    if not bundle:
        raise SpecError("the bundle holds no certificate", hint="`rollover bundle build` makes one")
    for certificate in bundle:
        if not certificate.is_ca:
            raise SpecError(
                f"`{certificate.subject}` in the bundle is no CA: who trusts it trusts one party "
                "only",
                hint="`rollover bundle build` puts CAs only into a bundle",
            )


def _check_chain(request: MaterialRequest) -> None:
    if request.chain is None:
        return
    if not request.chain or request.chain[0].is_ca:
        raise SpecError(
            "the chain does not begin with the certificate of a server",
            hint="put the leaf first, then the intermediates that signed it",
        )
    if request.key is None:
        return
    if (
        from_pem(request.key.reveal(), place="the key").key_identity
        != request.chain[0].key_identity
    ):
        raise SpecError(
            f"the key does not belong to `{request.chain[0].subject}`",
            hint="bring the key that the certificate was issued for",
        )


# Who else would change with them.


def _check_shared(fleet: Fleet, part: Installation) -> None:
    """Refuse to change endpoints that were not chosen because they use the same file."""
    chosen = frozenset(part.endpoints)
    for instance in fleet.instances():
        mine = [
            endpoint
            for endpoint in instance.endpoints
            if EndpointRef(instance.name, endpoint.name) in chosen
        ]
        others = [endpoint for endpoint in instance.endpoints if endpoint not in mine]
        for other in others if mine else ():
            for endpoint in mine:
                what = _shared(endpoint, other, part)
                if what:
                    raise SpecError(
                        f"`{endpoint.name}` and `{other.name}` of `{instance.name}` have one file "
                        f"of {what}, and only one of them is chosen",
                        hint=_WAYS_OUT[what],
                    )


_WAYS_OUT = {
    "CAs": "choose both with `--roles`, or give the chosen ones a file of their own with `--as`",
    "certificates": "choose both with `--roles`, or give one of them files of its own",
}


def _shared(chosen: Endpoint, other: Endpoint, part: Installation) -> str:
    if part.bundle not in {None, other.trusts} and _same(chosen.bundle_slot, other.bundle_slot):
        return "CAs"
    if part.chain not in {None, other.presents} and _same(chosen.chain_slot, other.chain_slot):
        return "certificates"
    return ""


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


def _file(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise SpecError(
            f"`--as {text}` is no path below the directory of an instance",
            hint="write one like `tls/cabundle.pem`: each instance gets a file of its own",
        )
    return str(path)


def _check_file(
    described: FleetDescription,
    part: Installation,
    file: str,
    *,
    by_hand: Callable[[GroupName], str],
) -> None:
    """Refuse to re-point what cannot be re-pointed, or to overwrite what others use."""
    chosen = frozenset(part.endpoints)
    homes: dict[str | None, InstanceName] = {}
    for group in described.groups:
        for instance in group.instances:
            if not any(
                EndpointRef(instance.name, endpoint.name) in chosen
                for endpoint in instance.endpoints
            ):
                continue
            if instance.config is None or not isinstance(group.delivery, FileDelivery):
                raise SpecError(
                    f"the configuration of `{instance.name}` cannot be changed from here",
                    hint=by_hand(group.name),
                )
            other = homes.setdefault(instance.working_directory, instance.name)
            if other != instance.name:
                raise SpecError(
                    f"`{other}` and `{instance.name}` have one directory, and would have one file",
                    hint="describe the `working_directory` of each",
                )
            _check_unused(instance, chosen, file)


def _check_unused(instance: InstanceDescription, chosen: frozenset[EndpointRef], file: str) -> None:
    for endpoint in instance.endpoints:
        own = EndpointRef(instance.name, endpoint.name) in chosen
        used = (endpoint.certificate, endpoint.key, *(() if own else (endpoint.ca,)))
        if file in {below(instance, path) for path in used}:
            raise SpecError(
                f"`{file}` is a file of `{instance.name}/{endpoint.name}` already",
                hint="choose that endpoint as well, or another path",
            )


def _fingerprints(certificates: Iterable[Certificate]) -> Chain:
    return tuple(dict.fromkeys(certificate.fingerprint for certificate in certificates))


# What is kept in the store: the way back, and another process that goes on, need it again.


class MaterialStore:
    """The certificates and keys that operators supplied, by their fingerprints."""

    def __init__(self, credentials: CredentialStore) -> None:
        self._credentials = credentials

    def keep(
        self,
        certificates: Sequence[Certificate],
        *,
        key: SecretBytes | None = None,
        at: datetime,
    ) -> None:
        """Keep a bundle, or a chain with its key; the same again is kept once."""
        name = _store_name(certificate.fingerprint for certificate in certificates)
        kept = self._credentials.versions(name)
        # What was kept without its key gets another version with it.
        if any(version.has_key or key is None for version in kept):
            return
        self._credentials.add(name, write_certificates(certificates), key=key, flags=Flags(), at=at)

    def keep_all(
        self,
        parts: Iterable[Installation],
        *,
        known: Mapping[Fingerprint, Certificate],
        at: datetime,
    ) -> None:
        """Keep every bundle that is installed, but for that of the system, which is no file."""
        for part in parts:
            if part.bundle and SYSTEM_ROOTS not in part.bundle:
                self.keep([known[ca] for ca in part.bundle], at=at)

    def certificates(self, parts: Iterable[Installation]) -> Iterator[Certificate]:
        """Yield every certificate that is kept of what is installed."""
        for part in parts:
            for several in (part.bundle, part.chain):
                for version in self._credentials.versions(_store_name(several)) if several else ():
                    yield from read_certificates(version.chain, place=version.name).certificates

    def has_key(self, chain: Sequence[Fingerprint]) -> bool:
        """Say whether the key of a chain was kept."""
        return any(version.has_key for version in self._credentials.versions(_store_name(chain)))

    def key(self, chain: Sequence[Fingerprint]) -> SecretBytes:
        """Return the key of a chain; `StoreError` when it was not kept."""
        name = _store_name(chain)
        for version in self._credentials.versions(name):
            if version.has_key:
                return self._credentials.private_key(name, version.number)
        raise StoreError(
            f"the key of the certificate {short(chain[0])} is not in the store",
            hint="bring it: `rollover rotate --renew … --with CHAIN --with-key KEY`",
        )


def _store_name(fingerprints: Iterable[Fingerprint]) -> str:
    digest = hashlib.sha256("".join(fingerprints).encode())
    return f"/given/{digest.hexdigest()[:32]}"


# What takes an installation back: what there was before, and the goal that leads to it.


def former_material(
    goal: InstallMaterial, fleet: Fleet, *, chains: Collection[Chain] = ()
) -> tuple[Installation, ...]:
    """Return what the endpoints of a goal have now of what it changes.

    Of what they present only `chains`, those whose keys are at hand.
    """
    wanted = {ref: part for part in goal.parts for ref in part.endpoints}
    held: dict[tuple[Bundle | None, Chain | None], list[EndpointRef]] = {}
    for instance in fleet.instances():
        for endpoint in instance.endpoints:
            ref = EndpointRef(instance.name, endpoint.name)
            if ref not in wanted:
                continue
            bundle = endpoint.trusts if wanted[ref].bundle is not None else None
            renewed = wanted[ref].chain is not None and endpoint.presents in chains
            chain = endpoint.presents if renewed else None
            if bundle is not None or chain is not None:
                held.setdefault((bundle, chain), []).append(ref)
    return tuple(
        Installation(endpoints=tuple(refs), bundle=bundle, chain=chain)
        for (bundle, chain), refs in held.items()
    )


def rollback_goal(goal: InstallMaterial, taken: tuple[Installation, ...]) -> InstallMaterial:
    """Return the goal that gives back what was taken; bundles stay in the files that they are in.

    Raises `SpecError` where that cannot be had.
    """
    if not _has_chains(goal, taken):
        raise SpecError(
            "the keys of the chains before are not here: they lay on the instances, and could not "
            "be read when the renewal began",
            hint="renew once more, with the former chain and key: `rollover rotate --renew …`",
        )
    if any(SYSTEM_ROOTS in (installation.bundle or ()) for installation in taken) or not taken:
        raise SpecError(
            "before, they trusted what their system trusts: no file says so",
            hint="remove `ca_file` from the configuration and reload, or give another bundle",
        )
    return InstallMaterial(parts=taken, step_margin=goal.step_margin)


def with_rollback_caution(
    plan: Plan, goal: InstallMaterial, taken: tuple[Installation, ...]
) -> Plan:
    """Return a plan that says beforehand that no way leads back to the former certificates."""
    if not plan.rollouts or _has_chains(goal, taken):
        return plan
    caution = Caution(
        rule=NO_WAY_BACK,
        message="`rollover rollback` cannot take this renewal back: the keys that are in use now "
        "lie on the instances, and cannot be read from here",
        remedy="keep the former chain and key yourself, to renew with them once more",
    )
    return msgspec.structs.replace(plan, cautions=(*plan.cautions, caution))


def _has_chains(goal: InstallMaterial, taken: tuple[Installation, ...]) -> bool:
    """Say whether everybody whose chain is replaced could get the former one again."""
    replaced = {ref for part in goal.parts if part.chain for ref in part.endpoints}
    return replaced <= {
        ref for installation in taken if installation.chain for ref in installation.endpoints
    }
