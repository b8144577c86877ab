"""What was observed: states of instances, handshakes, and what they prove."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from rollover.fleet.certificate import Certificate
from rollover.fleet.fleet import Availability, EndpointRef, Role
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName
from rollover.fleet.secret import SecretBytes


class ObservedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint presents and trusts. `trusts` None: it verifies nobody."""

    endpoint: EndpointName
    presents: tuple[Certificate, ...] = ()
    trusts: tuple[Certificate, ...] | None = None


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one instance at one time.

    `endpoints` is what it uses; `may_use` further states that it could be in (new files on its
    disk that it has not loaded, or the other way round). Empty `endpoints`: nothing is known.
    """

    instance: InstanceName
    at: datetime
    availability: Availability = Availability.READY
    why: str = ""
    endpoints: tuple[ObservedEndpoint, ...] = ()
    may_use: tuple[tuple[ObservedEndpoint, ...], ...] = ()


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """A CA with its key, handed to a source, which signs with it from then on."""

    certificate: Certificate
    key: SecretBytes


class EndpointMaterial(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint is to hold. None stays as it is.

    `signer` is for a source: the CA that it hands out chains of. `issuer` is for an endpoint that
    a source feeds: the CA whose chain it has to present afterwards, made by the source.
    `bundle_file`: where the bundle goes, below the directory of the instance, whose configuration
    is to name that file from then on; None: where the bundle lies now.
    """

    endpoint: EndpointName
    chain: tuple[Certificate, ...] | None = None
    key: SecretBytes | None = None
    bundle: tuple[Certificate, ...] | None = None
    signer: Signer | None = None
    issuer: Certificate | None = None
    bundle_file: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """New material for one instance: only what changes."""

    instance: InstanceName
    endpoints: tuple[EndpointMaterial, ...]


class Fact(StrEnum):
    """The kinds of evidence."""

    DELIVERED = "delivered"
    LOADED = "loaded"
    PRESENTS = "presents"
    ADVERTISES = "advertises"
    ACCEPTS = "accepts"
    REFUSES = "refuses"
    DRAINED = "drained"
    REPORTED = "reported"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about one endpoint: expected, observed, when and how."""

    fact: Fact
    subject: EndpointRef
    holds: bool
    observed: str
    expected: str = ""
    at: datetime
    by: str = ""
    """How it was seen: `handshake`, `varz`, `connz`, `status file`, `disk`."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An instance took its order, confirmed by observation."""

    instance: InstanceName
    seconds: float
    evidence: tuple[Evidence, ...] = ()
    reload_seconds: float = 0.0
    """The part of the time that the reload itself took."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An instance did not take its order. `restored`: it has what it had before."""

    instance: InstanceName
    seconds: float
    code: str
    message: str
    hint: str = ""
    restored: bool = True
    evidence: tuple[Evidence, ...] = ()


Result = Applied | Failed


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A chain and key that Rollover itself presents in handshakes."""

    label: str
    """The authority version that it comes from, `nats-ca@1`."""
    issuer: Fingerprint
    chain: tuple[Certificate, ...]
    key: SecretBytes


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """A live connection whose peer still presents a certificate of a retired issuer."""

    server: InstanceName
    connection: int
    peer: str
    """The peer's own name, or its address."""
    certificate: Fingerprint
    issuer_name: str = ""
    role: Role | None = None
    """Of the endpoint that the connection goes through; None: it is not known."""
