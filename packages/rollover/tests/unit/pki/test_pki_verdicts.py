"""A refusal names every reason as a fact of its own, and the certificate that it lies in."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest
from cryptography import x509

from rigs.pki_forge import (
    CA,
    CLIENT_AUTH,
    DAY,
    INTERMEDIATE,
    LEAF,
    NOW,
    Forged,
    ec_key,
    forge,
    rsa_key,
    with_negative_serial,
    with_sha1,
)
from rollover.errors import SpecError
from rollover.fleet.certificate import FaultKind, Question, Stack, Usage, Verdict
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint
from rollover.pki.certificate import shape
from rollover.pki.openssl import STRICT_PARTIAL_FLAGS
from rollover.pki.stacks import Verifier

ROOT = forge("root", CA)
INTER = forge("inter", INTERMEDIATE, by=ROOT)


def _question(
    chain: list[Forged],
    bundle: list[Forged],
    *,
    stack: Stack = Stack.GO,
    usage: Usage = Usage.CLIENT,
    instant: datetime = NOW,
    name: str | None = None,
    presenter: Stack | None = None,
) -> Question:
    return Question(
        chain=tuple(one.certificate.fingerprint for one in chain),
        bundle=tuple(one.certificate.fingerprint for one in bundle),
        instant=instant,
        usage=usage,
        stack=stack,
        name=name,
        presenter=presenter,
    )


def _verifier(*parties: list[Forged]) -> Verifier:
    every = [one.certificate for party in parties for one in party]
    return Verifier({one.fingerprint: one for one in every})


def _facts(verdict: Verdict) -> set[tuple[FaultKind, str | None]]:
    return {(fault.kind, fault.certificate) for fault in verdict.faults}


def _ask(
    chain: list[Forged], bundle: list[Forged], **how: object
) -> set[tuple[FaultKind, str | None]]:
    question = _question(chain, bundle, **how)  # type: ignore[arg-type]  # passed through
    return _facts(_verifier(chain, bundle)(question))


@pytest.mark.parametrize("stack", Stack)
def test_all_faults_are_told_at_once(stack: Stack) -> None:
    """A path that is expired in two places, of the wrong usage and name: four facts."""
    inter = forge("inter", INTERMEDIATE._replace(days=(-9, -1)), by=ROOT)
    shape_ = LEAF._replace(days=(-9, -2), extended=(CLIENT_AUTH,))
    leaf = forge("leaf", shape_, by=inter)
    where = leaf.certificate.fingerprint
    assert _ask([leaf, inter], [ROOT], stack=stack, usage=Usage.SERVER, name="elsewhere") == {
        (FaultKind.EXPIRED, where),
        (FaultKind.EXPIRED, inter.certificate.fingerprint),
        (FaultKind.USAGE, where),
        (FaultKind.NAME, where),
    }


@pytest.mark.parametrize("stack", Stack)
@pytest.mark.parametrize(
    ("instant", "kind"),
    [(NOW + 31 * DAY, FaultKind.EXPIRED), (NOW - 2 * DAY, FaultKind.NOT_YET_VALID)],
)
def test_time_is_told_for_each_certificate(
    stack: Stack, instant: datetime, kind: FaultKind
) -> None:
    """Never as a missing path: the path is there, its time is not."""
    leaf = forge("leaf", by=INTER)
    expected = {(kind, one.certificate.fingerprint) for one in (leaf, INTER, ROOT)}
    assert _ask([leaf, INTER], [ROOT], stack=stack, instant=instant) == expected


@pytest.mark.parametrize("stack", Stack)
def test_the_last_second_is_valid(stack: Stack) -> None:
    """Both ends of the validity are inclusive."""
    leaf = forge("leaf", by=ROOT)
    for instant in (NOW - DAY, NOW + 30 * DAY):
        assert _ask([leaf], [ROOT], stack=stack, instant=instant) == set()


@pytest.mark.parametrize("stack", Stack)
def test_no_path_is_told_where_it_ends(stack: Stack) -> None:
    """The topmost certificate reached, not the leaf."""
    leaf = forge("leaf", by=INTER)
    faults = _ask([leaf, INTER], [forge("other", CA)], stack=stack)
    assert (FaultKind.NO_PATH, INTER.certificate.fingerprint) in faults


@pytest.mark.parametrize("stack", Stack)
def test_a_namesake_with_another_key_is_a_signature_fault(stack: Stack) -> None:
    """The issuer's name is known, its key is another."""
    leaf = forge("leaf", LEAF._replace(authority_key_id=False), by=ROOT)
    faults = _ask([leaf], [forge("root", CA)], stack=stack)
    assert (FaultKind.SIGNATURE, leaf.certificate.fingerprint) in faults


