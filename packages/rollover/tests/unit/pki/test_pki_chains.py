"""Both verifiers give the expected verdict on every chain on which stacks are known to differ."""

from __future__ import annotations

import pytest

from rigs.pki_chain_cases import Case, chain_cases
from rigs.pki_forge import NOW
from rollover.fleet.certificate import Stack, Usage
from rollover.pki.stacks import Verifier

CASES = chain_cases(NOW)


def test_the_table_is_covered() -> None:
    """There are at least the 58 chains of the reference, each with a name of its own."""
    assert len(CASES) >= 58
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("usage", Usage)
@pytest.mark.parametrize("stack", Stack)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_verdict_is_the_stacks(case: Case, stack: Stack, usage: Usage) -> None:
    """Each stack accepts exactly what its real implementation accepts."""
    verifier = Verifier({one.fingerprint: one for one in case.certificates()})
    verdict = verifier(case.question(stack=stack, usage=usage, instant=NOW))
    assert verdict.accepted == case.expected(stack=stack, usage=usage), verdict.faults
