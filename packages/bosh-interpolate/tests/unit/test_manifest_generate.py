"""Generated values: what `bosh` makes of each type, field by field, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.hazmat.primitives.serialization.ssh import load_ssh_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bosh_interpolate import ManifestError, MemoryStore, interpolate
from bosh_interpolate.pem import generate_rsa_key, pkcs1_pem
from bosh_interpolate.values import Tree, Variables

DEFINITIONS = [
    {
        "name": "root",
        "type": "certificate",
        "options": {"is_ca": True, "common_name": "root", "key_length": 2048},
    },
    {
        "name": "middle",
        "type": "certificate",
        "options": {
            "is_ca": True,
            "ca": "root",
            "common_name": "middle",
            "organization": "Acme",
            "duration": 30,
            "key_length": 2048,
        },
    },
    {
        "name": "leaf",
        "type": "certificate",
        "options": {
            "ca": "middle",
            "common_name": "leaf",
            "key_length": 2048,
            "duration": 900,
            "alternative_names": ["10.0.0.1", "a.b", "::1", "*.c", "::ffff:10.0.0.2", "10.0.0.01"],
            "extended_key_usage": ["client_auth", "server_auth"],
        },
    },
    {"name": "plain", "type": "certificate", "options": {"ca": "root", "key_length": 2048}},
]


def generated(definitions: object, variables: Variables | None = None) -> dict[str, Tree]:
    """Return the store after the definitions were made."""
    store = MemoryStore()
    template = json.dumps({"variables": definitions}).encode()
    interpolate(template, store=store, variables=variables)
    return dict(store.variables())


def part(value: Tree, name: str) -> str:
    """Return one field of a value."""
    assert isinstance(value, dict)
    found = value[name]
    assert isinstance(found, str)
    return found


def certificate(value: Tree) -> x509.Certificate:
    """Return the certificate of a value."""
    return x509.load_pem_x509_certificate(part(value, "certificate").encode())


@pytest.fixture(scope="module")
def store() -> dict[str, Tree]:
    """Return a root, an intermediate and two leaves."""
    return generated(DEFINITIONS)


def modulus_digest(found: x509.Certificate) -> bytes:
    """Return the SHA-1 of the modulus, in as few octets as it needs."""
    key = found.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    modulus = key.public_numbers().n
    octets = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    return hashlib.sha1(octets, usedforsecurity=False).digest()


def issuer_key_id(found: x509.Certificate) -> bytes | None:
    """Return what the certificate says of its issuer's key."""
    extension = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return extension.value.key_identifier


def test_what_every_certificate_has_in_common(store: dict[str, Tree]) -> None:
    """PEM that ends its lines, PKCS#1, RSA and SHA-256, no back-dating, its own key identifier."""
    for value in store.values():
        found = certificate(value)
        assert all(part(value, name).endswith("-----\n") for name in ("certificate", "ca"))
        assert part(value, "private_key").startswith("-----BEGIN RSA PRIVATE KEY-----\n")
        key = load_pem_private_key(part(value, "private_key").encode(), None)
        assert key.public_key() == found.public_key()
        assert isinstance(found.signature_hash_algorithm, hashes.SHA256)
        assert 0 < found.serial_number < 2**128
        age = datetime.now(UTC) - found.not_valid_before_utc
        assert timedelta(0) <= age < timedelta(minutes=5)
        own = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert own.value.digest == modulus_digest(found)
        assert [
            item.critical
            for item in found.extensions
            if item.oid.dotted_string in ("2.5.29.15", "2.5.29.19")
        ] == [True, True]


def test_an_authority(store: dict[str, Tree]) -> None:
    """It signs certificates and lists, has no path length and no names; a root is its own."""
    root = certificate(store["root"])
    assert part(store["root"], "ca") == part(store["root"], "certificate")
    assert root.not_valid_after_utc - root.not_valid_before_utc == timedelta(days=365)
    assert [item.rfc4514_string() for item in root.subject.rdns] == [
        "C=US",
        "O=Cloud Foundry",
        "CN=root",
    ]
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, None)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert len(root.extensions) == 4
    assert issuer_key_id(root) == modulus_digest(root)


def test_a_chain(store: dict[str, Tree]) -> None:
    """Each verifies under its issuer; `ca` is the direct issuer alone."""
    for below, above in (("middle", "root"), ("leaf", "middle"), ("plain", "root")):
        certificate(store[below]).verify_directly_issued_by(certificate(store[above]))
        assert part(store[below], "ca") == part(store[above], "certificate")
        assert issuer_key_id(certificate(store[below])) == modulus_digest(certificate(store[above]))
    middle = certificate(store["middle"])
    assert middle.not_valid_after_utc - middle.not_valid_before_utc == timedelta(days=30)
    assert middle.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "Acme"


def test_a_leaf(store: dict[str, Tree]) -> None:
    """Names by their form, usages as listed, and a validity that may outlive its authority's."""
    leaf = certificate(store["leaf"])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.b", "*.c", "10.0.0.01"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ip_address(text) for text in ("10.0.0.1", "::1", "10.0.0.2")
    ]
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    ]
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (
        True,
        True,
        False,
    )
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc > certificate(store["middle"]).not_valid_after_utc


