"""What a party makes of a chain, asked of the verifier of its stack."""

from __future__ import annotations

from rollover.checks.configs.scene import ConfigScene
from rollover.fleet.certificate import Certificate, Fault, FaultKind, Question, Stack, Usage

_DATES = frozenset((FaultKind.EXPIRED, FaultKind.NOT_YET_VALID))


def verdict(
    configs: ConfigScene,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
    stack: Stack = Stack.GO,
    presenter: Stack = Stack.GO,
) -> tuple[Fault, ...]:
    """Return why a party with this bundle refuses a chain."""
    question = Question(
        chain=tuple(each.fingerprint for each in chain),
        bundle=tuple(each.fingerprint for each in bundle),
        instant=configs.now,
        usage=usage,
        stack=stack,
        presenter=presenter,
    )
    return configs.accepts(question).faults


def refusal(
    configs: ConfigScene,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
) -> tuple[Fault, ...]:
    """Return why one nats-server refuses another one, but for dates, which other rules tell.

    Whom nobody would accept anyway need not be told that he would not even offer himself.
    """
    faults = verdict(configs, chain, bundle, usage=usage)
    lasting = tuple(each for each in faults if each.kind not in _DATES)
    return tuple(each for each in lasting if each.kind is not FaultKind.NOT_OFFERED) or lasting


def refused(
    configs: ConfigScene,
    chain: tuple[Certificate, ...],
    bundle: tuple[Certificate, ...],
    *,
    usage: Usage,
) -> str:
    """Return in words why a nats-server refuses a chain; empty when it does not, or by age only."""
    faults = verdict(configs, chain, bundle, usage=usage)
    return "; ".join(each.detail for each in faults if each.kind is not FaultKind.EXPIRED)
