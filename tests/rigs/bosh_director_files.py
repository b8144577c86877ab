"""A director's manifest, vars store, state file and command line on the disk; certificates."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from bosh_interpolate import emit, interpolate, load_variables
from bosh_interpolate.values import Key, Tree
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.evidence import EndpointMaterial, Order, Signer
from rollover.fleet.names import EndpointName, InstanceName
from rollover.fleet.secret import SecretBytes
from rollover.pki.issue import CLIENT, SERVER, Profile, issue_authority, issue_leaf, reissue_like
from rollover.pki.keys import KeyForm, PrivateKey, generate, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh.create_env import CreateEnvironment
from rollover.platforms.bosh.nats_properties import NatsPart

VM = InstanceName("director/0")
NAMES = {
    NatsPart.CLIENT_CA: "nats_ca",
    NatsPart.SERVER: "nats_server_tls",
    NatsPart.DIRECTOR: "nats_clients_director_tls",
    NatsPart.HEALTH_MONITOR: "nats_clients_health_monitor_tls",
}
MANIFEST = """\
name: bosh
instance_groups:
- name: bosh
  instances: 1
  jobs: [{name: nats, release: bosh}, {name: director, release: bosh}]
  properties:
    agent: {mbus: "nats://((internal_ip)):((nats_port))"}
    nats:
      address: ((internal_ip))
      port: ((nats_port))
      enable_metrics_endpoint: true
      password: ((nats_password))
      tls:
        ca: ((nats_server_tls.ca))
        client_ca:
          certificate: ((nats_ca.certificate))
          private_key: ((nats_ca.private_key))
        server:
          certificate: ((nats_server_tls.certificate))
          private_key: ((nats_server_tls.private_key))
        director:
          certificate: ((nats_clients_director_tls.certificate))
          private_key: ((nats_clients_director_tls.private_key))
        health_monitor:
          certificate: ((nats_clients_health_monitor_tls.certificate))
          private_key: ((nats_clients_health_monitor_tls.private_key))
    director:
      address: ((internal_ip))
      name: ((director_name))
variables:
- name: nats_password
  type: password
- name: nats_ca
  type: certificate
  options: {is_ca: true, common_name: default.nats-ca.bosh-internal, key_length: 2048}
- name: nats_server_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.nats.bosh-internal
    alternative_names: [((internal_ip))]
    extended_key_usage: [server_auth]
    key_length: 2048
- name: nats_clients_director_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.director.bosh-internal
    extended_key_usage: [client_auth]
    key_length: 2048
- name: nats_clients_health_monitor_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.hm.bosh-internal
    extended_key_usage: [client_auth]
    key_length: 2048
"""
"""Shaped like bosh-deployment's `bosh.yml`, as far as NATS is concerned."""

_COMMON_NAMES: Mapping[NatsPart, tuple[str, Profile, tuple[str, ...]]] = {
    NatsPart.SERVER: ("default.nats.bosh-internal", SERVER, ("127.0.0.1",)),
    NatsPart.DIRECTOR: ("default.director.bosh-internal", CLIENT, ()),
    NatsPart.HEALTH_MONITOR: ("default.hm.bosh-internal", CLIENT, ()),
}
YEAR = timedelta(days=365)


class Made(NamedTuple):
    """A certificate and its key."""

    certificate: Certificate
    key: PrivateKey

    @property
    def secret(self) -> SecretBytes:
        """The key as an order brings it."""
        return SecretBytes(to_pem(self.key))


class Generation(NamedTuple):
    """A CA with what it issued for a director VM."""

    of: Mapping[NatsPart, Made]

    @property
    def ca(self) -> Certificate:
        """The CA."""
        return self.of[NatsPart.CLIENT_CA].certificate

    def values(self) -> dict[str, Tree]:
        """What a vars store holds of it, under the names of bosh-deployment."""
        return {NAMES[part]: self.value(part) for part in NatsPart}

    def value(self, part: NatsPart) -> Tree:
        """One of these values."""
        made = self.of[part]
        return {
            "ca": write_certificates((self.ca,)).decode(),
            "certificate": write_certificates((made.certificate,)).decode(),
            "private_key": to_pem(made.key, KeyForm.PKCS1).decode(),
        }


@functools.cache
def generation(
    number: int = 1,
    *,
    names: tuple[str, ...] = ("127.0.0.1",),
    lifetime: timedelta = YEAR,
    begins: datetime | None = None,
) -> Generation:
    """Make one, with RSA keys; the same arguments give the same one."""
    start = begins or datetime.now(UTC).replace(microsecond=0) - timedelta(days=10 - number)
    key = generate(KeyKind.RSA_2048)
    name = "default.nats-ca.bosh-internal" + (f" {number}" if number > 1 else "")
    ca = issue_authority(
        common_name=name,
        organization="Cloud Foundry",
        key=key,
        not_before=start,
        lifetime=lifetime,
    )
    made = {NatsPart.CLIENT_CA: Made(ca, key)}
    for part, (common_name, profile, _) in _COMMON_NAMES.items():
        own = generate(KeyKind.RSA_2048)
        leaf = issue_leaf(
            profile=profile,
            common_name=common_name,
            organization="Cloud Foundry",
            names=names if part is NatsPart.SERVER else (),
            key=own,
            authority=ca,
            authority_key=key,
            not_before=start,
            lifetime=lifetime,
        )
        made[part] = Made(leaf, own)
    return Generation(made)