@pytest.mark.parametrize("stack", Stack)
def test_sha1_is_weak(stack: Stack) -> None:
    """The path is there; its signature counts for nothing."""
    key = rsa_key(2048, "root")
    root = forge("root", CA, key=key)
    leaf = with_sha1(forge("leaf", by=root), signer=key)
    assert _ask([leaf], [root], stack=stack) == {(FaultKind.WEAK, leaf.certificate.fingerprint)}


@pytest.mark.parametrize("stack", Stack)
def test_a_ca_that_is_none_is_a_constraint_fault(stack: Stack) -> None:
    """The fault lies in the CA, not in the leaf."""
    inter = forge("inter", LEAF, by=ROOT)
    faults = _ask([forge("leaf", by=inter), inter], [ROOT], stack=stack)
    assert (FaultKind.CONSTRAINT, inter.certificate.fingerprint) in faults


def test_go_cannot_read_a_negative_serial() -> None:
    """In a chain it is malformed, in a bundle it is skipped."""
    key = ec_key()
    root = forge("root", CA._replace(serial=5), key=key)
    odd, leaf = with_negative_serial(root, signer=key), forge("leaf", by=root)
    assert _ask([leaf, odd], [ROOT]) == {(FaultKind.MALFORMED, odd.certificate.fingerprint)}
    assert {kind for kind, _ in _ask([leaf], [odd])} == {FaultKind.NO_PATH}


def test_an_unreadable_extension_is_malformed_for_go() -> None:
    """A SAN that is none."""
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x04\x01x")
    leaf = forge("leaf", LEAF._replace(names=(), extra=((broken, False),)), by=ROOT)
    assert _ask([leaf], [ROOT]) == {(FaultKind.MALFORMED, leaf.certificate.fingerprint)}


def test_nothing_presented_is_a_fault() -> None:
    """An empty chain."""
    assert _ask([], [ROOT]) == {(FaultKind.NO_CERTIFICATE, None)}


@pytest.mark.parametrize("stack", Stack)
def test_a_go_dialer_keeps_a_certificate_that_nobody_asked_for(stack: Stack) -> None:
    """Unless an issuer of its chain is on the list; as a server it always presents."""
    leaf, other = forge("leaf", by=INTER), forge("other", CA)
    where = leaf.certificate.fingerprint
    fault = (FaultKind.NOT_OFFERED, where)
    assert fault in _ask([leaf], [ROOT], stack=stack, presenter=Stack.GO)
    assert fault in _ask([leaf, INTER], [other], stack=stack, presenter=Stack.GO)
    assert fault not in _ask([leaf], [ROOT], stack=stack, presenter=Stack.OPENSSL)
    assert fault not in _ask([leaf], [ROOT], stack=stack, presenter=Stack.GO, usage=Usage.SERVER)
    assert _ask([leaf, INTER], [ROOT], stack=stack, presenter=Stack.GO) == set()


def test_a_leaf_as_anchor_is_not_offered_by_go() -> None:
    """The acceptor would take it, but its issuer is not on the list: a Go dialer stays silent."""
    leaf = forge("leaf", by=ROOT)
    assert _ask([leaf], [leaf]) == set()
    assert {kind for kind, _ in _ask([leaf], [leaf], presenter=Stack.GO)} == {FaultKind.NOT_OFFERED}


