"""The director VM of a lab, given a new CA by its own `create-env`, taken back, and cleaned up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from rigs import bosh_lab
from rigs.bosh_director_files import Generation, Made, again, both_trusted, new_only
from rigs.bosh_lab import BoshLab
from rollover.codec.fleet_file import read_fleet
from rollover.engine.ports import Moment, Pacing
from rollover.fleet.certificate import KeyKind
from rollover.fleet.evidence import Applied, EndpointMaterial, Identity, Order, Signer
from rollover.fleet.fleet import Availability
from rollover.fleet.names import EndpointName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLIENT, issue_authority, issue_leaf
from rollover.pki.keys import from_pem, generate, to_pem
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.director_fleet import DIRECTOR_VM, expand_fleet
from rollover.platforms.bosh.director_vm import DirectorVm
from rollover.platforms.bosh.director_vm_observer import DirectorVmObserver
from rollover.platforms.bosh.login import nats_address
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.provenance import ProvenanceFile
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.probe.monitoring import Monitor

SKEW = timedelta(minutes=5)
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoshLab]:
    """A lab with 2 agents."""
    directory = tmp_path_factory.mktemp("director-vm") / "lab"
    with bosh_lab.bosh_lab(directory, bosh_lab.in_a_hurry(agents=2)) as found:
        yield found


class Rotation:
    """A lab's director VM as a platform, and certificates for it."""

    def __init__(self, lab: BoshLab) -> None:
        self.lab = lab
        self.root = lab.layout.root
        described = expand_fleet(
            read_fleet(lab.layout.fleet.read_bytes(), place="fleet"), lab.director
        )
        assert described.director is not None
        self.identities: list[Identity] = []
        observer = DirectorVmObserver(
            CreateEnvironment.from_file(lab.layout.create_env, environment=os.environ),
            RotationFiles(self.root / ".rollover/bosh"),
            director=lab.director,
            nats_address=nats_address(described.director),
            monitor=Monitor(described.director.monitor or "", timeout_seconds=15.0),
            identities=lambda: tuple(self.identities),
            clock=lambda: datetime.now(UTC),
        )
        self.vm = DirectorVm(
            msgspec.structs.replace(described.groups[0], confirm_seconds=60.0),
            observer,
            ledger=ProvenanceFile(self.root / ".rollover/agents.json"),
            known=tuple,
            create_env_seconds=described.director.create_env_minutes * 60,
        )
        tls = self.vm.properties().tls
        key = self.vm.signer_key(tls.signer.fingerprint)
        assert key is not None
        self.old = Generation(
            {
                part: Made(pair.chain[0], from_pem(pair.key.reveal()))
                for part, pair in tls.pairs.items()
            }
        )
        ca_key = generate(KeyKind.RSA_2048)
        ca = issue_authority(
            common_name="default.nats-ca.bosh-internal 2",
            organization="Cloud Foundry",
            key=ca_key,
            not_before=datetime.now(UTC) - SKEW,
            lifetime=YEAR,
        )
        made = Generation({NatsPart.CLIENT_CA: Made(ca, ca_key)})
        self.new = Generation(
            {
                **made.of,
                **{
                    part: again(self.old, part, under=made)
                    for part in NatsPart
                    if part is not NatsPart.CLIENT_CA
                },
            }
        )
        self.identities += [self._identity("old", self.old), self._identity("new", self.new)]

    def _identity(self, label: str, of: Generation) -> Identity:
        key, signer = generate(KeyKind.P256), of.of[NatsPart.CLIENT_CA]
        leaf = issue_leaf(
            profile=CLIENT,
            common_name="rollover-probe",
            names=(),
            key=key,
            authority=signer.certificate,
            authority_key=signer.key,
            not_before=datetime.now(UTC) - SKEW,
            lifetime=timedelta(days=1),
        )
        return Identity(
            label=label,
            issuer=of.ca.fingerprint,
            chain=(leaf,),
            key=SecretBytes(to_pem(key)),
        )

    def apply(self, order: Order) -> Applied:
        """Roll an order out, which has to succeed."""
        [result] = self.vm.roll_out([order], pacing=Pacing(), stopping=lambda: False)
        assert isinstance(result, Applied), result
        assert result.evidence
        assert all(evidence.holds for evidence in result.evidence)
        return result

    def lets_in(self, *labels: str) -> None:
        """NATS accepts exactly these identities."""
        accepted = [identity for identity in self.identities if identity.label in labels]
        refused = [identity for identity in self.identities if identity.label not in labels]
        seen = list(self.vm.handshakes([DIRECTOR_VM], accepted=accepted, refused=refused))
        assert len(seen) == 2 + len(self.identities)
        assert all(evidence.holds for evidence in seen), seen

    def signers_left(self) -> set[str]:
        """The retired CA as holdouts name it; empty: nobody is left, `?`: nobody knows."""
        held = self.vm.holdouts([DIRECTOR_VM], retired=[self.old.ca])
        return {holdout.issuer_name or "?" for holdout in held}

    def connected(self) -> bool:
        """Whether both agents are back."""
        return self.lab.all_answer()

    def observed(self) -> dict[str, tuple[str, int]]:
        """What each party presents, and how many CAs it trusts."""
        [found] = self.vm.observe([DIRECTOR_VM])
        assert found.availability is Availability.READY, found.why
        assert found.may_use == ()
        return {
            endpoint.endpoint: (endpoint.presents[0].fingerprint, len(endpoint.trusts or ()))
            for endpoint in found.endpoints
        }

    def named(
        self, server: Generation, rest: Generation, trusted: int
    ) -> dict[str, tuple[str, int]]:
        """What `observed` should say."""
        of = {
            "nats": server.of[NatsPart.SERVER],
            "director": rest.of[NatsPart.DIRECTOR],
            "health-monitor": rest.of[NatsPart.HEALTH_MONITOR],
            "agents": rest.of[NatsPart.CLIENT_CA],
        }
        return {name: (made.certificate.fingerprint, trusted) for name, made in of.items()}


