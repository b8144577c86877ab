"""Makes the values of typed variables as `bosh` does: passwords, keys, certificates."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.pem import first_block, generate_rsa_key, pkcs1_pem
from bosh_interpolate.reading import Misfit, misfit_error
from bosh_interpolate.values import MOST_SIGNED, Key, Tree, octets, text_of
from bosh_interpolate.variables import Definition, UnknownVariable
from bosh_interpolate.writing import emit

PASSWORD_LENGTH = 20
KEY_BITS = 2048
LONGEST_PASSWORD = 1_000_000
_PASSWORD_ALPHABET = string.ascii_lowercase + string.digits


def generate_value(definition: Definition, by_name: Callable[[str], Tree]) -> Tree:
    """Return a new value of the type that the definition names.

    `by_name` returns the value of another variable: the authority of a certificate.
    """
    match definition.type:
        case "password":
            return _password(definition.options)
        case "ssh":
            return _ssh_key()
        case "rsa":
            return _rsa_key()
        case "certificate":
            return generate_certificate(definition.options, by_name)
        case _:
            raise ManifestError(f"Unsupported value type: {definition.type}")


def _password(options: Tree) -> str:
    length = check_options(options, {"length": "int"}, purpose="password").numbers["length"]
    if length < 0:
        raise ManifestError("Failed to generate password, 'length' param cannot be negative")
    if length > LONGEST_PASSWORD:
        raise ManifestError(f"Failed to generate password, longer than {LONGEST_PASSWORD:,}")
    return "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(length or PASSWORD_LENGTH))


def _rsa_key() -> Tree:
    key = generate_rsa_key(KEY_BITS)
    public = key.public_key()
    return {
        "private_key": pkcs1_pem(key),
        "public_key": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }


def _ssh_key() -> Tree:
    key = generate_rsa_key(KEY_BITS)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    # A fingerprint in the form that ssh-keygen had for long; MD5 protects nothing here.
    digest = hashlib.md5(base64.b64decode(line.split()[1]), usedforsecurity=False)
    return {
        "private_key": pkcs1_pem(key),
        "public_key": line.decode() + "\n",
        "public_key_fingerprint": digest.digest().hex(":"),
    }


# Certificates: RSA and SHA-256 throughout, as in `bosh`.

KEY_LENGTHS = (2048, 3072, 4096)
KEY_LENGTH = 3072
LIFETIME_DAYS = 365
LONGEST_LIFETIME_DAYS = 365 * 5000
SERIAL_LIMIT = 2**128
ORGANIZATION = "Cloud Foundry"

_OPTIONS: dict[str, FieldType] = {
    "common_name": "string",
    "organization": "string",
    "alternative_names": "[]string",
    "is_ca": "bool",
    "ca": "string",
    "extended_key_usage": "[]string",
    "duration": "int64",
    "key_length": "int",
}
_USAGES = {
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
}


class Extension(NamedTuple):
    """An extension of the certificate to come."""

    value: x509.ExtensionType
    critical: bool = False


class Issuer(NamedTuple):
    """An authority, with the key that signs."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def generate_certificate(options: Tree, by_name: Callable[[str], Tree]) -> Tree:
    """Return `certificate`, `private_key` and `ca` as PEM; `ca` is the direct issuer alone.

    A certificate with no `ca` option signs itself, and must be an authority. The validity begins
    now and is not cut to the issuer's.
    """
    fields = check_options(options, _OPTIONS, purpose="certificate")
    length = fields.numbers["key_length"] or KEY_LENGTH
    if length not in KEY_LENGTHS:
        choice = " ".join(map(str, KEY_LENGTHS))
        raise ManifestError(f"Invalid key_length: {length}.  Must be one of: [{choice}]")
    issuer = _issuer(fields.texts["ca"], by_name) if fields.texts["ca"] else None
    if issuer is None and not fields.flags["is_ca"]:
        raise ManifestError("Missing required CA name")
    extensions = tuple(_extensions(fields))
    key = generate_rsa_key(length)
    certificate = _signed(fields, key, issuer, extensions)
    return {
        "certificate": _pem(certificate),
        "private_key": pkcs1_pem(key),
        "ca": _pem(issuer.certificate if issuer else certificate),
    }


