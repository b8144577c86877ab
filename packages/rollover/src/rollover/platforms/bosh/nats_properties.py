"""What a manifest says of NATS: the five properties of `nats.tls`, and their variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from bosh_interpolate.values import Tree, Variables
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import PemReading, read_certificates

NATS_PORT, DIRECTOR_PORT = 4222, 25555
"""Defaults of the release (jobs/nats/spec, jobs/director/spec)."""


class NatsPart(StrEnum):
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
    """In the order of `NatsPart`."""


class ChainAndKey(msgspec.Struct, frozen=True, kw_only=True):
    """A chain, leaf first, with the key of the leaf."""

    chain: tuple[Certificate, ...]
    key: SecretBytes


class NatsTls(msgspec.Struct, frozen=True, kw_only=True):
    """The five properties. `bundle_text` is the PEM of `nats.tls.ca` as it stands there."""

    bundle: tuple[Certificate, ...]
    bundle_text: str
    pairs: dict[NatsPart, ChainAndKey]

    @property
    def state(self) -> TlsState:
        """Which certificates it names."""
        return TlsState(
            _fingerprints(self.bundle),
            tuple(_fingerprints(self.pairs[part].chain) for part in NatsPart),
        )

    @property
    def signer(self) -> Certificate:
        """The CA that signs agents' certificates."""
        return self.pairs[NatsPart.CLIENT_CA].chain[0]


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


def read_properties(document: Tree) -> DirectorProperties:
    """Return the properties of an interpolated manifest; `SpecError` names the property else."""
    group, properties = locate_properties(document)
    nats = _mapping(properties, "nats")
    director = _mapping(properties, "director")
    return DirectorProperties(
        group=group,
        tls=_read_tls(_mapping(nats, "tls")),
        nats=_address(nats.get("address"), nats.get("port"), NATS_PORT),
        director=_address(director.get("address"), director.get("port"), DIRECTOR_PORT),
        mbus=_string(_mapping(properties, "agent").get("mbus")),
        metrics=nats.get("enable_metrics_endpoint") is True,
        trusted_certs=_string(director.get("trusted_certs")),
    )


