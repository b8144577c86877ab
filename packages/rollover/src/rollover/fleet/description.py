"""What `fleet.yml` says: where instances and their files are, and who dials whom.

It holds no certificates and no keys: those are observed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain as flatten
from typing import Literal

import msgspec

from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate, Stack
from rollover.fleet.evidence import Observation, ObservedEndpoint
from rollover.fleet.fleet import (
    Authority,
    Availability,
    Endpoint,
    EndpointRef,
    Fleet,
    Group,
    Instance,
    Link,
    Role,
    SourceRef,
    State,
    Touch,
)
from rollover.fleet.names import (
    AuthorityName,
    EndpointName,
    Fingerprint,
    GroupName,
    InstanceName,
    SlotName,
)

FLEET_VERSION = 1


class _Described(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown fields are refused: a misspelt one would silently change what is proven."""


class FileDelivery(_Described, frozen=True, kw_only=True, tag="files", tag_field="by"):
    """Files of this machine, written in place."""


class CommandDelivery(_Described, frozen=True, kw_only=True, tag="command", tag_field="by"):
    """A command of the operator's own carries the files (ssh, Ansible, a pipeline).

    `verbs` are those that the command understands, besides `deliver` and `restore`: `confirm`
    lets it delete what it kept, `read` lets Rollover see what an instance has on its disk.
    """

    command: tuple[str, ...]
    timeout_seconds: float = 300.0
    verbs: tuple[Literal["confirm", "read"], ...] = ()


class KubernetesVolume(_Described, frozen=True, kw_only=True):
    """A Secret or ConfigMap and where pods mount it: the files of that directory are its keys.

    `{instance}` in `path`, `secret` and `config_map` stands for the name of the instance.
    """

    path: str
    secret: str | None = None
    config_map: str | None = None


class KubernetesDelivery(_Described, frozen=True, kw_only=True, tag="kubernetes", tag_field="by"):
    """Secrets and ConfigMaps, written through the API server; kubelet brings them to the pods.

    `kubeconfig` and `context`: by default what kubectl would use, or the pod's service account.
    """

    namespace: str
    volumes: tuple[KubernetesVolume, ...]
    kubeconfig: str | None = None
    context: str | None = None
    sync_seconds: float = 90.0
    """How long kubelet may take until the pods see new content."""
    mounted: str | None = None
    """Where Rollover sees the directory of each volume, below its own path; None: it waits for
    `sync_seconds` instead of looking."""


Delivery = FileDelivery | CommandDelivery | KubernetesDelivery


class EndpointDescription(_Described, frozen=True, kw_only=True):
    """One TLS party of an instance, and the files that its material lives in.

    `certificate`, `key` and `ca` are paths, relative ones to the instance's working directory.
    `address` is `host:port` of a party that accepts. `verify`: it demands a certificate of its
    dialers. Where a platform has no files, `certificate` and `ca` name what it has instead (a
    property of a manifest): parties of one instance that name the same share it.
    """

    name: EndpointName
    role: Role
    stack: Stack = Stack.GO
    address: str | None = None
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    verify: bool = False
    handshake_first: bool = False
    source: str | None = None
    """`group/endpoint` of the source that hands out this party's chain and bundle."""


class InstanceDescription(_Described, frozen=True, kw_only=True):
    """One instance: its files, and how to reach it.

    `ignored` says why an operator leaves it out; it then counts as left behind.
    """

    name: InstanceName
    endpoints: tuple[EndpointDescription, ...]
    config: str | None = None
    working_directory: str | None = None
    pid_file: str | None = None
    monitor: str | None = None
    status_file: str | None = None
    binary: str | None = None
    restart: tuple[str, ...] = ()
    """A command that restarts it, where a change needs that."""
    ignored: str = ""


class GroupDescription(_Described, frozen=True, kw_only=True):
    """Instances that one rollout covers, and how they are rolled out."""

    name: GroupName
    platform: str
    instances: tuple[InstanceDescription, ...]
    touch: Touch = Touch.RELOAD
    max_in_flight: int = 1
    canaries: int = 1
    seconds_per_instance: float = 1.0
    confirm_seconds: float = 30.0
    """How long an instance may take until the change is confirmed."""
    delivery: Delivery = msgspec.field(default_factory=FileDelivery)


class LinkDescription(_Described, frozen=True, kw_only=True):
    """Who dials whom: `group/endpoint`, or `instance/endpoint` for one instance.

    Within one group every instance dials every other one. `name`: what the dialers expect; by
    default the host of the acceptor's address. `unverified`: they do not look at all.
    """

    dialer: str
    acceptor: str
    name: str | None = None
    mutual: bool | None = None
    """None: as the acceptor's `verify` says."""
    unverified: bool = False
    within: bool = False
    """Parties of one and the same instance dial each other too."""


class AuthorityDescription(_Described, frozen=True, kw_only=True):
    """A named CA and the certificates of it that were in use when the fleet was described."""

    name: AuthorityName
    certificates: tuple[Fingerprint, ...] = ()


