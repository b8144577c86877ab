"""What configurations trust today, as the beginning of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from rollover.bundles.offers import Offer, Offers
from rollover.checks.configs.scene import ConfigScene, Used
from rollover.codec.nats_configuration import CONTEXT_OF
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.model import Role


def trusted_today(configs: ConfigScene, *, roles: Sequence[Role] = ()) -> Offers:
    """Return the CAs that the blocks of some configurations trust, in the order they are named.

    Exactly what nats-server loads of each `ca_file`. `roles`: of the blocks of such endpoints
    only; empty: of all. Raises `SpecError` for a file that cannot be read, and when there is no
    such block. Notes say which blocks trust the roots of the operating system, which no bundle can
    equal, and where blocks do not trust the same: for them the bundle is wider than today.
    """
    offers: list[Offer] = []
    bundles: dict[frozenset[Certificate], Used] = {}
    notes: list[str] = []
    for used in _chosen(configs, roles):
        if used.block.ca_file is None:
            if _verifies(used):
                notes.append(f"{used.subject} trusts the roots of the operating system")
            continue
        found = _loaded(configs, used)
        bundles.setdefault(frozenset(found), used)
        offers += (Offer(each, used.place("ca_file")) for each in found)
    if len(bundles) > 1:
        names = ", ".join(f"{each.subject}" for each in bundles.values())
        notes.append(
            f"not all blocks trust the same today, the bundle is wider for some ({names}): "
            "`--roles` takes those of some endpoints only"
        )
    return Offers(offers=tuple(offers), notes=tuple(notes))


def _chosen(configs: ConfigScene, roles: Sequence[Role]) -> tuple[Used, ...]:
    contexts = {CONTEXT_OF.get(each) for each in roles}
    found = tuple(each for each in configs.used if not roles or each.block.context in contexts)
    if roles and not found:
        there = {each.block.context for each in configs.used}
        others = [f"`{role}`" for role, context in CONTEXT_OF.items() if context in there]
        raise SpecError(
            f"no configuration has a `tls` block for {', '.join(f'`{each}`' for each in roles)}",
            hint=f"there are blocks of {', '.join(others) or 'nobody'}",
        )
    return found


def _verifies(used: Used) -> bool:
    block = used.block
    return block.demands_certificate or (block.context.dials and not block.insecure)


def _loaded(configs: ConfigScene, used: Used) -> tuple[Certificate, ...]:
    facts = configs.facts(used.block.ca_file)
    if facts is None or facts.problem or not facts.loaded:
        path = used.block.ca_file.written if used.block.ca_file else ""
        reason = (facts.problem or facts.damage) if facts else "it was not read"
        raise SpecError(
            f"`{path}` cannot be used: {reason or 'no certificate in it'}",
            place=used.place("ca_file"),
            hint="correct the configuration first: `rollover check` says more",
        )
    return facts.loaded
