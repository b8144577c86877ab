"""What a director's manifest says of NATS: the five properties of `nats.tls`, as certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from bosh_interpolate.values import Tree
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import PemReading, read_certificates

NATS_PORT, DIRECTOR_PORT = 4222, 25555
"""Defaults of the release (jobs/nats/spec, jobs/director/spec)."""


class Part(StrEnum):
    """The properties of `nats.tls` that hold a certificate with its key."""

    CLIENT_CA = "client_ca"
    """What the director signs agents' certificates with."""
    SERVER = "server"
    DIRECTOR = "director"
    HEALTH_MONITOR = "health_monitor"


BUNDLE = "ca"
"""The fifth property: what everybody trusts, and what agents are handed."""


class TlsState(NamedTuple):
    """What `nats.tls` comes to, keys aside: two directors with the same are in the same state."""

    bundle: tuple[Fingerprint, ...]
    chains: tuple[tuple[Fingerprint, ...], ...]
    """In the order of `Part`."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A chain, leaf first, with the key of the leaf."""

    chain: tuple[Certificate, ...]
    key: SecretBytes


class NatsTls(msgspec.Struct, frozen=True, kw_only=True):
    """The five properties. `bundle_text` is the PEM of `nats.tls.ca` as it stands there."""

    bundle: tuple[Certificate, ...]
    bundle_text: str
    pairs: dict[Part, Pair]

    @property
    def state(self) -> TlsState:
        """Which certificates it names."""
        return TlsState(
            _fingerprints(self.bundle),
            tuple(_fingerprints(self.pairs[part].chain) for part in Part),
        )

    @property
    def signer(self) -> Certificate:
        """The CA that signs agents' certificates."""
        return self.pairs[Part.CLIENT_CA].chain[0]


class DirectorProperties(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a director's properties. No password is among them."""

    group: str
    """The instance group that the director runs in."""
    tls: NatsTls
    nats: str
    """`host:port`."""
    director: str
    """`host:port`; empty when the manifest does not say."""
    mbus: str = ""
    """The URL that agents are given."""
    metrics: bool = False
    """`nats.enable_metrics_endpoint`."""
    trusted_certs: str = ""
    """`director.trusted_certs`: what every agent is given besides."""


def read(document: Tree) -> DirectorProperties:
    """Return the properties of an interpolated manifest; `SpecError` names the property else."""
    group, properties = located(document)
    nats = _map(properties, "nats")
    director = _map(properties, "director")
    return DirectorProperties(
        group=group,
        tls=_tls(_map(nats, "tls")),
        nats=_address(nats.get("address"), nats.get("port"), NATS_PORT),
        director=_address(director.get("address"), director.get("port"), DIRECTOR_PORT),
        mbus=_text(_map(properties, "agent").get("mbus")),
        metrics=nats.get("enable_metrics_endpoint") is True,
        trusted_certs=_text(director.get("trusted_certs")),
    )


def located(document: Tree) -> tuple[str, dict[str, Tree]]:
    """Return the one instance group whose properties have `nats.tls`, and those properties."""
    found = [
        (_text(group.get("name")), _strings(_map(group, "properties")))
        for group in _groups(document)
        if "tls" in _map(_map(group, "properties"), "nats")
    ]
    if len(found) == 1:
        return found[0]
    raise SpecError(
        f"{len(found) or 'no'} instance groups have properties `nats.tls`",
        field="instance_groups",
        hint="they have to stand in the `properties` of the one group that the director is in, as "
        "in bosh-deployment; properties of single jobs are not understood",
    )


def tls_path(group: str, prop: str) -> str:
    """Return the path of a property of `nats.tls` for an ops file."""
    return f"/instance_groups/name={group}/properties/nats/tls/{prop}?"


def bundle_of(text: str, *, field: str) -> PemReading:
    """Return the certificates of a PEM text, with remarks; `PemError` names the field."""
    return read_certificates(text.encode("utf-8", "surrogateescape"), place=field)


def _groups(document: Tree) -> Iterator[dict[str, Tree]]:
    section = document.get("instance_groups") if isinstance(document, dict) else None
    for each in section if isinstance(section, list) else ():
        if isinstance(each, dict):
            yield _strings(each)


def _tls(tls: dict[str, Tree]) -> NatsTls:
    text = _text(tls.get(BUNDLE))
    return NatsTls(
        bundle=bundle_of(text, field=f"nats.tls.{BUNDLE}").certificates,
        bundle_text=text,
        pairs={part: _pair(_map(tls, part), field=f"nats.tls.{part}") for part in Part},
    )


def _pair(value: dict[str, Tree], *, field: str) -> Pair:
    certificate, key = _text(value.get("certificate")), _text(value.get("private_key"))
    if not key:
        raise PemError("there is no private key", field=f"{field}.private_key", hint=_LACKING)
    return Pair(
        chain=bundle_of(certificate, field=f"{field}.certificate").certificates,
        key=SecretBytes(key.encode("utf-8", "surrogateescape")),
    )


_LACKING = "look at the manifest and at the variable that the property refers to"


def _address(host: Tree, port: Tree, default: int) -> str:
    if not isinstance(host, str) or not host:
        return ""
    return f"{host}:{port if isinstance(port, int) else default}"


def _map(value: Mapping[str, Tree], key: str) -> dict[str, Tree]:
    found = value.get(key)
    return _strings(found) if isinstance(found, dict) else {}


def _strings(value: Mapping[Any, Tree]) -> dict[str, Tree]:
    return {key: each for key, each in value.items() if isinstance(key, str)}


def _text(value: Tree) -> str:
    return value if isinstance(value, str) else ""


def _fingerprints(chain: tuple[Certificate, ...]) -> tuple[Fingerprint, ...]:
    return tuple(each.fingerprint for each in chain)
