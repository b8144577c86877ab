"""The rules of the engine's own gates, and which refusals an operator can answer for."""

from __future__ import annotations

from rollover.fleet.names import RuleId
from rollover.planner.explain import LEFT_BEHIND
from rollover.rules.rule import Catalogue, Rule, Severity

AS_ORDERED = RuleId("as-ordered")
"""An instance that was confirmed shows something else than it was given."""
HANDSHAKES = RuleId("handshake-gate")
"""A fresh handshake went otherwise than the observed trust says."""
DRAIN = RuleId("drain-incomplete")
"""A live connection still presents a certificate whose CA is about to be withdrawn."""
RECOVERY = RuleId("recovery-needed")
"""Expired certificates cut instances off that a source feeds: they have to be made anew.

Its text is with the platform that has such sources: what being made anew costs depends on it.
"""
NO_WAY_BACK = RuleId("no-way-back")
"""A renewal whose former keys cannot be read: nothing can take it back."""


def overridable(catalogue: Catalogue) -> frozenset[RuleId]:
    """Return the refusals that can be answered for, each with a reason.

    Also what platforms find, but where nothing could be confirmed afterwards. A step that is
    unsafe never can.
    """
    found = (rule.id for rule in catalogue.found_by_platforms if rule.answerable)
    return frozenset((LEFT_BEHIND, HANDSHAKES, DRAIN, RECOVERY, *found))


_DRAIN_INCOMPLETE = Rule(
    id=DRAIN,
    severity=Severity.EVIDENCE,
    title="Somebody still presents a certificate of the CA that is to be withdrawn",
    meaning="A server's own connection list shows live connections whose peers presented a "
    "certificate from the old CA, or the list could not be had.",
    why="These peers would be cut off at their next reconnect.",
    example="`billing-worker` on `n2` still presents a certificate of `nats-ca@1`.",
    remedy="Give these peers new certificates, or add them to the fleet file; or answer for them "
    "with `--override drain-incomplete=REASON`.",
    source="nats-server's `connz` with `auth` (`tls_peer_certs`)",
)

_HANDSHAKE_GATE = Rule(
    id=HANDSHAKES,
    severity=Severity.EVIDENCE,
    title="Fresh handshakes after a rollout do not show what was delivered",
    meaning="Every instance of the rollout is dialled anew, with a chain of each CA: it presents, "
    "advertises or accepts something else than it should.",
    why="A reload that succeeds proves nothing; only a new handshake does.",
    example="`n3` still advertises only the old CA although its reload reported success.",
    remedy="Look at the instance named, then run `rollover rotate` again: it observes afresh.",
    source="Measured on nats-server: every mistake is silent until the next reconnect",
)

_AS_ORDERED = Rule(
    id=AS_ORDERED,
    severity=Severity.EVIDENCE,
    title="After a rollout an instance does not use what it was ordered to use",
    meaning="The look at the fleet after a rollout shows other chains or bundles than those that "
    "were delivered.",
    why="Every later step is proven on what is observed; something else changes the same files, "
    "or the instance came back with what it had before.",
    example="`c4` was given a leaf of `nats-ca@2` and presents one of `nats-ca@1` again.",
    remedy="Find out who else writes its files, then run `rollover rotate` again.",
    source="The engine: re-plan from what is observed, never from what was done",
)

_NO_WAY_BACK = Rule(
    id=NO_WAY_BACK,
    severity=Severity.WARNING,
    title="A renewal cannot be taken back from here",
    meaning="The private keys that are in use now lie where they cannot be read from here, or do "
    "not belong to what is presented: with delivery by a command, or in Kubernetes, a key never "
    "leaves the instance.",
    why="`rollover rollback` gives back the former chains with their keys. Of files of this "
    "machine it keeps them, sealed, before it replaces them.",
    example="The servers of `b` get their files by ssh, and their certificates from a public CA.",
    remedy="Keep the former chain and key yourself; `rollover rotate --renew` brings them again.",
    source="The engine: what a goal replaces is kept before it begins",
)

GATE_RULES = (_DRAIN_INCOMPLETE, _HANDSHAKE_GATE, _AS_ORDERED)
MATERIAL_RULES = (_NO_WAY_BACK,)
