"""Which credentials an agent starts with, and which end its process at once."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rigs.bosh_nats_rig import BoshAuthority, Pair, credentials
from rollover.fleet.secret import holds_private_key
from rollover_lab.bosh.agent.bus import BadCredentials, client_context
from rollover_lab.bosh.agent.directory import CertKeyPair

CA, OTHER = BoshAuthority(), BoshAuthority()
PAIR = CA.agent("a")


def _pair(pair: Pair, *authorities: BoshAuthority, ca: str | None = None) -> CertKeyPair:
    fields = credentials(pair, authorities)
    return CertKeyPair(**(fields if ca is None else fields | {"ca": ca}))


def test_a_bundle_of_two_is_trusted_as_a_whole() -> None:
    """Both CAs end up in the context, same subject or not."""
    context = client_context(_pair(PAIR, CA, OTHER))
    assert len(context.get_ca_certs()) == 2
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname


@pytest.mark.parametrize(
    "ca",
    ["no PEM at all", CA.pem.rstrip("\n") + OTHER.pem, "-----BEGIN CERTIFICATE-----\nAA==\n"],
    ids=["text", "joined", "cut"],
)
def test_a_ca_without_a_certificate_that_go_finds_is_refused(ca: str) -> None:
    """Two PEM blocks joined without a newline hold no certificate for Go, not even the first."""
    with pytest.raises(BadCredentials, match="Failed to load Mbus CA cert"):
        client_context(_pair(PAIR, ca=ca))


def test_a_ca_with_junk_around_it_is_taken() -> None:
    """Go skips what is no certificate, as long as there is one."""
    context = client_context(_pair(PAIR, ca=f"junk\n{CA.pem}more junk"))
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "pair",
    [
        Pair(PAIR.certificate, CA.agent("a").private_key),
        Pair("", PAIR.private_key),
        Pair(PAIR.certificate, ""),
        Pair(PAIR.certificate, PAIR.private_key[:60] + PAIR.private_key[-60:]),
    ],
    ids=["mismatch", "no certificate", "no key", "damaged key"],
)
def test_a_pair_that_does_not_fit_is_refused_without_showing_it(pair: Pair) -> None:
    """The process ends with a reason that holds nothing of the key."""
    with pytest.raises(BadCredentials) as refused:
        client_context(_pair(pair, CA))
    assert not holds_private_key(str(refused.value))
    assert refused.value.__cause__ is None


def test_loading_leaves_no_descriptor_and_no_file_behind() -> None:
    """The key passes through memory only."""
    before = _open_descriptors()
    for _ in range(5):
        client_context(_pair(PAIR, CA))
    assert _open_descriptors() == before


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
