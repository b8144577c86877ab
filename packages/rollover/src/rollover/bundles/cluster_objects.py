"""A bundle, and perhaps a certificate with its key, as an object of Kubernetes. Pure."""

from __future__ import annotations

from rollover.errors import PemError, SpecError
from rollover.fleet.secret import SecretBytes
from rollover.kubernetes.objects import (
    AUTHORITY,
    BUNDLE,
    CERTIFICATE,
    KEY,
    LABELS,
    TLS_TYPE,
    ObjectKind,
    ObjectRef,
    Stored,
)
from rollover.pki.keys import from_pem
from rollover.pki.pem import read_certificates


def bundle_object(
    ref: ObjectRef,
    bundle: bytes,
    *,
    certificate: bytes | None = None,
    key: SecretBytes | None = None,
) -> Stored:
    """Return the object: `ca.crt` and `cabundle.pem`, in a Secret also `tls.crt` and `tls.key`.

    Raises `SpecError` for one of the pair without the other, for a key in a ConfigMap, and
    `PemError` when they do not belong together.
    """
    data = {AUTHORITY: SecretBytes(bundle), BUNDLE: SecretBytes(bundle)}
    if (certificate is None) != (key is None):
        raise SpecError(
            "a certificate needs its key, and a key its certificate",
            hint="give both `--cert-file` and `--key-file`, or neither",
        )
    if certificate is None or key is None:
        return Stored(ref=ref, data=data, labels=LABELS)
    if ref.kind is ObjectKind.CONFIG_MAP:
        raise SpecError(
            "a private key does not belong into a ConfigMap", hint="use `--kubernetes secret`"
        )
    _check_pair(certificate, key)
    pair = {CERTIFICATE: SecretBytes(certificate), KEY: key}
    return Stored(ref=ref, data={**data, **pair}, labels=LABELS, type=TLS_TYPE)


def _check_pair(certificate: bytes, key: SecretBytes) -> None:
    leaf = read_certificates(certificate, place=CERTIFICATE).certificates[0]
    if from_pem(key.reveal(), place=KEY).key_identity != leaf.key_identity:
        raise PemError(
            f"the key is not that of `{leaf.subject}`",
            place=KEY,
            hint="give the key that this certificate was issued for, the leaf first in its file",
        )
