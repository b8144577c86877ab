"""TLS contexts, one for each identity and set of options, made in memory and kept while in use."""

from __future__ import annotations

from enum import Enum
from threading import Lock
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL, crypto

from rollover.errors import PemError
from rollover.probe.alerts import CLOSE_NOTIFY, alert_name
from rollover.probe.identity import Identity
from rollover.probe.target import Versions

_RANGES = {
    Versions.ANY: (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
    Versions.TLS_1_2: (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION),
    Versions.TLS_1_3: (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION),
}
_NO_AUTO_CHAIN = 0x8
"""SSL_MODE_NO_AUTO_CHAIN: send the chain that was given, never one completed from the trust."""

_ANY_STRENGTH = b"ALL:@SECLEVEL=0"
"""A probe reports weak certificates; it must not fail on them before it has seen them."""


class Trust(Enum):
    """Whom to believe when it is not a bundle of our own."""

    ANYONE = "anyone"
    """Take what is served: it is judged afterwards."""
    SYSTEM = "system"
    """The certificate store of the operating system."""


class _Options(NamedTuple):
    identity: Identity | None
    versions: Versions
    trust: Trust | bytes


class Seen:
    """What happened below the surface of one connection; filled in while it shakes hands."""

    __slots__ = ("alert", "asked", "distrust", "ticket")

    def __init__(self) -> None:
        self.asked = False
        """A CertificateRequest came."""
        self.ticket = False
        """A session ticket came: the peer has received our Finished (RFC 8446 §4.6.1)."""
        self.alert = ""
        """The fatal alert that the peer sent."""
        self.distrust = 0
        """Our own verifier's error number (X509_V_ERR_…); 0 is none."""


class Contexts:
    """Makes and keeps contexts. Safe to share between threads; keys live as long as it does."""

    def __init__(self) -> None:
        self._made: dict[_Options, SSL.Context] = {}
        self._lock = Lock()

    def get(
        self,
        identity: Identity | None,
        *,
        versions: Versions = Versions.ANY,
        trust: Trust | bytes = Trust.ANYONE,
    ) -> SSL.Context:
        """Return the context for these options; `trust` is a PEM bundle or one of `Trust`."""
        options = _Options(identity, versions, trust)
        with self._lock:
            if options not in self._made:
                self._made[options] = _make(options)
            return self._made[options]


def _make(options: _Options) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    lowest, highest = _RANGES[options.versions]
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    context.set_mode(_NO_AUTO_CHAIN)
    context.set_info_callback(_watch)
    if options.trust is Trust.ANYONE:
        context.set_cipher_list(_ANY_STRENGTH)
        context.set_verify(SSL.VERIFY_NONE)
    else:
        _believe(context, options.trust)
    if options.identity is not None:
        _present(context, options.identity)
    return context


def _present(context: SSL.Context, identity: Identity) -> None:
    leaf, *intermediates = identity.certificates
    try:
        context.use_certificate(leaf)
        context.use_privatekey(identity.private_key)
        for certificate in intermediates:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise PemError(
            f"the identity `{leaf.subject.rfc4514_string()}` cannot be used: "
            f"{openssl_reason(error)}",
            hint="OpenSSL refuses this certificate or key; a key of 2048 bits or more helps",
        ) from error


def _believe(context: SSL.Context, trust: Trust | bytes) -> None:
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _note_distrust)
    if not isinstance(trust, bytes):
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    if store is None:
        raise PemError("this OpenSSL context takes no trust bundle", hint="report this as a bug")
    # As Go does: an intermediate in the bundle is an anchor too.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for certificate in _bundle(trust):
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _bundle(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise PemError(
            "no certificate can be read from the trust bundle",
            hint="expected PEM blocks of `CERTIFICATE`",
        ) from error


def _note_distrust(
    connection: SSL.Connection, _certificate: object, error: int, _depth: int, fine: int
) -> bool:
    if not fine:
        connection.get_app_data().distrust = error
    return bool(fine)


def _watch(connection: SSL.Connection, where: int, code: int) -> None:
    """Note alerts and the two messages that OpenSSL's interface in Python does not show."""
    seen: Seen = connection.get_app_data()
    if where & SSL.SSL_CB_ALERT:
        if where & SSL.SSL_CB_READ and code & 0xFF != CLOSE_NOTIFY:
            seen.alert = alert_name(code & 0xFF)
    elif where & SSL.SSL_CB_LOOP:
        state = connection.get_state_string()
        seen.asked = seen.asked or state.endswith(b"read server certificate request")
        seen.ticket = seen.ticket or state.endswith(b"read server session ticket")


def openssl_reason(error: SSL.Error) -> str:
    """Return OpenSSL's own words for a failure."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    texts = [str(entry[-1]) for entry in reasons if entry[-1]]
    return ", ".join(texts) or "no reason given"