def _issuer(name: str, by_name: Callable[[str], Tree]) -> Issuer:
    try:
        return _read_issuer(by_name(name), name)
    except UnknownVariable:
        missing = ManifestError(f"Expected to find variable '{name}' with a certificate")
        raise ManifestError("Loading certificates", cause=missing) from None
    except ManifestError as error:
        raise ManifestError("Loading certificates", cause=error) from None


def _read_issuer(value: Tree, name: str) -> Issuer:
    fields = _credential(value, name)
    certificate = _read_certificate(text_of(fields.get("certificate")) or "")
    key = _read_key(text_of(fields.get("private_key")) or "")
    if certificate.public_key() != key.public_key():
        raise ManifestError(
            f"the private key of variable '{name}' does not belong to its certificate"
        )
    return Issuer(certificate, key)


def _credential(value: Tree, name: str) -> dict[Key, Tree]:
    fields = value if isinstance(value, dict) else {}
    misfits = [
        Misfit((field,), "string")
        for field in ("certificate", "private_key")
        if text_of(fields.get(field)) is None
    ]
    if value is not None and not isinstance(value, dict):
        misfits = [Misfit((), "opts.CertVal")]
    if misfits:
        problem = misfit_error(octets(emit(value)), misfits)
        raise ManifestError(f"Expected variable '{name}' to be deserializable", cause=problem)
    return fields


def _read_certificate(text: str) -> x509.Certificate:
    block = first_block(octets(text))
    if block is None:
        raise ManifestError("Certificate did not contain PEM formatted block")
    try:
        return x509.load_der_x509_certificate(block.content)
    except ValueError:
        problem = ManifestError("x509: malformed certificate")
        raise ManifestError("Parsing certificate", cause=problem) from None


def _read_key(text: str) -> rsa.RSAPrivateKey:
    block = first_block(octets(text))
    if block is None:
        raise ManifestError("Private key did not contain PEM formatted block")
    try:
        key = (
            load_der_private_key(block.content, None) if block.label == b"RSA PRIVATE KEY" else None
        )
    except (ValueError, TypeError):
        key = None
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    problem = ManifestError(
        "x509: failed to parse private key: only PKCS#1 is read (`RSA PRIVATE KEY`)"
    )
    raise ManifestError("Parsing private key", cause=problem)


def _signed(
    fields: Fields, key: rsa.RSAPrivateKey, issuer: Issuer | None, extensions: Sequence[Extension]
) -> x509.Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    days = min(max(fields.numbers["duration"], 0) or LIFETIME_DAYS, LONGEST_LIFETIME_DAYS)
    subject = _subject(fields)
    builder = (
        x509.CertificateBuilder()
        .serial_number(1 + secrets.randbelow(SERIAL_LIMIT - 1))
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .subject_name(subject)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
        .public_key(key.public_key())
    )
    for extension in (*extensions, *_key_ids(key.public_key(), issuer)):
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def _key_ids(key: rsa.RSAPublicKey, issuer: Issuer | None) -> Iterator[Extension]:
    own = _key_id(key)
    yield Extension(x509.SubjectKeyIdentifier(own))
    authority = _subject_key_id(issuer.certificate) if issuer else own
    if authority:
        yield Extension(x509.AuthorityKeyIdentifier(authority, None, None))


def _subject(fields: Fields) -> x509.Name:
    organization = fields.texts["organization"] or ORGANIZATION
    parts = [(NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, organization)]
    if fields.texts["common_name"]:
        parts.append((NameOID.COMMON_NAME, fields.texts["common_name"]))
    try:
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
    except ValueError as error:
        raise ManifestError(f"Generating certificate: {error}") from None


def _extensions(fields: Fields) -> Iterator[Extension]:
    is_ca = fields.flags["is_ca"]
    yield Extension(_key_usage(is_ca=is_ca), critical=True)
    if not is_ca:
        yield Extension(_extended_key_usage(fields.lists["extended_key_usage"]))
    yield Extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if not is_ca and fields.lists["alternative_names"]:
        yield Extension(_alternative_names(fields.lists["alternative_names"]))


def _extended_key_usage(names: tuple[str, ...]) -> x509.ExtendedKeyUsage:
    for name in names:
        if name not in _USAGES:
            raise ManifestError(f"Unsupported extended key usage value: {name}")
    return x509.ExtendedKeyUsage([_USAGES[name] for name in names or ("server_auth",)])


