"""What a client uses, by its own report and by its files, without a client."""

from __future__ import annotations

import msgspec
import pytest

from rigs.nats_fleet_rig import CLIENT, Authority, client_group, now
from rollover.delivery.client_status import ClientStatus
from rollover.fleet.certificate import Certificate
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import Observation, ObservedEndpoint
from rollover.fleet.fleet import Availability, Role
from rollover.fleet.names import InstanceName
from rollover.platforms.nats.clients import FoundClient, StatusReport, observation
from rollover.platforms.nats.instance_files import HeldFiles

OLD, NEW = Authority("old"), Authority("new")
LEAF, NEXT = OLD.issue("c1").certificate, NEW.issue("c1").certificate
DESCRIBED = client_group("c1", status=True).instances[0]


def files(leaf: Certificate, *bundle: Certificate) -> HeldFiles:
    """Files with a leaf and a bundle."""
    return HeldFiles((ObservedEndpoint(endpoint=CLIENT, presents=(leaf,), trusts=bundle),), {})


def says(leaf: Certificate, *bundle: Certificate, error: str = "") -> StatusReport:
    """A running client's report."""
    return StatusReport(
        ClientStatus(
            pid=1,
            name="c1",
            loaded_at=now(),
            certificate_sha256=leaf.fingerprint,
            ca_sha256=tuple(one.fingerprint for one in bundle),
            connected=True,
            error=error,
        )
    )


def observed(
    disk: HeldFiles,
    report: StatusReport,
    *,
    kept: HeldFiles | None = None,
    known: tuple[Certificate, ...] = (),
    instance: InstanceDescription = DESCRIBED,
    connected: frozenset[str] = frozenset(),
) -> Observation:
    """Return the observation of that client."""
    found = FoundClient(
        disk=disk,
        kept=kept,
        report=report,
        connected_leaves=connected,
        known={one.fingerprint: one for one in known},
    )
    return observation(instance, found, at=now())


def test_a_client_that_reports_what_its_files_hold_uses_them() -> None:
    """Ready, without any doubt."""
    found = observed(files(LEAF, OLD.certificate), says(LEAF, OLD.certificate))
    assert (found.availability, found.may_use) == (Availability.READY, ())
    assert found.endpoints == files(LEAF, OLD.certificate).endpoints


def test_what_it_reports_counts_and_its_files_come_with_a_restart() -> None:
    """Delivered and not yet taken up: the kept copies are in use."""
    new, old = files(NEXT, NEW.certificate), files(LEAF, OLD.certificate)
    found = observed(new, says(LEAF, OLD.certificate), kept=old)
    assert found.endpoints == old.endpoints
    assert found.may_use == (new.endpoints,)


@pytest.mark.parametrize("is_known", [True, False])
def test_certificates_that_stand_in_no_file_are_looked_up(*, is_known: bool) -> None:
    """Known ones are named; unknown ones make the client unreachable for plans."""
    known = (LEAF, OLD.certificate) if is_known else ()
    found = observed(files(NEXT, NEW.certificate), says(LEAF, OLD.certificate), known=known)
    assert found.endpoints[0].presents == ((LEAF,) if is_known else ())
    expected = Availability.READY if is_known else Availability.UNREACHABLE
    assert found.availability is expected


def test_a_client_that_refuses_its_files_is_refusing_with_its_words() -> None:
    """The reason is the client's own."""
    report = says(LEAF, OLD.certificate, error="the key does not fit")
    found = observed(files(LEAF, OLD.certificate), report)
    assert (found.availability, found.why) == (Availability.REFUSING, "the key does not fit")


def test_a_client_that_does_not_run_has_the_state_of_its_files() -> None:
    """It can be changed, and starts with what it is given."""
    found = observed(files(LEAF, OLD.certificate), StatusReport(None))
    assert found.availability is Availability.READY
    assert "not running" in found.why


def test_a_client_without_files_is_unknown_with_the_remedy() -> None:
    """Discovered by its connection: somebody must say where its files are."""
    bare = InstanceDescription(
        name=InstanceName("c1"),
        endpoints=(EndpointDescription(name=CLIENT, role=Role.CLIENT),),
    )
    found = observed(HeldFiles((), {}), StatusReport(None), instance=bare)
    assert (found.availability, found.endpoints) == (Availability.UNREACHABLE, ())
    assert "fill in" in found.why


def test_an_ignored_client_keeps_its_state() -> None:
    """Left behind by an operator's decision, and still observed."""
    ignored = msgspec.structs.replace(DESCRIBED, ignored="a laptop")
    found = observed(files(LEAF, OLD.certificate), says(LEAF, OLD.certificate), instance=ignored)
    assert (found.availability, found.why) == (Availability.IGNORED, "ignored: a laptop")
    assert found.endpoints == files(LEAF, OLD.certificate).endpoints


def test_a_silent_client_may_still_present_what_it_is_connected_with() -> None:
    """Without a status file its files and its live connection may differ."""
    silent = client_group("c1").instances[0]
    found = observed(
        files(NEXT, OLD.certificate),
        StatusReport(None),
        instance=silent,
        known=(LEAF,),
        connected=frozenset({LEAF.fingerprint}),
    )
    assert [state[0].presents for state in found.may_use] == [(LEAF,)]