def locate_properties(document: Tree) -> tuple[str, dict[str, Tree]]:
    """Return the one instance group whose properties have `nats.tls`, and those properties."""
    section = document.get("instance_groups") if isinstance(document, dict) else None
    groups = [
        _string_keys(record)
        for record in (section if isinstance(section, list) else ())
        if isinstance(record, dict)
    ]
    found = [
        (_string(group.get("name")), _mapping(group, "properties"))
        for group in groups
        if "tls" in _mapping(_mapping(group, "properties"), "nats")
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


def read_bundle(text: str, *, field: str) -> PemReading:
    """Return the certificates of a PEM text, with remarks; `PemError` names the field."""
    return read_certificates(text.encode("utf-8", "surrogateescape"), place=field)


def _read_tls(tls: dict[str, Tree]) -> NatsTls:
    text = _string(tls.get(BUNDLE))
    return NatsTls(
        bundle=read_bundle(text, field=f"nats.tls.{BUNDLE}").certificates,
        bundle_text=text,
        pairs={
            part: _read_pair(_mapping(tls, part), field=f"nats.tls.{part}") for part in NatsPart
        },
    )


def _read_pair(value: dict[str, Tree], *, field: str) -> ChainAndKey:
    certificate, key = _string(value.get("certificate")), _string(value.get("private_key"))
    if not key:
        raise PemError(
            "there is no private key",
            field=f"{field}.private_key",
            hint="look at the manifest and at the variable that the property refers to",
        )
    return ChainAndKey(
        chain=read_bundle(certificate, field=f"{field}.certificate").certificates,
        key=SecretBytes(key.encode("utf-8", "surrogateescape")),
    )


def _address(host: Tree, port: Tree, default: int) -> str:
    if not isinstance(host, str) or not host:
        return ""
    return f"{host}:{port if isinstance(port, int) else default}"


def _mapping(value: Mapping[str, Tree], key: str) -> dict[str, Tree]:
    found = value.get(key)
    return _string_keys(found) if isinstance(found, dict) else {}


def _string_keys(value: Mapping[Any, Tree]) -> dict[str, Tree]:
    return {key: item for key, item in value.items() if isinstance(key, str)}


def _string(value: Tree) -> str:
    return value if isinstance(value, str) else ""


def _fingerprints(chain: tuple[Certificate, ...]) -> tuple[Fingerprint, ...]:
    return tuple(certificate.fingerprint for certificate in chain)


# The variables behind them.


DOCUMENTED_NAMES: Mapping[NatsPart, str] = {
    NatsPart.CLIENT_CA: "nats_ca",
    NatsPart.SERVER: "nats_server_tls",
    NatsPart.DIRECTOR: "nats_clients_director_tls",
    NatsPart.HEALTH_MONITOR: "nats_clients_health_monitor_tls",
}
"""The names in bosh-deployment: those of new variables where a manifest refers to none."""
FIRST_SUFFIX, LAST_SUFFIX = 2, 999

# `((!name))` is the same reference, as `bosh` reads it.
_REFERENCE = re.compile(r"\(\(!?([^.\s()]+)((?:\.[^\s()]+)?)\)\)")


class NatsVariables(NamedTuple):
    """The variables behind `nats.tls`: by property, and the reference of the bundle."""

    of: Mapping[NatsPart, str]
    """The documented names where a property does not refer to a variable."""
    referring: frozenset[NatsPart]
    """The properties that do refer to one."""
    bundle: str
    """`((nats_server_tls.ca))`; empty when it is put together of anything else."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every name once, authorities first."""
        return tuple(dict.fromkeys(self.of[part] for part in NatsPart))

    @property
    def bundle_field(self) -> tuple[str, str]:
        """The variable and the field that the bundle is, both empty when it is none."""
        found = _REFERENCE.fullmatch(self.bundle)
        return (found[1], found[2].removeprefix(".")) if found else ("", "")


class CertificateReference(NamedTuple):
    """A reference that stands for certificates. `ends_line`: its value ends with a line break."""

    reference: str
    certificates: tuple[Certificate, ...]
    ends_line: bool


def variables_behind(found: Mapping[str, Tree]) -> NatsVariables:
    """Return the variables that the properties, not interpolated yet, refer to."""
    nats = found.get("nats")
    tls = nats.get("tls") if isinstance(nats, dict) else None
    section = tls if isinstance(tls, dict) else {}
    of = {part: _referred_variable(section.get(part.value)) for part in NatsPart}
    bundle = section.get(BUNDLE)
    return NatsVariables(
        of={part: of[part] or DOCUMENTED_NAMES[part] for part in NatsPart},
        referring=frozenset(part for part in NatsPart if of[part]),
        bundle=bundle if isinstance(bundle, str) and _REFERENCE.fullmatch(bundle) else "",
    )


def _referred_variable(value: Tree) -> str:
    """Return the one variable that certificate and key of a property come from."""
    if isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        return found[1] if found and not found[2] else ""
    if not isinstance(value, dict):
        return ""
    names: set[str] = set()
    for field in ("certificate", "private_key"):
        reference = value.get(field)
        found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if found is None or found[2] != f".{field}":
            return ""
        names.add(found[1])
    return names.pop() if len(names) == 1 else ""


def variables_named(values: Iterable[Tree]) -> tuple[str, ...]:
    """Return the variables that values of operations refer to, each once, in their order."""
    texts = (
        text
        for value in values
        for text in (value.values() if isinstance(value, dict) else (value,))
        if isinstance(text, str)
    )
    return tuple(dict.fromkeys(found[0] for text in texts for found in _REFERENCE.findall(text)))


def in_family(name: str, base: str) -> bool:
    """Say whether a variable is one of a family: `nats_ca`, `nats_ca_2`, `nats_ca_3`."""
    suffix = name.removeprefix(base)
    return name.startswith(base) and (
        not suffix or re.fullmatch(r"_[0-9]{1,3}", suffix) is not None
    )


def suffixed_name(base: str, number: int) -> str:
    """Return the name of a variable's successor."""
    return f"{base}_{number}"


def holders_of(chain: tuple[Certificate, ...], variables: Variables) -> tuple[str, ...]:
    """Return the variables whose `certificate` is this chain, by name."""
    return tuple(
        name
        for name in sorted(variables)
        if (held := certificate_field(variables, name, "certificate"))
        and held.certificates == chain
    )


def holder_of(chain: tuple[Certificate, ...], base: str, variables: Variables) -> str | None:
    """Return the variable that holds a chain, of that family if one does; None: none holds it."""
    holders = holders_of(chain, variables)
    of_family = (name for name in holders if in_family(name, base))
    return next(of_family, next(iter(holders), None))


def certificate_field(variables: Variables, name: str, key: str) -> CertificateReference | None:
    """Return a field of a variable as a reference to certificates; None when it holds none."""
    value = variables.get(name)
    text = value.get(key) if isinstance(value, dict) else None
    if not isinstance(text, str) or "BEGIN" not in text:
        return None
    try:
        found = read_bundle(text, field=f"{name}.{key}").certificates
    except SpecError:
        return None
    return CertificateReference(f"(({name}.{key}))", found, text.endswith("\n"))


def bundle_references(
    names: NatsVariables,
    variables: Variables,
    *,
    first: tuple[CertificateReference | None, ...] = (),
) -> Iterator[CertificateReference]:
    """Yield what bundles can be put together of, the likeliest first.

    The `ca` of server certificates, as in BOSH's procedure, then the CAs themselves.
    """
    yield from (reference for reference in first if reference is not None)
    families = ((names.of[NatsPart.SERVER], "ca"), (names.of[NatsPart.CLIENT_CA], "certificate"))
    for base, key in families:
        for name in sorted(variables):
            found = certificate_field(variables, name, key) if in_family(name, base) else None
            if found is not None:
                yield found


def plain_bundle_reference(names: NatsVariables, tls: NatsTls) -> CertificateReference | None:
    """Return the reference that is the whole bundle of the plain manifest; None: it is none."""
    if not names.bundle:
        return None
    return CertificateReference(names.bundle, tls.bundle, tls.bundle_text.endswith("\n"))