def _alternative_names(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    addresses: list[x509.GeneralName] = []
    hosts: list[x509.GeneralName] = []
    for name in names:
        try:
            addresses.append(x509.IPAddress(_address(name)))
        except ValueError:
            hosts.append(_host(name))
    # Go writes all host names first.
    return x509.SubjectAlternativeName([*hosts, *addresses])


def _host(name: str) -> x509.DNSName:
    try:
        return x509.DNSName(name)
    except ValueError:
        raise ManifestError(
            f'Generating certificate: x509: "{name}" cannot be encoded as an IA5String'
        ) from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address; one of version 4 in the clothes of version 6 becomes plain, as in Go."""
    if "%" in text:
        raise ValueError("zones are no part of an address")
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_encipherment=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: rsa.RSAPublicKey) -> bytes:
    """Return the SHA-1 of the modulus: `bosh` has its own idea of a key identifier."""
    modulus = key.public_numbers().n
    octets = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    return hashlib.sha1(octets, usedforsecurity=False).digest()


def _subject_key_id(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value.digest
    except x509.ExtensionNotFound:
        return b""


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


# Options of a definition, checked field by field as `bosh` checks them.

FieldType: TypeAlias = Literal["string", "bool", "int", "int64", "[]string"]


class Fields(NamedTuple):
    """Options that fit: a field that is not there has Go's zero value."""

    texts: Mapping[str, str]
    numbers: Mapping[str, int]
    flags: Mapping[str, bool]
    lists: Mapping[str, tuple[str, ...]]


def check_options(options: Tree, known: Mapping[str, FieldType], *, purpose: str) -> Fields:
    """Return the options; `ManifestError` for a field that is not known or does not fit."""
    try:
        return _check_fields(options, known)
    except ManifestError as error:
        raise ManifestError(
            f"Failed to generate {purpose}, parameters are invalid", cause=error
        ) from None


def _check_fields(options: Tree, known: Mapping[str, FieldType]) -> Fields:
    if options is not None and not isinstance(options, dict):
        raise _undeserializable(options, [Misfit((), "map[string]interface {}")])
    named = {text_of(key): value for key, value in (options or {}).items() if isinstance(key, str)}
    for name in sorted(str(key) for key in options or {}):
        if name not in known:
            raise ManifestError(f"Unsupported parameter '{name}'")
    fields = {name: named.get(name) for name in known}
    misfits = [
        misfit for name, value in fields.items() for misfit in _misfits(name, value, known[name])
    ]
    if misfits:
        raise _undeserializable(options, misfits)
    return Fields(
        texts={name: text_of(fields[name]) or "" for name in _of(known, "string")},
        numbers={name: _number(fields[name]) for name in _of(known, "int", "int64")},
        flags={name: fields[name] is True for name in _of(known, "bool")},
        lists={name: _texts(fields[name]) for name in _of(known, "[]string")},
    )


def _of(known: Mapping[str, FieldType], *types: FieldType) -> Iterator[str]:
    return (name for name, kind in known.items() if kind in types)


def _misfits(name: str, value: Tree, kind: FieldType) -> Iterator[Misfit]:
    if value is None:
        return
    if kind == "[]string" and isinstance(value, list):
        for place, item in enumerate(value):
            if text_of(item) is None:
                yield Misfit((name, place), "string")
    elif not _FITS[kind](value):
        yield Misfit((name,), kind)


def _fits_number(value: Tree) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value <= MOST_SIGNED


_FITS: dict[FieldType, Callable[[Tree], bool]] = {
    "string": lambda value: not isinstance(value, dict | list),
    "bool": lambda value: isinstance(value, bool),
    "int": _fits_number,
    "int64": _fits_number,
    "[]string": lambda value: isinstance(value, list),
}


def _number(value: Tree) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _texts(value: Tree) -> tuple[str, ...]:
    return tuple(text_of(item) or "" for item in value) if isinstance(value, list) else ()


def _undeserializable(options: Tree, misfits: list[Misfit]) -> ManifestError:
    cause = misfit_error(octets(emit(options)), misfits)
    return ManifestError("Expected input to be deserializable", cause=cause)