class SystemAccount(_Described, frozen=True, kw_only=True):
    """How to reach the NATS system account, for reloads that answer with their error."""

    user: str | None = None
    password_file: str | None = None
    certificate: str | None = None
    key: str | None = None


class DirectorDescription(_Described, frozen=True, kw_only=True):
    """A BOSH director: its API, its NATS, and how it is itself deployed.

    Paths are relative to the fleet file. What is not given comes from the environment variables
    of the bosh CLI (`BOSH_CLIENT`, `BOSH_CLIENT_SECRET`, `BOSH_CA_CERT`), then from the file in
    which it keeps aliases and logins (`BOSH_CONFIG`, `~/.bosh/config`). Its deployments and their
    VMs are not described: the director is asked for them whenever the fleet is looked at.
    """

    environment: str
    """`https://HOST:25555`."""
    client: str | None = None
    """User or UAA client; None: `BOSH_CLIENT`, who logged in with `bosh log-in`, or `admin`."""
    client_secret_file: str | None = None
    ca_cert: str | None = None
    create_env: str | None = None
    """A file with the operator's own `bosh create-env …` command line."""
    nats: str | None = None
    """`host:port` at which agents reach NATS; None: port 4222 of the director."""
    monitor: str | None = None
    """URL of the NATS monitoring port (`nats.enable_metrics_endpoint`), the proof of agents."""
    in_place: Literal["director", "direct"] = "director"
    """Who gives agents new credentials: a deploy by the director, or Rollover over NATS itself."""
    parallel: int | None = None
    """Deployments at a time; None: as many as the director has workers."""
    create_env_minutes: float = 60.0
    """How long `create-env` may take."""
    task_minutes: float = 24 * 60.0
    """How long one task of the director may take."""


class Silence(_Described, frozen=True, kw_only=True):
    """A rule of `check` that is silenced, with the reason."""

    rule: str
    reason: str
    subject: str = "*"


class FleetDescription(_Described, frozen=True, kw_only=True):
    """The whole file."""

    version: Literal[1]
    name: str
    groups: tuple[GroupDescription, ...]
    links: tuple[LinkDescription, ...] = ()
    authorities: tuple[AuthorityDescription, ...] = ()
    system: SystemAccount | None = None
    director: DirectorDescription | None = None
    silenced: tuple[Silence, ...] = ()
    state: str = ".rollover"
    """Directory of the store, the journal and the sealing key, relative to the file."""
    margin_seconds: float = 300.0
    """How long, between two rollouts, people may take: certificates must stay valid that long."""


# From what is described and what was observed to the fleet that is planned on.

MOST_LINKS = 5_000_000
"""A description that asks for more links than this is taken for a mistake."""


def assemble(
    description: FleetDescription,
    observations: Mapping[InstanceName, Observation],
    *,
    authorities: Sequence[Authority] = (),
    known: Mapping[Fingerprint, Certificate] | None = None,
) -> Fleet:
    """Return the fleet; `SpecError` when a link names what does not exist.

    Endpoints that were not observed present nothing and verify nobody: whoever plans looks at
    the availability of their instance first.
    """
    certificates = dict(known or {})
    for observation in observations.values():
        for seen in (*observation.endpoints, *flatten.from_iterable(observation.may_use)):
            for certificate in (*seen.presents, *(seen.trusts or ())):
                certificates[certificate.fingerprint] = certificate
    groups = tuple(_group(group, observations) for group in description.groups)
    return Fleet(
        name=description.name,
        groups=groups,
        links=tuple(links(description)),
        authorities=tuple(authorities),
        certificates=certificates,
    )


def _group(described: GroupDescription, observations: Mapping[InstanceName, Observation]) -> Group:
    return Group(
        name=described.name,
        instances=tuple(
            _instance(instance, observations.get(instance.name)) for instance in described.instances
        ),
        platform=described.platform,
        touch=described.touch,
        max_in_flight=described.max_in_flight,
        canaries=described.canaries,
        seconds_per_instance=described.seconds_per_instance,
    )


def _instance(described: InstanceDescription, observed: Observation | None) -> Instance:
    seen = {endpoint.endpoint: endpoint for endpoint in observed.endpoints} if observed else {}
    chains, bundles = slots(described)
    endpoints = tuple(
        _endpoint(
            endpoint,
            seen.get(endpoint.name),
            chains[endpoint.name],
            bundles[endpoint.name],
            bundle_file=below(described, endpoint.ca),
        )
        for endpoint in described.endpoints
    )
    availability, why = _availability(described, observed)
    return Instance(
        name=described.name,
        endpoints=endpoints,
        availability=availability,
        why=why,
        may_be=tuple(_state(described, state) for state in (observed.may_use if observed else ())),
    )


def below(described: InstanceDescription, path: str | None) -> str | None:
    """Return a path as seen from the directory of an instance, where it lies below that."""
    if path is None:
        return None
    home = posixpath.normpath(described.working_directory or ".")
    path = posixpath.normpath(path)
    return path.removeprefix(f"{home}/") if posixpath.isabs(home) else path