def test_a_leaf_without_options(store: dict[str, Tree]) -> None:
    """For servers, with no names at all."""
    plain = certificate(store["plain"])
    assert list(plain.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    with pytest.raises(x509.ExtensionNotFound):
        plain.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_key_has_3072_bits_unless_something_else_is_asked_for() -> None:
    """The default is the one of `bosh`."""
    options: Tree = {"is_ca": True}
    found = generated([{"name": "a", "type": "certificate", "options": options}])
    key = certificate(found["a"]).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072


def test_passwords() -> None:
    """Twenty small letters and digits, or as many as asked for; never two alike."""
    found = generated(
        [
            {"name": "a", "type": "password"},
            {"name": "b", "type": "password"},
            {"name": "c", "type": "password", "options": {"length": 33}},
            {"name": "d", "type": "password", "options": {"length": 0}},
        ]
    )
    lengths = [len(value) for value in found.values() if isinstance(value, str)]
    assert lengths == [20, 20, 33, 20]
    assert all(re.fullmatch("[a-z0-9]+", str(value)) for value in found.values())
    assert found["a"] != found["b"]


def test_an_rsa_key() -> None:
    """PKCS#1 and SPKI, 2048 bits; options are not looked at."""
    value = generated([{"name": "k", "type": "rsa", "options": {"any": 1}}])["k"]
    private = load_pem_private_key(part(value, "private_key").encode(), None)
    public = load_pem_public_key(part(value, "public_key").encode())
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 2048
    assert private.public_key() == public
    assert part(value, "public_key").startswith("-----BEGIN PUBLIC KEY-----\n")


def test_an_ssh_key() -> None:
    """One line without a comment, and the MD5 of the key with colons."""
    value = generated([{"name": "k", "type": "ssh"}])["k"]
    private = load_pem_private_key(part(value, "private_key").encode(), None)
    line = part(value, "public_key")
    assert line.startswith("ssh-rsa ")
    assert line.endswith("\n")
    assert line.count(" ") == 1
    assert load_ssh_public_key(line.encode()) == private.public_key()
    assert re.fullmatch("([0-9a-f]{2}:){15}[0-9a-f]{2}", part(value, "public_key_fingerprint"))


PARAMETERS = "Failed to generate certificate, parameters are invalid: "
LOADING = "Loading certificates: "


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Missing required CA name"),
        (None, "Missing required CA name"),
        ({"key_usage": []}, PARAMETERS + "Unsupported parameter 'key_usage'"),
        (
            {"key_length": 1024},
            "Invalid key_length: 1024.  Must be one of: [2048 3072 4096]",
        ),
        ({"ca": "nope"}, LOADING + "Expected to find variable 'nope' with a certificate"),
        (
            {"ca": "good", "extended_key_usage": ["x"]},
            "Unsupported extended key usage value: x",
        ),
        (
            {"ca": "text"},
            LOADING + "Expected variable 'text' to be deserializable: yaml: unmarshal errors:\n"
            "  line 1: cannot unmarshal !!str `text` into opts.CertVal",
        ),
        ({"ca": "empty"}, LOADING + "Certificate did not contain PEM formatted block"),
        ({"ca": "keyless"}, LOADING + "Private key did not contain PEM formatted block"),
        (
            {"ca": "pkcs8"},
            LOADING + "Parsing private key: x509: failed to parse private key: only PKCS#1 is "
            "read (`RSA PRIVATE KEY`)",
        ),
        (
            {"ca": "mixed"},
            LOADING + "the private key of variable 'mixed' does not belong to its certificate",
        ),
        (
            {"is_ca": "true"},
            PARAMETERS + "Expected input to be deserializable: yaml: unmarshal errors:\n"
            "  line 1: cannot unmarshal !!str `true` into bool",
        ),
        (
            {"alternative_names": "x"},
            PARAMETERS + "Expected input to be deserializable: yaml: unmarshal errors:\n"
            "  line 1: cannot unmarshal !!str `x` into []string",
        ),
        (
            [1],
            PARAMETERS + "Expected input to be deserializable: yaml: unmarshal errors:\n"
            "  line 1: cannot unmarshal !!seq into map[string]interface {}",
        ),
    ],
)
def test_certificates_that_cannot_be_made(
    options: Tree, message: str, store: dict[str, Tree]
) -> None:
    """Refused before a key is made, in the words of `bosh`, under where it happened."""
    root = store["root"]
    foreign = generate_rsa_key(2048)
    pkcs8 = foreign.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    text = part(root, "certificate")
    variables: Variables = {
        "good": root,
        "text": "text",
        "empty": {},
        "keyless": {"certificate": text},
        "pkcs8": {"certificate": text, "private_key": pkcs8},
        "mixed": {
            "certificate": text,
            "private_key": pkcs1_pem(foreign),
        },
    }
    with pytest.raises(ManifestError) as caught:
        generated([{"name": "l", "type": "certificate", "options": options}], variables)
    assert str(caught.value) == (
        "Getting all variables from variable definitions sections: "
        f"Generating variable 'l': {message}"
    )
    assert "PRIVATE KEY-----" not in caught.value.report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "Failed to generate password, 'length' param cannot be negative"),
        (
            {"len": 1},
            "Failed to generate password, parameters are invalid: Unsupported parameter 'len'",
        ),
        ({"length": 10**9}, "Failed to generate password, longer than 1,000,000"),
    ],
)
def test_passwords_that_cannot_be_made(options: Tree, message: str) -> None:
    """Refused with the reason."""
    with pytest.raises(ManifestError) as caught:
        generated([{"name": "p", "type": "password", "options": options}])
    assert str(caught.value).endswith(f"Generating variable 'p': {message}")


def test_a_type_that_nobody_knows() -> None:
    """What was made before stays in the store."""
    memory = MemoryStore()
    definitions = [{"name": "a", "type": "password"}, {"name": "b", "type": "user"}]
    with pytest.raises(ManifestError) as caught:
        interpolate(json.dumps({"variables": definitions}).encode(), store=memory)
    assert caught.value.report() == (
        "Getting all variables from variable definitions sections:\n"
        "  Generating variable 'b':\n"
        "    Unsupported value type: user"
    )
    assert list(memory.variables()) == ["a"]
