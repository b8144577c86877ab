"""Chains and names by the thousand, as strangers send them: a verdict soon, and never a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from rigs.pki_forge import CA, INTERMEDIATE, LEAF, NOW, Forged, ec_key, forge
from rollover.fleet.certificate import FaultKind, Question, Stack, Usage, Verdict
from rollover.pki.go import MOST_NAMESAKES
from rollover.pki.paths import COMPARISON_LIMIT, SIGNATURE_CHECK_LIMIT
from rollover.pki.stacks import Verifier

SOON_SECONDS = 60.0
LONGEST_ACCEPTED = SIGNATURE_CHECK_LIMIT - 1
"""Intermediates of the longest chain that Go accepts: each and the root take one check."""
KEYS = (ec_key(), ec_key())
ROOT = forge("root", CA, key=KEYS[0])


def verdict(
    leaf: Forged, between: Sequence[Forged], anchors: Sequence[Forged] = (ROOT,)
) -> Verdict:
    """Return what a Go server says of a client's chain, and fail when that takes long."""
    certificates = [anchor.certificate for anchor in (leaf, *between, *anchors)]
    verifier = Verifier({certificate.fingerprint: certificate for certificate in certificates})
    question = Question(
        chain=tuple(pair.certificate.fingerprint for pair in (leaf, *between)),
        bundle=tuple(anchor.certificate.fingerprint for anchor in anchors),
        name=None,
        usage=Usage.CLIENT,
        stack=Stack.GO,
        presenter=Stack.OPENSSL,
        instant=NOW,
    )
    started = time.process_time()
    found = verifier(question)
    assert time.process_time() - started < SOON_SECONDS
    return found


def line(length: int, *, top: Forged = ROOT, key: ec.EllipticCurvePrivateKey) -> Iterator[Forged]:
    """Yield a chain of CAs of one key, the one below `top` first."""
    above = top
    for number in range(length):
        above = forge(f"ca {number}", INTERMEDIATE, by=above, key=key)
        yield above


@pytest.mark.parametrize("length", [LONGEST_ACCEPTED, LONGEST_ACCEPTED + 1, 1500])
def test_a_chain_is_as_long_as_go_has_checks_for(length: int) -> None:
    """Whether its issuer is at hand or not, and however long it is."""
    chain = list(line(length, key=KEYS[1]))
    leaf = forge("leaf", LEAF, by=chain[-1])
    accepted = length <= LONGEST_ACCEPTED
    found = verdict(leaf, chain[::-1])
    assert found.accepted == accepted
    assert accepted or "Go gives up after 100 signature checks" in found.faults[0].detail
    elsewhere = verdict(leaf, chain[::-1], (forge("other", CA),))
    expected = FaultKind.NO_PATH if accepted else FaultKind.CONSTRAINT
    assert [fault.kind for fault in elsewhere.faults] == [expected]


def test_a_crowd_of_namesakes_is_not_searched_to_its_end() -> None:
    """Neither copies of one CA, nor CAs of one name with keys that did not sign."""
    copies = [forge("root", CA, key=KEYS[1]) for _ in range(400)]
    leaf = forge("leaf", LEAF, by=ROOT)
    crowd = verdict(leaf, copies, copies)
    told = [fault for fault in crowd.faults if fault.kind is FaultKind.SIGNATURE]
    assert not crowd.accepted
    assert len(told) <= MOST_NAMESAKES
    assert verdict(leaf, copies, (ROOT, *copies)).accepted


def test_a_web_of_cross_signed_cas_ends() -> None:
    """Every CA signed every other, so the number of paths has no end."""
    keys = [ec_key() for _ in range(12)]
    selves = [forge(f"ca {number}", CA, key=key) for number, key in enumerate(keys)]
    web = [
        forge(f"ca {number}", INTERMEDIATE, by=issuer, key=key)
        for number, key in enumerate(keys)
        for issuer in selves
        if issuer.key is not key
    ]
    leaf = forge("leaf", LEAF, by=selves[0])
    found = verdict(leaf, web, (forge("elsewhere", CA),))
    assert [fault.kind for fault in found.faults] == [FaultKind.NO_PATH]
    assert "below it in the chain already" in found.faults[0].detail


@pytest.mark.parametrize("excluded", [True, False])
def test_constraints_are_compared_as_often_as_go_does(excluded: bool) -> None:  # noqa: FBT001 - a column of the table
    """With one comparison more than its limit Go refuses the CA, whatever the names are."""
    subtrees = [x509.DNSName(f"d{number}.example.org") for number in range(500)]
    if not excluded:
        subtrees[0] = x509.DNSName("example.com")
    constraints = x509.NameConstraints(
        permitted_subtrees=None if excluded else subtrees,
        excluded_subtrees=subtrees if excluded else None,
    )
    authority = forge("limited", CA._replace(extra=((constraints, True),)))
    most = COMPARISON_LIMIT // len(subtrees)
    for count in (most, most + 1):
        names = tuple(x509.DNSName(f"h{number}.example.com") for number in range(count))
        found = verdict(forge("many", LEAF._replace(names=names), by=authority), (), (authority,))
        assert found.accepted == (count == most)
        assert found.accepted or "more than 250,000 comparisons" in found.faults[0].detail