def again(old: Generation, part: NatsPart, *, under: Generation) -> Made:
    """Return a certificate like that of a part, issued by another generation's CA."""
    key = generate(KeyKind.RSA_2048)
    signer = under.of[NatsPart.CLIENT_CA]
    leaf = reissue_like(
        old.of[part].certificate,
        key=key,
        authority=signer.certificate,
        authority_key=signer.key,
        not_before=signer.certificate.not_before,
    )
    return Made(leaf, key)


class Director(NamedTuple):
    """The files of a director in one directory."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """`bosh.yml`."""
        return self.folder / "bosh.yml"

    @property
    def store(self) -> Path:
        """`creds.yml`."""
        return self.folder / "creds.yml"

    @property
    def state(self) -> Path:
        """`state.json`."""
        return self.folder / "state.json"

    @property
    def line(self) -> Path:
        """`create-env.sh`."""
        return self.folder / "create-env.sh"

    def environment(self) -> CreateEnvironment:
        """Read the command line."""
        return CreateEnvironment.from_file(self.line, environment={"HOME": str(self.folder)})

    def stored(self) -> dict[str, Tree]:
        """What the vars store holds."""
        return dict(load_variables(self.store.read_bytes()))

    def deployed(self, *ops_files: Path) -> str:
        """Record as deployed what the line comes to with these ops files; return the SHA."""
        environment = self.environment()
        candidate = environment.candidates(ops_files, environment.inputs())[-1]
        assert not candidate.trouble, candidate.trouble
        self.record(candidate.sha)
        return candidate.sha

    def record(self, sha: str) -> None:
        """Write the state file."""
        content = {"current_manifest_sha": sha, "current_vm_cid": "vm-1"}
        self.state.write_text(json.dumps(content))

    def write_store(self, values: Mapping[str, Tree]) -> None:
        """Write the vars store."""
        tree: dict[Key, Tree] = {}
        tree.update(values)
        self.store.write_text(emit(tree))
        self.store.chmod(0o600)


def director(
    folder: Path,
    *,
    manifest: str = MANIFEST,
    values: Mapping[str, Tree] | None = None,
    flags: str = "",
    nats_port: int = 4222,
) -> Director:
    """Write a director's files, deployed as they are."""
    found = Director(folder)
    found.manifest.write_text(manifest)
    (folder / "vars.yml").write_text(
        f"internal_ip: 127.0.0.1\ndirector_name: test\nnats_port: {nats_port}\n"
    )
    present = {"nats_password": "secret-of-nats", **generation().values()}
    found.write_store(present if values is None else values)
    found.line.write_text(
        "#!/bin/sh\nset -eu\nbosh create-env bosh.yml \\\n"
        f"  --state ./state.json --vars-store=./creds.yml -l vars.yml {flags}\n"
    )
    found.deployed()
    return found


def interpolated(director: Director, *ops: bytes, stored: Mapping[str, Tree]) -> str:
    """What `bosh int` makes of the manifest with these ops files."""
    from bosh_interpolate import read_ops_file  # noqa: PLC0415 - a name of its own below

    variables = load_variables((director.folder / "vars.yml").read_bytes())
    return interpolate(
        director.manifest.read_bytes(),
        operations=[one for data in ops for one in read_ops_file(data, name="ops.yml")],
        variables={**stored, **variables},
        all_found=True,
    )


def both_trusted(
    old: Generation, new: Generation, leaves: Mapping[NatsPart, Made] | None = None
) -> Order:
    """The first rollout of the director VM: both trusted, new signer, new clients."""
    found = leaves or new.of
    bundle = (old.ca, new.ca)
    signer = new.of[NatsPart.CLIENT_CA]
    return Order(
        instance=VM,
        endpoints=(
            EndpointMaterial(endpoint=EndpointName("nats"), bundle=bundle),
            *_clients(found, bundle),
            EndpointMaterial(
                endpoint=EndpointName("agents"),
                signer=Signer(certificate=signer.certificate, key=signer.secret),
                bundle=bundle,
            ),
        ),
    )


def new_only(new: Generation, leaves: Mapping[NatsPart, Made] | None = None) -> Order:
    """The second one: new server certificate, the old CA gone."""
    server = (leaves or new.of)[NatsPart.SERVER]
    bundle = (new.ca,)
    names = ("director", "health-monitor", "agents")
    return Order(
        instance=VM,
        endpoints=(
            EndpointMaterial(
                endpoint=EndpointName("nats"),
                chain=(server.certificate,),
                key=server.secret,
                bundle=bundle,
            ),
            *(EndpointMaterial(endpoint=EndpointName(name), bundle=bundle) for name in names),
        ),
    )


def _clients(
    found: Mapping[NatsPart, Made], bundle: tuple[Certificate, ...]
) -> tuple[EndpointMaterial, ...]:
    parts = (("director", NatsPart.DIRECTOR), ("health-monitor", NatsPart.HEALTH_MONITOR))
    return tuple(
        EndpointMaterial(
            endpoint=EndpointName(name),
            chain=(found[part].certificate,),
            key=found[part].secret,
            bundle=bundle,
        )
        for name, part in parts
    )