def back(rotation: Rotation) -> Order:
    """What was there before, ordered once more."""
    old, bundle = rotation.old, (rotation.old.ca,)
    clients = (("director", NatsPart.DIRECTOR), ("health-monitor", NatsPart.HEALTH_MONITOR))
    signer = old.of[NatsPart.CLIENT_CA]
    return Order(
        instance=DIRECTOR_VM,
        endpoints=(
            EndpointMaterial(endpoint=EndpointName("nats"), bundle=bundle),
            *(
                EndpointMaterial(
                    endpoint=EndpointName(name),
                    chain=(old.of[part].certificate,),
                    key=old.of[part].secret,
                    bundle=bundle,
                )
                for name, part in clients
            ),
            EndpointMaterial(
                endpoint=EndpointName("agents"),
                signer=Signer(certificate=signer.certificate, key=signer.secret),
                bundle=bundle,
            ),
        ),
    )


def test_a_director_vm_goes_there_and_back_and_to_the_end(lab: BoshLab) -> None:
    """By `create-env` alone, seen on NATS each time; in the end the plain line deploys the same."""
    rotation = Rotation(lab)
    vm, old, new = rotation.vm, rotation.old, rotation.new
    assert [*vm.findings(Moment.BEFORE)] == []
    assert rotation.observed() == rotation.named(old, old, 1)
    plain_store = lab.layout.credentials.read_bytes()

    rotation.apply(both_trusted(old, new))
    assert rotation.observed() == rotation.named(old, new, 2)
    rotation.lets_in("old", "new")
    assert vm.issued_credentials().signer == new.ca
    assert vm.issued_credentials().since is not None
    bosh_lab.eventually(rotation.connected)
    assert rotation.signers_left() <= {old.ca.subject, "?"}
    assert rotation.signers_left()
    assert [*vm.findings(Moment.BETWEEN)] == []

    deployed = vm.environment.state()
    started = rotation.apply(both_trusted(old, new))
    assert started.reload_seconds == 0.0
    assert vm.environment.state() == deployed
    assert len(vm.workplace.ops_files()) == 1

    rotation.apply(back(rotation))
    assert rotation.observed() == rotation.named(old, old, 1)
    rotation.lets_in("old")
    assert [*vm.clean_up()]
    assert lab.layout.credentials.read_bytes() == plain_store

    rotation.apply(both_trusted(old, new))
    bosh_lab.eventually(rotation.connected)
    lab.deploy()
    rotation.apply(new_only(new))
    assert rotation.observed() == rotation.named(new, new, 1)
    rotation.lets_in("new")
    bosh_lab.eventually(rotation.connected)
    assert rotation.signers_left() == set()

    told = [*vm.clean_up()]
    assert all(evidence.holds for evidence in told)
    assert [*vm.clean_up()] == []
    assert [*vm.findings(Moment.AFTER)] == []
    assert rotation.observed() == rotation.named(new, new, 1)
    assert "Skipping deploy" in lab.create_env()
