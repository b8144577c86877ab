"""One rollout over agents: by deploys of the director, or, where Rollover can, by itself.

Rollover gives an agent new credentials over NATS, as the director does, but without its 45 second
wait: the director's poll for the result is lost while the agent restarts, and it waits 45 s for
it; here the poll waits 2 s. Jobs go on running: the agent restarts, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event
from time import monotonic

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bosh_interpolate.reading import load
from rollover.codec.manifests import manifest_errors
from rollover.engine.ports import Pacing
from rollover.engine.rollout import in_window
from rollover.errors import AdapterError, Rejected, RolloverError, SpecError, TimedOut
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.description import DirectorDescription
from rollover.fleet.evidence import Applied, Failed, Order, Result
from rollover.fleet.names import InstanceName, short
from rollover.fleet.secret import SecretBytes
from rollover.pki.keys import KeyForm, from_pem, generate, to_pem
from rollover.pki.pem import read_certificates, write_certificates
from rollover.platforms.bosh import cost
from rollover.platforms.bosh.agent_observer import AgentObserver, all_instances
from rollover.platforms.bosh.agent_pinger import AgentAnswer, SpeaksToAgents
from rollover.platforms.bosh.agent_proof import AgentPatience, AgentProver
from rollover.platforms.bosh.cost import WORKERS
from rollover.platforms.bosh.deploy_rollout import DeploymentOrders, DeployRollout, in_parallel
from rollover.platforms.bosh.director_records import BoshInstance
from rollover.platforms.bosh.placeholder_certificates import SUFFIX, SignerKey, agent_certificate
from rollover.platforms.bosh.provenance import IssuedCredentials, ProvenanceFile
from rollover.platforms.bosh.rules.agents import RECREATE_NEEDED, UNCHANGED

RPC_SECONDS = 10.0
"""For the first answer of an agent."""
POLL_SECONDS = 1.0
"""Between two polls, as the director has it."""
_UNKNOWN_METHOD = "unknown message"
"""What an agent answers that is older than `update_settings`."""


class NewAgentCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent is to have: PEM, each block ended by a newline."""

    certificate: Certificate
    chain: bytes
    key: SecretBytes
    bundle: bytes