def test_too_many_names_stop_every_mutual_handshake() -> None:
    """Also those of a chain that is in order; a server's chain is none of this."""
    crowd = [forge(f"{number:064}", CA) for number in range(850)]
    leaf = forge("leaf", by=crowd[0])
    assert _ask([leaf], crowd) == {(FaultKind.CONSTRAINT, None)}
    assert _ask([leaf], crowd, usage=Usage.SERVER) == set()


@pytest.mark.parametrize("stack", Stack)
def test_system_roots_are_unknown(stack: Stack) -> None:
    """They are no reason to accept; another anchor beside them is."""
    leaf = forge("leaf", by=ROOT)
    verifier = _verifier([leaf, ROOT])
    alone = msgspec.structs.replace(
        _question([leaf], [], stack=stack, presenter=Stack.GO), bundle=(SYSTEM_ROOTS,)
    )
    beside = msgspec.structs.replace(alone, bundle=(SYSTEM_ROOTS, ROOT.certificate.fingerprint))
    verdict = verifier(alone)
    assert _facts(verdict) == {(FaultKind.NO_PATH, None)}
    assert "not known" in verdict.faults[0].detail
    assert verifier(beside).accepted


@pytest.mark.parametrize("stack", Stack)
def test_an_unknown_fingerprint_is_a_clear_error(stack: Stack) -> None:
    """The message names the certificate, the hint what to do."""
    question = msgspec.structs.replace(
        _question([ROOT], [], stack=stack), bundle=(Fingerprint("ab" * 32),)
    )
    with pytest.raises(SpecError, match="`abababababab`") as refusal:
        _verifier([ROOT])(question)
    assert refusal.value.hint


def test_an_intermediate_is_an_anchor_for_go_alone() -> None:
    """Go takes an intermediate as anchor, OpenSSL does not; of a plain chain both think alike."""
    leaf = forge("leaf", by=INTER)
    verifier = _verifier([leaf, INTER, ROOT])
    for bundle, taken in ((INTER, [True, False]), (ROOT, [True, True])):
        questions = (_question([leaf, INTER], [bundle], stack=stack) for stack in Stack)
        assert [verifier(question).accepted for question in questions] == taken


def test_newer_pythons_verify_by_other_flags() -> None:
    """Python 3.13 takes an intermediate as anchor, and no root without key usage."""
    leaf = forge("leaf", by=INTER)
    free = forge("free", CA._replace(usages=None))
    lax = forge("leaf", by=free)
    every = [one.certificate for one in (leaf, INTER, ROOT, free, lax)]
    known = {one.fingerprint: one for one in every}
    verifier = Verifier(known, openssl_flags=STRICT_PARTIAL_FLAGS)
    assert verifier(_question([leaf], [INTER], stack=Stack.OPENSSL)).accepted
    assert not verifier(_question([lax], [free], stack=Stack.OPENSSL)).accepted


def test_openssl_wildcards_need_two_dots() -> None:
    """Go takes `*.com` for a host, OpenSSL does not."""
    leaf = forge("leaf", LEAF._replace(names=(x509.DNSName("*.com"),)), by=ROOT)
    for stack, expected in ((Stack.GO, set()), (Stack.OPENSSL, {FaultKind.NAME})):
        faults = _ask([leaf], [ROOT], stack=stack, usage=Usage.SERVER, name="example.com")
        assert {kind for kind, _ in faults} == expected


def test_leaves_of_one_profile_have_one_shape() -> None:
    """Other keys, names and dates: the same shape; another usage, issuer or hash: another."""
    one = forge("a", by=ROOT).certificate
    twin = forge("b", LEAF._replace(names=(x509.DNSName("b"),), days=(0, 3)), by=ROOT)
    assert shape(one) == shape(twin.certificate)
    assert hash(shape(one)) == hash(shape(twin.certificate))
    for other in (
        forge("a", LEAF._replace(extended=(CLIENT_AUTH,)), by=ROOT),
        forge("a", LEAF._replace(names=()), by=ROOT),
        forge("a", by=INTER),
        forge("a", by=ROOT, key=rsa_key(2048, "leaf")),
        forge("a", LEAF._replace(authority_key_id=False), by=ROOT),
    ):
        assert shape(other.certificate) != shape(one)
