"""TLS for an agent: makes of its credentials what Go would, and refuses what Go refuses."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import Any

from rollover.pki import gopem
from rollover_lab.bosh.agent.settings import CertKeyPair

_SERVER_NAME = re.compile(r"[a-zA-Z0-9*\-]*.nats.bosh-internal")
"""Of the server certificate's common name; the unescaped dots are the real agent's."""
_KEY = b"PRIVATE KEY"


class BadCredentials(Exception):
    """The process ends at once with these; says which, never what is in them."""


class WrongServer(Exception):
    """The server's certificate is trusted, but it is not that of a BOSH NATS."""


def client_context(credentials: CertKeyPair) -> ssl.SSLContext:
    """Return the context for connections with these credentials; raise `BadCredentials`.

    TLS 1.2 or later, chain and name of the server are verified. No CA at all means the
    system's; a CA that holds no certificate is refused (bosh-agent, mbus/nats_handler.go).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Go does: whatever is in the pool is an anchor, self-signed or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if credentials.ca:
        _trust(context, credentials.ca.encode())
    else:
        context.load_default_certs()
    _present(context, credentials)
    return context


def check_server(peer: ssl.SSLObject) -> None:
    """Raise `WrongServer` unless the common name is one of `*.nats.bosh-internal`."""
    certificate: Mapping[str, Any] = peer.getpeercert() or {}
    names = (pair for rdn in certificate.get("subject", ()) for pair in rdn)
    common = next((value for key, value in names if key == "commonName"), "")
    if not _SERVER_NAME.fullmatch(common):
        raise WrongServer("server Certificate CommonName does not match *.nats.bosh-internal")


def _trust(context: ssl.SSLContext, bundle: bytes) -> None:
    added = 0
    for certificate in gopem.certificates(bundle):
        try:
            context.load_verify_locations(cadata=certificate)
        except ssl.SSLError:
            continue  # AppendCertsFromPEM skips what it cannot parse
        added += 1
    if not added:
        raise BadCredentials("Failed to load Mbus CA cert")


def _present(context: ssl.SSLContext, credentials: CertKeyPair) -> None:
    chain = list(gopem.certificates(credentials.certificate.encode()))
    keys = [
        block
        for block in gopem.blocks(credentials.private_key.encode())
        if block.label.endswith(_KEY)
    ]
    if not chain or not keys:
        raise BadCredentials("failed to find any PEM data in certificate or key input")
    pem = "".join(ssl.DER_cert_to_PEM_cert(each) for each in chain)
    try:
        _load(context, f"{pem}{credentials.private_key.strip()}\n".encode())
    except (ssl.SSLError, ValueError):
        # The cause is left out: a parser's message may quote what it was given.
        raise BadCredentials("private key does not match public key, or cannot be read") from None


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Hand a chain and key to OpenSSL, which takes files only, without leaving one on a disk."""
    descriptor = os.memfd_create("mbus")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)
