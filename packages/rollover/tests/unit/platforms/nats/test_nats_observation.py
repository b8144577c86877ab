"""From files and handshakes to what a server uses, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from rigs.nats_fleet_rig import CLIENT_PORT, Authority, endpoint, now
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Observation, ObservedEndpoint
from rollover.fleet.fleet import Availability, Role
from rollover.fleet.names import EndpointName, InstanceName
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.instance_files import (
    SYSTEM_STORE,
    FileContents,
    HeldFiles,
    held,
    resolved,
)
from rollover.platforms.nats.ports import bundle_from_names, names
from rollover.platforms.nats.servers import FoundServer, observation
from rollover.probe.handshake import ClientVerdict, Failure, Handshake, rfc4514
from rollover.probe.target import Port

OLD, NEW, TWIN = Authority("old"), Authority("new"), Authority("old")
LEAF, NEXT = OLD.issue("n1").certificate, NEW.issue("n1").certificate
REMOTE = EndpointName("leaf-remote")


def shows(
    *bundle: Certificate, leaf: Certificate = LEAF, verdict: ClientVerdict = ClientVerdict.ACCEPTED
) -> Handshake:
    """A handshake with a port that presents a leaf and advertises a bundle."""
    advertised = names(bundle)
    return Handshake(
        address="127.0.0.1:4222",
        kind=Port.CLIENT,
        reached=True,
        presented=(leaf,),
        advertised=tuple(rfc4514(data) for data in advertised),
        advertised_der=advertised,
        client_verdict=verdict,
    )


def holds(*bundle: Certificate, leaf: Certificate = LEAF) -> HeldFiles:
    """Files with a leaf and a bundle, also for an endpoint that only dials."""
    return HeldFiles(
        tuple(
            ObservedEndpoint(endpoint=endpoint_name, presents=(leaf,), trusts=bundle)
            for endpoint_name in (CLIENT_PORT, REMOTE)
        ),
        {},
    )


def described(*more: EndpointDescription) -> InstanceDescription:
    """A server with a client port and a leaf node remote."""
    return InstanceDescription(
        name=InstanceName("n1"),
        endpoints=(
            endpoint(CLIENT_PORT, Role.CLIENT_PORT, address="127.0.0.1:4222"),
            endpoint(REMOTE, Role.LEAF_REMOTE),
            *more,
        ),
    )


def observed(
    disk: HeldFiles,
    shown: Handshake,
    *,
    kept: HeldFiles | None = None,
    known: Sequence[Certificate] = (),
    unwritable: str = "",
) -> Observation:
    """Return the observation of that server."""
    found = FoundServer(
        disk=disk, kept=kept, ports={CLIENT_PORT: shown}, known=known, unwritable=unwritable
    )
    return observation(described(), found, at=now())


def trusts(seen: Iterable[ObservedEndpoint]) -> list[tuple[Certificate, ...] | None]:
    """Return the bundle of each endpoint."""
    return [observed_endpoint.trusts for observed_endpoint in seen]


def test_files_that_the_port_shows_are_in_use_everywhere() -> None:
    """An endpoint that only dials took the same reload as the port that was dialled."""
    found = observed(holds(OLD.certificate), shows(OLD.certificate))
    assert trusts(found.endpoints) == [(OLD.certificate,)] * 2
    assert found.may_use == ()
    assert found.availability is Availability.READY


def test_kept_copies_that_the_port_shows_are_in_use_everywhere() -> None:
    """An unconfirmed delivery that was not loaded: also the dialling endpoint has the old files."""
    both = (OLD.certificate, NEW.certificate)
    found = observed(holds(*both), shows(OLD.certificate), kept=holds(OLD.certificate))
    assert trusts(found.endpoints) == [(OLD.certificate,)] * 2
    assert [trusts(state) for state in found.may_use] == [[both, both]]


def test_a_loaded_delivery_leaves_no_doubt_about_its_kept_copies() -> None:
    """The port shows the new files: the kept ones are history."""
    both = (OLD.certificate, NEW.certificate)
    found = observed(holds(*both), shows(*both), kept=holds(OLD.certificate))
    assert trusts(found.endpoints) == [both, both]
    assert found.may_use == ()


def test_two_cas_of_one_name_leave_both_states_possible() -> None:
    """Names are no keys: files with the other CA of that name may be in use as well."""
    found = observed(holds(TWIN.certificate), shows(OLD.certificate), kept=holds(OLD.certificate))
    assert trusts(found.endpoints) == [(TWIN.certificate,)] * 2
    assert [trusts(state) for state in found.may_use] == [[(OLD.certificate,)] * 2]


def test_a_bundle_in_no_file_is_recognised_by_known_cas() -> None:
    """The order of the names is that of the bundle."""
    found = observed(
        holds(NEW.certificate),
        shows(NEW.certificate, OLD.certificate),
        known=(OLD.certificate, NEW.certificate),
    )
    assert found.endpoints[0].trusts == (NEW.certificate, OLD.certificate)
    assert found.availability is Availability.READY


def test_an_unknown_bundle_makes_the_instance_unreachable_for_plans() -> None:
    """What can be recognised is told, and the rest is named."""
    found = observed(holds(NEW.certificate), shows(NEW.certificate, OLD.certificate))
    assert found.availability is Availability.UNREACHABLE
    assert "CN=old" in found.why
    assert found.endpoints[0].trusts == (NEW.certificate,)


def test_a_port_that_should_ask_and_does_not_is_told() -> None:
    """`verify` is described, the server lets everybody in."""
    found = observed(
        holds(OLD.certificate), shows(OLD.certificate, verdict=ClientVerdict.NOT_REQUESTED)
    )
    assert found.availability is Availability.READY  # it advertises, so it asked
    silent = observed(holds(OLD.certificate), shows(verdict=ClientVerdict.NOT_REQUESTED))
    assert silent.availability is Availability.UNREACHABLE
    assert "asks for no certificate" in silent.why


def test_a_silent_port_leaves_the_state_of_the_files() -> None:
    """They are what the server starts with."""
    silent = Handshake(
        address="127.0.0.1:4222",
        kind=Port.CLIENT,
        reached=False,
        failure=Failure.REFUSED,
        detail="connection refused",
    )
    found = observed(holds(OLD.certificate), silent)
    assert found.availability is Availability.UNREACHABLE
    assert found.why == "127.0.0.1:4222: connection refused"
    assert trusts(found.endpoints) == [(OLD.certificate,)] * 2


def test_files_that_cannot_be_replaced_are_told_in_advance() -> None:
    """The server is refusing before anybody orders anything."""
    found = observed(holds(OLD.certificate), shows(OLD.certificate), unwritable="read-only")
    assert (found.availability, found.why) == (Availability.REFUSING, "read-only")


def test_go_and_openssl_parties_load_what_they_would_load(tmp_path: Path) -> None:
    """A byte order mark hides the first certificate from Go, and from Go alone."""
    pem = b"\xef\xbb\xbf" + write_certificates((OLD.certificate, NEW.certificate))
    instance = resolved(described(), base=tmp_path)
    path, certificate = instance.endpoints[0].ca, instance.endpoints[0].certificate
    assert path is not None
    assert certificate is not None
    disk = held(instance, FileContents({path: pem, certificate: write_certificates((LEAF,))}, {}))
    assert trusts(disk.endpoints) == [(NEW.certificate,)] * 2


def test_damaged_files_are_troubles_of_their_endpoints() -> None:
    """They say nothing about the state, and why stands with the endpoint."""
    instance = resolved(described(), base=Path("/fleet"))
    disk = held(instance, FileContents({}, {"/fleet/ca.crt": "it is gone"}))
    assert disk.endpoints == ()
    assert set(disk.troubles) == {CLIENT_PORT, REMOTE}


def test_a_verifying_party_without_a_file_trusts_the_system() -> None:
    """One that verifies nobody and names no file trusts nobody."""
    plain = EndpointDescription(
        name=EndpointName("monitoring"), role=Role.MONITORING, address="127.0.0.1:1"
    )
    demanding = EndpointDescription(
        name=ROUTE_NAME, role=Role.ROUTE, address="127.0.0.1:2", verify=True
    )
    instance = InstanceDescription(name=InstanceName("n1"), endpoints=(plain, demanding))
    assert trusts(held(instance, FileContents({}, {})).endpoints) == [None, (SYSTEM_STORE,)]


ROUTE_NAME = EndpointName("route")


@pytest.mark.parametrize(
    ("advertised", "candidates", "found"),
    [
        ((OLD, NEW), (NEW, OLD), (OLD, NEW)),
        ((OLD,), (NEW, OLD, OLD), (OLD,)),
        ((OLD, TWIN), (OLD, TWIN), (OLD, TWIN)),
        ((OLD,), (OLD, TWIN), None),
        ((OLD, NEW), (OLD,), None),
        ((), (OLD,), ()),
    ],
)
def test_bundles_are_recognised_only_without_doubt(
    advertised: Sequence[Authority],
    candidates: Sequence[Authority],
    found: Sequence[Authority] | None,
) -> None:
    """Each name counts as often as it is advertised."""
    result = bundle_from_names(
        names([authority.certificate for authority in advertised]),
        [candidate.certificate for candidate in candidates],
    )
    assert result == (
        None if found is None else tuple(authority.certificate for authority in found)
    )
