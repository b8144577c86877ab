"""Goals that install supplied material: a curated bundle, a chain that others issued.

From what an operator asks for to a goal; what takes it back is in `way_back`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import PurePosixPath

import msgspec

from rollover.errors import SpecError
from rollover.fleet.assemble import below
from rollover.fleet.certificate import Certificate, Chain
from rollover.fleet.description import (
    FileDelivery,
    FleetDescription,
    InstanceDescription,
)
from rollover.fleet.goal import Installation, InstallMaterial, MaterialKind
from rollover.fleet.model import Endpoint, EndpointRef, Fleet, Group, Instance, Role
from rollover.fleet.names import GroupName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import from_pem


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


def goal_for(
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
    known = [each.name for each in fleet.groups]
    for name in request.groups:
        if name not in known:
            raise SpecError(
                f"the fleet has no group `{name}`",
                hint=f"it has {', '.join(f'`{each}`' for each in known)}",
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
        hint=f"there are the roles {', '.join(f'`{each}`' for each in sorted(roles)) or 'none'}",
    )


# What may be brought.


def _check_bundle(bundle: tuple[Certificate, ...] | None) -> None:
    if bundle is None:
        return
    if not bundle:
        raise SpecError("the bundle holds no certificate", hint="`rollover bundle build` makes one")
    for each in bundle:
        if not each.is_ca:
            raise SpecError(
                f"`{each.subject}` in the bundle is no CA: who trusts it trusts one party only",
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
        mine = [each for each in instance.endpoints if _ref(instance, each) in chosen]
        for other in instance.endpoints if mine else ():
            if _ref(instance, other) in chosen:
                continue
            for one in mine:
                what = _shared(one, other, part)
                if what:
                    raise SpecError(
                        f"`{one.name}` and `{other.name}` of `{instance.name}` have one file of "
                        f"{what}, and only one of them is chosen",
                        hint=_WAYS_OUT[what],
                    )


_WAYS_OUT = {
    "CAs": "choose both with `--roles`, or give the chosen ones a file of their own with `--as`",
    "certificates": "choose both with `--roles`, or give one of them files of its own",
}


def _shared(one: Endpoint, other: Endpoint, part: Installation) -> str:
    if part.bundle not in {None, other.trusts} and _same(one.bundle_slot, other.bundle_slot):
        return "CAs"
    if part.chain not in {None, other.presents} and _same(one.chain_slot, other.chain_slot):
        return "certificates"
    return ""


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


def _ref(instance: Instance, endpoint: Endpoint) -> EndpointRef:
    return EndpointRef(instance.name, endpoint.name)


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
                EndpointRef(instance.name, each.name) in chosen for each in instance.endpoints
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
    for each in instance.endpoints:
        own = EndpointRef(instance.name, each.name) in chosen
        used = (each.certificate, each.key, *(() if own else (each.ca,)))
        if file in {below(instance, path) for path in used}:
            raise SpecError(
                f"`{file}` is a file of `{instance.name}/{each.name}` already",
                hint="choose that endpoint as well, or another path",
            )


def _fingerprints(certificates: Iterable[Certificate]) -> Chain:
    return tuple(dict.fromkeys(each.fingerprint for each in certificates))
