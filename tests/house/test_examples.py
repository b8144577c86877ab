"""The example fleets give the plans that stand beside them, and the example programs run."""

from __future__ import annotations

import io
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from rigs.memory_fleet import NamedPlatforms
from rigs.memory_platform import MemoryPlatform
from rigs.memory_state import MemoryJournal, MemoryLeases
from rollover.cli import plan as plan_view
from rollover.cli.printer import Printer
from rollover.codec.fleet_file import read_fleet
from rollover.delivery.command import OperatorCommandDelivery, Verb
from rollover.engine.authorities import Authorities
from rollover.engine.events import Ending
from rollover.engine.fleet_context import FleetContext
from rollover.engine.goals import Request
from rollover.engine.known_certificates import KnownCertificates
from rollover.engine.ports import DeliveredFile
from rollover.engine.service import Rollover
from rollover.errors import Rejected
from rollover.fleet.certificate import KeyKind
from rollover.fleet.description import (
    EndpointDescription,
    FleetDescription,
    GroupDescription,
    InstanceDescription,
)
from rollover.fleet.evidence import ObservedEndpoint
from rollover.fleet.names import AuthorityName
from rollover.fleet.plan import Plan
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import ROUTE, issue_authority, issue_leaf
from rollover.pki.keys import generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.rule_catalogue import whole_catalogue
from rollover.store.credentials import MemoryCredentials
from rollover.store.leases import this_process
from rollover_lab.nats import lab
from rollover_lab.nats import spec as nats_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
AUTHORITY = AuthorityName("nats-ca")

# `python tests/house/test_examples.py` writes them anew; look at the difference.
PLANS = {
    "nats-cluster/plan.txt": Request(authority=AUTHORITY),
    "nats-cluster/plan-cross-sign.txt": Request(authority=AUTHORITY, cross_sign=True),
    "nats-cluster/plan-standby.txt": Request(authority=AUTHORITY, standby=True),
    "plain-clients/plan.txt": Request(authority=AUTHORITY),
    "supercluster/plan.txt": Request(authority=AUTHORITY),
}


class ExampleCA:
    """The one CA of an example fleet: everybody presents a certificate of it, and trusts it."""

    def __init__(self) -> None:
        self._key = generate(KeyKind.P256)
        self._certificate = issue_authority(
            common_name="Example NATS CA 1",
            key=self._key,
            not_before=NOW - YEAR,
            lifetime=10 * YEAR,
        )

    def bring_into(self, site: FleetContext, *, successors: int) -> None:
        """Give the CA, with its key, to the site's store, and make the next ones ahead."""
        pem, key = write_certificates((self._certificate,)), SecretBytes(to_pem(self._key))
        site.authorities.bring_in(AUTHORITY, pem, key, at=NOW)
        for _ in range(successors):
            site.authorities.make_next(AUTHORITY, self._certificate, at=NOW, key_kind=None)

    def state(self, instance: InstanceDescription) -> tuple[ObservedEndpoint, ...]:
        """Return what an instance uses: one certificate for all its endpoints."""
        hosts = [
            endpoint.address.partition(":")[0]
            for endpoint in instance.endpoints
            if endpoint.address
        ]
        leaf = issue_leaf(
            profile=ROUTE,
            common_name=instance.name,
            names=tuple(dict.fromkeys(hosts)) or (instance.name,),
            key=generate(KeyKind.P256),
            authority=self._certificate,
            authority_key=self._key,
            not_before=NOW - timedelta(days=30),
            lifetime=YEAR,
        )
        return tuple(
            ObservedEndpoint(
                endpoint=endpoint.name,
                presents=(leaf,) if endpoint.certificate else (),
                trusts=(self._certificate,) if endpoint.ca else None,
            )
            for endpoint in instance.endpoints
        )

    def platform(self, group: GroupDescription) -> MemoryPlatform:
        """Return a group in memory, all of its instances in this CA's state."""
        states = {instance.name: self.state(instance) for instance in group.instances}
        return MemoryPlatform(group, states, clock=lambda: NOW)


def planned(described: FleetDescription, request: Request) -> Plan:
    """Return the plan for a fleet as described."""
    authority = ExampleCA()
    platforms = {str(group.name): authority.platform(group) for group in described.groups}
    credentials = MemoryCredentials()
    site = FleetContext(
        described,
        platforms=NamedPlatforms(platforms),
        known=KnownCertificates(Authorities(credentials, described), clock=lambda: NOW),
        journal=MemoryJournal(),
        leases=MemoryLeases(),
        clock=lambda: NOW,
        holder=this_process(),
        catalogue=whole_catalogue,
    )
    authority.bring_into(site, successors=2 if request.standby else 1)
    return Rollover(site).plan(request)


def shown(plan: Plan) -> str:
    """Return what `rollover plan` prints of it."""
    out = io.StringIO()
    plan_view.show_plan(Printer(color=False, out=out, talk=out), plan)
    return out.getvalue()


def fleet(path: Path) -> FleetDescription:
    """Return an example's fleet."""
    return read_fleet(path.read_bytes(), place=str(path))


