"""The way back from what was installed: what there was before, and the goal that it is."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from rollover.engine.rules import NO_WAY_BACK
from rollover.errors import SpecError
from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.goal import Installation, InstallMaterial
from rollover.fleet.model import EndpointRef, Fleet
from rollover.fleet.names import SYSTEM_ROOTS
from rollover.fleet.plan import Caution, Plan


def before(
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


def reversed_goal(goal: InstallMaterial, taken: tuple[Installation, ...]) -> InstallMaterial:
    """Return the goal that gives back what was taken; bundles stay in the files that they are in.

    Raises `SpecError` where that cannot be had.
    """
    if not _has_chains(goal, taken):
        raise SpecError(
            "the keys of the chains before are not here: they lay on the instances, and could not "
            "be read when the renewal began",
            hint="renew once more, with the former chain and key: `rollover rotate --renew …`",
        )
    if any(SYSTEM_ROOTS in (each.bundle or ()) for each in taken) or not taken:
        raise SpecError(
            "before, they trusted what their system trusts: no file says so",
            hint="remove `ca_file` from the configuration and reload, or give another bundle",
        )
    return InstallMaterial(parts=taken, step_margin=goal.step_margin)


def warned(plan: Plan, goal: InstallMaterial, taken: tuple[Installation, ...]) -> Plan:
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
    return replaced <= {ref for each in taken if each.chain for ref in each.endpoints}