def _availability(
    described: InstanceDescription, observed: Observation | None
) -> tuple[Availability, str]:
    if described.ignored:
        return Availability.IGNORED, f"ignored: {described.ignored}"
    if observed is None:
        return Availability.UNREACHABLE, "it was not observed"
    return observed.availability, observed.why


def _endpoint(
    described: EndpointDescription,
    seen: ObservedEndpoint | None,
    chain_slot: SlotName | None,
    bundle_slot: SlotName | None,
    *,
    bundle_file: str | None,
) -> Endpoint:
    presents = _fingerprints(seen.presents) if seen else ()
    trusts = None if seen is None or seen.trusts is None else _fingerprints(seen.trusts)
    source = None
    if described.source is not None:
        group, _, source_endpoint = described.source.rpartition("/")
        source = SourceRef(GroupName(group), EndpointName(source_endpoint))
    return Endpoint(
        name=described.name,
        role=described.role,
        stack=described.stack,
        presents=presents,
        trusts=trusts,
        chain_slot=chain_slot,
        bundle_slot=bundle_slot,
        address=described.address,
        source=source,
        bundle_file=bundle_file,
    )


def _state(described: InstanceDescription, seen: tuple[ObservedEndpoint, ...]) -> State:
    by_name = {endpoint.endpoint: endpoint for endpoint in seen}
    chosen = [
        by_name.get(endpoint.name, ObservedEndpoint(endpoint=endpoint.name))
        for endpoint in described.endpoints
    ]
    return State(
        tuple(_fingerprints(endpoint.presents) for endpoint in chosen),
        tuple(
            None if endpoint.trusts is None else _fingerprints(endpoint.trusts)
            for endpoint in chosen
        ),
    )


def _fingerprints(certificates: Sequence[Certificate]) -> tuple[Fingerprint, ...]:
    return tuple(certificate.fingerprint for certificate in certificates)


def slots(
    described: InstanceDescription,
) -> tuple[dict[EndpointName, SlotName | None], dict[EndpointName, SlotName | None]]:
    """Return the chain and bundle slots of each endpoint: endpoints that share a file share it.

    A slot is named after the first endpoint that uses its file, so that instances whose files
    have other paths have the same slots.
    """
    chains: dict[str, SlotName] = {}
    bundles: dict[str, SlotName] = {}
    for endpoint in described.endpoints:
        if endpoint.certificate is not None:
            chains.setdefault(endpoint.certificate, SlotName(f"{endpoint.name}:chain"))
        if endpoint.ca is not None:
            bundles.setdefault(endpoint.ca, SlotName(f"{endpoint.name}:bundle"))
    return (
        {
            endpoint.name: chains[endpoint.certificate]
            if endpoint.certificate is not None
            else None
            for endpoint in described.endpoints
        },
        {
            endpoint.name: bundles[endpoint.ca] if endpoint.ca is not None else None
            for endpoint in described.endpoints
        },
    )


def links(description: FleetDescription) -> Iterator[Link]:
    """Yield every link that the description asks for, instance by instance."""
    count = 0
    for number, described in enumerate(description.links, 1):
        field = f"links[{number}]"
        dialers = _ends(description, described.dialer, f"{field}.dialer")
        acceptors = _ends(description, described.acceptor, f"{field}.acceptor")
        count += len(dialers) * len(acceptors)
        if count > MOST_LINKS:
            raise SpecError(
                f"the links add up to more than {MOST_LINKS:,}",
                field=field,
                hint="name the instances that really dial one another",
            )
        for dialer, _ in dialers:
            for acceptor, accepting in acceptors:
                apart = dialer.instance != acceptor.instance
                if apart or (described.within and dialer != acceptor):
                    yield _link(described, dialer, acceptor, accepting)


def _link(
    described: LinkDescription,
    dialer: EndpointRef,
    acceptor: EndpointRef,
    accepting: EndpointDescription,
) -> Link:
    name = described.name
    if name is None and accepting.address and not described.unverified:
        name = accepting.address.rpartition(":")[0].strip("[]")
    return Link(
        dialer=dialer,
        acceptor=acceptor,
        mutual=accepting.verify if described.mutual is None else described.mutual,
        name=None if described.unverified else name,
    )


def _ends(
    description: FleetDescription, named: str, field: str
) -> list[tuple[EndpointRef, EndpointDescription]]:
    owner, _, endpoint = named.rpartition("/")
    ends = [
        (EndpointRef(instance.name, endpoint_description.name), endpoint_description)
        for group in description.groups
        for instance in group.instances
        if owner in (group.name, instance.name)
        for endpoint_description in instance.endpoints
        if endpoint_description.name == endpoint
    ]
    if not ends:
        raise SpecError(
            f"`{named}` names no endpoint",
            field=field,
            hint="write `group/endpoint` or `instance/endpoint` as they stand under `groups`",
        )
    return ends