@pytest.mark.parametrize("name", PLANS)
def test_an_example_fleet_gives_the_plan_beside_it(name: str) -> None:
    """The plan of each example is, word for word, what `rollover plan` says of its fleet."""
    path = EXAMPLES / name
    plan = planned(fleet(path.parent / "fleet.yml"), PLANS[name])
    assert shown(plan) == path.read_text()


def test_every_example_fleet_can_be_read() -> None:
    """No example holds a field that the fleet file does not have.

    The groups of a director's fleet are made of what it says, whenever that is looked at.
    """
    found = sorted(EXAMPLES.rglob("fleet.yml"))
    assert found
    for path in found:
        described = fleet(path)
        assert described.groups or described.director is not None, path


def test_the_example_lab_is_the_preset_it_describes() -> None:
    """The lab file that shows every field says what the preset `cluster` says."""
    spec = nats_spec.load_lab_file(EXAMPLES / "nats-cluster/lab.yml")
    assert spec == nats_spec.preset_named("cluster")


def test_the_library_example_rotates_a_real_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program in the README rotates the CA of running servers, and every handshake holds."""
    program = runpy.run_path(str(EXAMPLES / "library/rotate.py"))
    with lab.running(nats_spec.preset_named("single"), tmp_path / "lab") as fleet_in_lab:
        outcome = program["rotate"](str(fleet_in_lab.layout.fleet))
    assert outcome.ending is Ending.DONE
    assert "every handshake is as it should be" in capsys.readouterr().out


def _remote_shell(directory: Path) -> str:
    """Return a stand-in for ssh: it runs the command of `ssh HOST COMMAND` here."""
    shell = directory / "remote-shell"
    shell.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    shell.chmod(0o755)
    return str(shell)


@pytest.fixture
def by_script(tmp_path: Path) -> OperatorCommandDelivery:
    """The example's delivery script, on a machine that is this one."""
    return OperatorCommandDelivery(
        (str(EXAMPLES / "command-delivery/deliver.sh"),),
        state=tmp_path / "state",
        environment={"PATH": "/usr/bin:/bin", "REMOTE_SHELL": _remote_shell(tmp_path)},
        timeout_seconds=20,
        verbs=frozenset(Verb),
    )


def _server_files(directory: Path, word: bytes) -> tuple[DeliveredFile, ...]:
    return (
        DeliveredFile(path=str(directory / "server.crt"), content=b"certificate " + word),
        DeliveredFile(path=str(directory / "server.key"), content=SecretBytes(b"key " + word)),
    )


def _contents(directory: Path) -> set[bytes]:
    return {path.read_bytes() for path in directory.iterdir()}


def test_the_example_script_delivers_and_confirms(
    by_script: OperatorCommandDelivery, tmp_path: Path
) -> None:
    """New files are in place with their modes, they can be read back, and no copy stays."""
    target = tmp_path / "tls"
    target.mkdir()
    by_script.deliver("n1", _server_files(target, b"old"))
    receipt = by_script.deliver("n1", _server_files(target, b"new"))
    by_script.confirm(receipt)
    assert _contents(target) == {b"certificate new", b"key new"}
    assert (target / "server.key").stat().st_mode & 0o777 == 0o600
    crt = str(target / "server.crt")
    assert by_script.read("n1", (crt,)) == {crt: b"certificate new"}


def test_the_example_script_puts_back_what_it_replaced(
    by_script: OperatorCommandDelivery, tmp_path: Path
) -> None:
    """A restore brings the files of before, and may be asked for twice."""
    target = tmp_path / "tls"
    target.mkdir()
    by_script.confirm(by_script.deliver("n1", _server_files(target, b"old")))
    receipt = by_script.deliver("n1", _server_files(target, b"new"))
    by_script.restore(receipt)
    by_script.restore(receipt)
    assert _contents(target) == {b"certificate old", b"key old"}


def test_the_example_script_changes_nothing_when_it_fails(
    by_script: OperatorCommandDelivery, tmp_path: Path
) -> None:
    """One file that cannot be written leaves all as they were, whatever came before unconfirmed."""
    target = tmp_path / "tls"
    target.mkdir()
    by_script.deliver("n1", _server_files(target, b"older"))
    by_script.deliver("n1", _server_files(target, b"old"))
    lost = DeliveredFile(path=str(tmp_path / "missing" / "ca.crt"), content=b"ca")
    with pytest.raises(Rejected):
        by_script.deliver("n1", (*_server_files(target, b"new"), lost))
    assert (target / "server.crt").read_bytes() == b"certificate old"
    assert (target / "server.key").read_bytes() == b"key old"


def test_addresses_are_needed_only_by_those_who_accept() -> None:
    """The examples give an address to every party that is dialled, and to no other."""
    for path in sorted(EXAMPLES.rglob("fleet.yml")):
        for described in msgspec.structs.astuple(fleet(path))[2]:
            for instance in described.instances:
                for endpoint in instance.endpoints:
                    assert bool(endpoint.address) == _accepts(endpoint), f"{path}: {endpoint.name}"


def _accepts(endpoint: EndpointDescription) -> bool:
    return endpoint.role not in {"client", "leaf-remote", "gateway-remote"}


if __name__ == "__main__":
    for beside, asked in PLANS.items():
        described = fleet((EXAMPLES / beside).parent / "fleet.yml")
        (EXAMPLES / beside).write_text(shown(planned(described, asked)))
