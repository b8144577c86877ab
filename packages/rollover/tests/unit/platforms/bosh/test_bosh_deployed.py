"""Which manifest a director VM was deployed from, by its record and by what is seen of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from rigs import bosh_director_files as files
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Identity
from rollover.fleet.names import Fingerprint
from rollover.pki.certificate import anatomy
from rollover.platforms.bosh.create_env import CreateEnvState, ManifestCandidate
from rollover.platforms.bosh.director_records import CertificateExpiry
from rollover.platforms.bosh.director_vm_observer import (
    Conclusion,
    DirectorEvidence,
    conclude_deployed,
    distinct_states,
)
from rollover.platforms.bosh.nats_port import NatsDial, ObservedNats
from rollover.platforms.bosh.nats_properties import (
    ChainAndKey,
    DirectorProperties,
    NatsPart,
    NatsTls,
)
from rollover.probe.handshake import ClientVerdict, Failure, Handshake
from rollover.probe.target import Port

NOW = datetime.now(UTC)
OLD, NEW = files.generation(), files.generation(2)


def candidate(
    sha: str, bundle: tuple[Certificate, ...], *, server: files.Generation, name: str = ""
) -> ManifestCandidate:
    """A manifest: the server's certificate of one generation, all else of the new one."""
    of = {part: (server if part is NatsPart.SERVER else NEW).of[part] for part in NatsPart}
    if bundle == (OLD.ca,):
        of = {part: OLD.of[part] for part in NatsPart}
    tls = NatsTls(
        bundle=bundle,
        bundle_text="",
        pairs={
            part: ChainAndKey(chain=(made.certificate,), key=made.secret)
            for part, made in of.items()
        },
    )
    found = DirectorProperties(group="bosh", tls=tls, nats="", director="")
    return ManifestCandidate(Path(name) if name else None, sha, found, "")


PLAIN = candidate("plain", (OLD.ca,), server=OLD)
FIRST = candidate("first", (OLD.ca, NEW.ca), server=OLD, name="add-new-ca.yml")
SECOND = candidate("second", (NEW.ca,), server=NEW, name="remove-old-ca.yml")
ALL = (PLAIN, FIRST, SECOND)


def handshake(
    server: files.Generation,
    bundle: tuple[Certificate, ...],
    verdict: ClientVerdict = ClientVerdict.NOT_REQUESTED,
) -> Handshake:
    """What NATS showed."""
    return Handshake(
        address="127.0.0.1:4222",
        kind=Port.CLIENT,
        reached=True,
        presented=(server.of[NatsPart.SERVER].certificate,),
        advertised_der=tuple(anatomy(certificate).raw_subject for certificate in bundle),
        client_verdict=verdict,
    )


SILENT = Handshake(
    address="127.0.0.1:4222", kind=Port.CLIENT, reached=False, failure=Failure.REFUSED, detail="no"
)


def concluded(
    sha: str,
    *shown: Handshake,
    candidates: tuple[ManifestCandidate, ...] = ALL,
    expiries: tuple[CertificateExpiry, ...] = (),
    clients: tuple[tuple[str, Fingerprint], ...] = (),
) -> Conclusion:
    """What follows from a record and from what was seen."""
    seen = DirectorEvidence(
        ObservedNats(tuple(NatsDial(None, item) for item in shown), clients), expiries, NOW
    )
    return conclude_deployed(candidates, CreateEnvState(current_manifest_sha=sha), seen)


def test_a_record_that_nothing_contradicts_counts() -> None:
    """And leaves no other possibility."""
    found = concluded("first", handshake(OLD, (OLD.ca, NEW.ca)))
    assert found.possible == (FIRST,)
    assert found.certain
    assert not found.disagreement


def test_without_a_record_what_is_seen_decides() -> None:
    """A `create-env` that died half-way has cleared it."""
    for sha in ("", "somebody else's"):
        found = concluded(sha, handshake(NEW, (NEW.ca,)))
        assert found.possible == (SECOND,)
        assert found.recorded is None
        assert found.certain