class NamedDisk(msgspec.Struct, frozen=True):
    """A disk that jobs know by a name of its own (`persistent_disks` of a manifest)."""

    name: str
    cid: str


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `update_settings` overwrites whether it is sent or not: so it is sent as it is."""

    trusted_certs: str
    disks: tuple[NamedDisk, ...] = ()


class _Running(msgspec.Struct, frozen=True):
    agent_task_id: str
    state: str


def issue_credentials(
    agent: str, issued: IssuedCredentials, *, signer_key: SecretBytes, at: datetime
) -> NewAgentCredentials:
    """Return new credentials for an agent, checked."""
    key = generate(KeyKind.RSA_3072)
    signing_key = from_pem(signer_key.reveal(), place=f"the key of `{issued.signer.subject}`")
    certificate = agent_certificate(
        agent + SUFFIX, key=key, signer=issued.signer, signer_key=signing_key, not_before=at
    )
    made = NewAgentCredentials(
        certificate=certificate,
        chain=write_certificates((certificate,)),
        key=SecretBytes(to_pem(key, KeyForm.PKCS1)),
        bundle=write_certificates(issued.bundle),
    )
    check_credentials(made, issued)
    return made


def check_credentials(made: NewAgentCredentials, issued: IssuedCredentials) -> None:
    """Raise `SpecError` for credentials that would put an agent into an endless crash loop.

    An agent checks nothing before it stores what it is given, and nobody could reach it afterwards.
    """
    key = from_pem(made.key.reveal(), place="the agent's new key")
    leaf = x509.load_pem_x509_certificate(made.chain)
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bundle = read_certificates(made.bundle, place="the agent's new CA bundle").certificates
    wrong = ""
    if key.spki != spki:
        wrong = "the key is not that of the certificate"
    elif not _is_signed_by(leaf, issued.signer):
        wrong = "the certificate is not signed by the CA that the director signs with"
    elif bundle != issued.bundle:
        wrong = "the bundle is not what the director hands out"
    # H9: two PEM blocks on one line are none.
    elif not all(data.endswith(b"\n") for data in (made.chain, made.key.reveal(), made.bundle)):
        wrong = "a PEM block does not end with a newline"
    if wrong:
        raise SpecError(
            f"an agent's new credentials must not be sent: {wrong}",
            hint="report this as a bug; nothing was changed",
        )


def _is_signed_by(leaf: x509.Certificate, signer: Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(signer.der))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def settings_message(made: NewAgentCredentials, settings: AgentSettings) -> dict[str, object]:
    """Return the argument of `update_settings`; it holds the key: never log it."""
    return {
        "trusted_certs": settings.trusted_certs,
        "disk_associations": [{"name": disk.name, "cid": disk.cid} for disk in settings.disks],
        "mbus": {
            "cert": {
                "ca": made.bundle.decode(),
                "certificate": made.chain.decode(),
                "private_key": made.key.reveal().decode(),
            },
            "urls": [],
        },
    }


def settings_of(instance: BoshInstance, manifest: str, trusted_certs: str | None) -> AgentSettings:
    """Return what an agent has besides its credentials, and must keep.

    `SpecError` says what is not known: then only the director can update this one. A director
    tells an agent the names of disks that a manifest lists under `persistent_disks`, of no others.
    """
    if trusted_certs is None:
        raise SpecError(
            "the director's `trusted_certs` are not known",
            hint="describe `create_env`, the file with the command line",
        )
    names = _disk_names(instance.group, manifest)
    if not names:
        return AgentSettings(trusted_certs=trusted_certs)
    if len(names) != len(instance.disk_cids) or len(names) > 1:
        raise SpecError(
            f"which of its {len(instance.disk_cids)} disks is which of {', '.join(names)} is not "
            "known",
            hint="the director knows it, and updates this instance",
        )
    return AgentSettings(
        trusted_certs=trusted_certs, disks=(NamedDisk(names[0], instance.disk_cids[0]),)
    )


def _disk_names(group: str, manifest: str) -> list[str]:
    with manifest_errors():
        tree = load(manifest.encode())
    groups = tree.get("instance_groups", []) if isinstance(tree, dict) else []
    for record in groups if isinstance(groups, list) else []:
        if isinstance(record, dict) and record.get("name") == group:
            disks = record.get("persistent_disks") or []
            listed = disks if isinstance(disks, list) else []
            return [str(disk.get("name")) for disk in listed if isinstance(disk, dict)]
    raise SpecError(
        f"group `{group}` is not in the manifest of its deployment",
        hint="the director knows its disks, and updates this instance",
    )


class DirectUpdate:
    """Brings one agent its order. Several threads may share one."""

    def __init__(
        self,
        *,
        mbus: SpeaksToAgents,
        prover: AgentProver,
        ledger: ProvenanceFile,
        issued: IssuedCredentials,
        signer_key: SignerKey,
        clock: Callable[[], datetime],
        patience: AgentPatience,
    ) -> None:
        self._mbus = mbus
        self._prover = prover
        self._ledger = ledger
        self._issued_credentials = issued
        self._signer_key = signer_key
        self._clock = clock
        self._patience = patience

    def give(self, order: Order, instance: BoshInstance, settings: AgentSettings) -> Result:
        """Give an agent new credentials and wait until it shows them."""
        begun = monotonic()
        try:
            return self._give(order, instance, settings, begun)
        except RolloverError as error:
            return _failed_update(
                order, begun, code=error.code, message=str(error), hint=error.hint
            )

    def _give(
        self, order: Order, instance: BoshInstance, settings: AgentSettings, begun: float
    ) -> Result:
        agent = instance.agent_id or ""
        # An earlier run may have given it the same and been killed before it could say so.
        done = self._prover.check({order.instance: order}, (instance,)).proven
        if order.instance in done:
            return Applied(
                instance=order.instance,
                seconds=monotonic() - begun,
                evidence=done[order.instance],
            )
        made = self._issued(agent)
        sent = monotonic()
        end = sent + self._patience.update
        # Once: whether an agent that does not answer has acted is unknown, and so it is proven.
        answer = self._mbus.call(
            agent,
            "update_settings",
            (settings_message(made, settings),),
            timeout_seconds=RPC_SECONDS,
        )
        self._finished(agent, answer, end)
        updated = monotonic() - sent
        for checked in self._prover.awaited(
            {order.instance: order}, lambda: (instance,), seconds=self._patience.prove
        ):
            if order.instance in checked.proven:
                return Applied(
                    instance=order.instance,
                    seconds=monotonic() - begun,
                    evidence=checked.proven[order.instance],
                    reload_seconds=updated,
                )
            why = checked.pending.get(order.instance, "")
        return _failed_update(
            order,
            begun,
            code=UNCHANGED.id,
            message=f"the agent says `ok` to {short(made.certificate.fingerprint)}, but {why}",
            hint=UNCHANGED.remedy,
        )

    def _issued(self, agent: str) -> NewAgentCredentials:
        signer_key = self._signer_key(self._issued_credentials.signer.fingerprint)
        if signer_key is None:
            raise SpecError(
                f"the key of `{self._issued_credentials.signer.subject}` is not at hand",
                hint="take `in_place: direct` out of the fleet file: the director has the key",
            )
        made = issue_credentials(
            agent, self._issued_credentials, signer_key=signer_key, at=self._clock()
        )
        fingerprint = made.certificate.fingerprint
        # Before it is sent: an agent that takes it and a Rollover that is killed then leave a
        # certificate that nobody else can tell the origin of.
        self._ledger.issued(agent, fingerprint, self._issued_credentials.state, at=self._clock())
        return made

    def _finished(self, agent: str, answer: AgentAnswer, end: float) -> None:
        """Poll until the agent has taken its settings; raise when it refuses, or time is over."""
        task = _running_task(_accepted(answer))
        while task is not None:
            if monotonic() > end:
                raise TimedOut(
                    f"it has not taken its settings after {self._patience.update:g} s",
                    system=f"agent {agent}",
                    operation="update_settings",
                    hint="look at its log, `/var/vcap/bosh/log/current`",
                )
            try:
                answer = self._mbus.call(
                    agent,
                    "get_task",
                    (task.agent_task_id,),
                    timeout_seconds=self._patience.poll,
                )
            except AdapterError as error:
                if not error.retryable:
                    raise
                # The agent restarts with its new credentials: that is what it was asked for. A poll
                # that timed out has waited already.
                if not isinstance(error, TimedOut):
                    Event().wait(POLL_SECONDS)
                continue
            task = _running_task(_accepted(answer))
            if task is not None:
                Event().wait(POLL_SECONDS)


def _accepted(answer: AgentAnswer) -> AgentAnswer:
    """Return an answer that is no exception."""
    if answer.error:
        old = _UNKNOWN_METHOD in answer.error
        raise Rejected(
            answer.error,
            system=f"agent {answer.agent}",
            operation="update_settings",
            hint=RECREATE_NEEDED.remedy if old else "",
        )
    return answer


def _running_task(answer: AgentAnswer) -> _Running | None:
    try:
        task = msgspec.json.decode(answer.value, type=_Running)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return task if task.state == "running" else None


def _failed_update(order: Order, begun: float, *, code: str, message: str, hint: str) -> Failed:
    return Failed(
        instance=order.instance,
        seconds=monotonic() - begun,
        code=code,
        message=message,
        hint=hint,
        restored=False,
    )


class AgentRollout:
    """Brings agents what the director hands out.

    `listed`: by deployment, all instances as they were when the rollout began. `deploys` and
    `direct` are the two ways; `version` is the director's. `recover`: who does not answer is
    recreated.
    """

    def __init__(
        self,
        listed: Mapping[str, tuple[BoshInstance, ...]],
        *,
        settings: DirectorDescription,
        observer: AgentObserver,
        deploys: DeployRollout,
        direct: DirectUpdate,
        version: Sequence[int],
        trusted_certs: str | None,
        recover: bool,
    ) -> None:
        self._listed = listed
        self._settings = settings
        self._observer = observer
        self._deploys = deploys
        self._direct = direct
        self._version = version
        self._trusted_certs = trusted_certs
        self._recover = recover

    def results(
        self, orders: Sequence[Order], *, pacing: Pacing, stopping: Callable[[], bool]
    ) -> Iterator[Result]:
        """Yield a result for each instance that was tried; after a failure none is begun."""
        able = self._able(orders) if self._settings.in_place == "direct" else {}
        failed = False
        for result in in_window(
            lambda order: self._direct.give(order, *able[order.instance]),
            [order for order in orders if order.instance in able],
            pacing=pacing,
            stopping=stopping,
        ):
            failed = failed or isinstance(result, Failed)
            yield result
        left = [order for order in orders if order.instance not in able]
        if left and not failed:
            yield from in_parallel(
                self._deploys.results,
                tuple(self._by_deployment(left)),
                width=self._settings.parallel or WORKERS,
                stopping=stopping,
            )

    def _able(
        self, orders: Sequence[Order]
    ) -> dict[InstanceName, tuple[BoshInstance, AgentSettings]]:
        """Return the instances that Rollover can update itself, with what they must keep."""
        instances = {instance.name: instance for instance in all_instances(self._listed)}
        manifests = self._observer.listings.manifests(tuple(self._listed))
        able: dict[InstanceName, tuple[BoshInstance, AgentSettings]] = {}
        for order in orders:
            instance = instances.get(order.instance)
            if instance is None or instance.agent_id is None:
                continue
            way = cost.update_of(self._version, instance.stemcell).way
            if way is cost.UpdateWay.RECREATE:
                # Such an agent answers `ok` and changes nothing (H1).
                continue
            try:
                settings = settings_of(
                    instance, manifests[instance.deployment], self._trusted_certs
                )
            except SpecError:
                # The director knows what Rollover does not: its deploy updates this one.
                continue
            able[order.instance] = (instance, settings)
        return able

    def _by_deployment(self, orders: Sequence[Order]) -> Iterator[DeploymentOrders]:
        by_deployment: dict[str, list[Order]] = {}
        for order in orders:
            by_deployment.setdefault(order.instance.partition("/")[0], []).append(order)
        concerned = [instance for name in by_deployment for instance in self._listed.get(name, ())]
        silent = self._observer.silent(concerned) if self._recover else frozenset()
        for deployment, ordered in by_deployment.items():
            instances = self._listed.get(deployment, ())
            here = silent & {instance.name for instance in instances}
            yield DeploymentOrders(
                deployment=deployment,
                orders=tuple(ordered),
                instances=instances,
                silent=here,
                fix=bool(here),
            )