def test_what_is_seen_counts_more_than_the_record() -> None:
    """But the record stays possible, and the disagreement is told."""
    found = concluded("plain", handshake(NEW, (NEW.ca,)))
    assert found.possible == (SECOND, PLAIN)
    assert not found.certain
    assert "without an ops file" in found.disagreement
    assert "NATS presents" in found.disagreement


def test_a_bundle_is_told_by_its_names() -> None:
    """The same server certificate, and one CA more."""
    found = concluded("plain", handshake(OLD, (OLD.ca, NEW.ca)))
    assert found.possible[0] == FIRST
    assert "NATS names" in found.disagreement


def test_whom_nats_lets_in_decides_where_names_do_not() -> None:
    """An identity of a CA that the manifest does not trust was accepted."""
    identity = Identity(
        label="new@1",
        issuer=NEW.ca.fingerprint,
        chain=(NEW.of[NatsPart.DIRECTOR].certificate,),
        key=NEW.of[NatsPart.DIRECTOR].secret,
    )
    shown = handshake(OLD, (OLD.ca,), ClientVerdict.ACCEPTED)
    seen = DirectorEvidence(ObservedNats((NatsDial(identity, shown),)), (), NOW)
    found = conclude_deployed((PLAIN,), CreateEnvState(current_manifest_sha="plain"), seen)
    assert "lets in new@1" in found.disagreement
    assert not found.certain


def test_nothing_that_fits_is_a_doubt() -> None:
    """What is known is still told, for people."""
    other = files.generation(3)
    found = concluded("first", handshake(other, (other.ca,)))
    assert found.doubt
    assert found.possible == (FIRST,)
    assert not found.certain


def test_a_director_that_is_silent_is_what_the_record_says() -> None:
    """Which is told with why nothing was seen."""
    found = concluded("first", SILENT)
    assert found.possible == (FIRST,)
    assert "127.0.0.1:4222: no" in found.silent
    assert not found.certain


def test_silence_without_a_record_leaves_everything_possible() -> None:
    """The latest first."""
    found = concluded("", SILENT)
    assert found.possible == (SECOND, FIRST, PLAIN)
    assert len(distinct_states(found.possible)) == 3


def test_the_directors_own_dates_can_contradict() -> None:
    """It tells when the CA ends that it signs with, without NATS being asked."""
    ends = CertificateExpiry(
        path="nats.tls.client_ca.certificate",
        expires_at=NEW.ca.not_after + timedelta(days=400),
        days_left=1,
    )
    found = concluded("first", handshake(OLD, (OLD.ca, NEW.ca)), expiries=(ends,))
    assert "`nats.tls.client_ca.certificate` ends" in found.disagreement
    exact = CertificateExpiry(
        path="nats.tls.client_ca.certificate", expires_at=NEW.ca.not_after, days_left=1
    )
    assert concluded("first", handshake(OLD, (OLD.ca, NEW.ca)), expiries=(exact,)).certain


def test_the_jobs_own_connections_can_contradict() -> None:
    """NATS lists the certificate that the director shows, and it is another."""
    old, new = (pair.of[NatsPart.DIRECTOR].certificate for pair in (OLD, NEW))
    subject = "CN=default.director.bosh-internal,O=Cloud Foundry"
    shown = handshake(OLD, (OLD.ca, NEW.ca))
    wrong = concluded("first", shown, clients=((subject, old.fingerprint),))
    assert "`director` is connected with" in wrong.disagreement
    both = ((subject, old.fingerprint), (subject, new.fingerprint))
    assert concluded("first", shown, clients=both).certain


def test_a_manifest_that_cannot_be_interpolated_is_told() -> None:
    """With what is missing in it."""
    broken = ManifestCandidate(None, "", None, "Expected to find variables: nats_ca")
    found = concluded("plain", handshake(OLD, (OLD.ca,)), candidates=(broken,))
    assert found.possible == ()
    assert "nats_ca" in found.doubt


def test_two_manifests_with_one_state_are_one_possibility() -> None:
    """An ops file that changes nothing any more."""
    again = PLAIN._replace(ops_file=Path("x.yml"), sha="again")
    found = concluded("", handshake(OLD, (OLD.ca,)), candidates=(PLAIN, again))
    assert len(found.possible) == 2
    assert found.certain
