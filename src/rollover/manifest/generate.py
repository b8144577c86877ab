"""Makes the values of typed variables: passwords, RSA and SSH keys, certificates."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rollover.manifest import certificates
from rollover.manifest.definitions import Definition
from rollover.manifest.keys import generate_rsa_key, pkcs1_pem
from rollover.manifest.parameters import checked
from rollover.manifest.trouble import ManifestError
from rollover.manifest.values import Tree

PASSWORD_LENGTH = 20
KEY_BITS = 2048
LONGEST_PASSWORD = 1_000_000
_ALPHABET = string.ascii_lowercase + string.digits


def generate(definition: Definition, by_name: Callable[[str], Tree]) -> Tree:
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
            return certificates.generate(definition.options, by_name)
        case _:
            raise ManifestError(f"Unsupported value type: {definition.type}")


def _password(options: Tree) -> str:
    length = checked(options, {"length": "int"}, purpose="password").numbers["length"]
    if length < 0:
        raise ManifestError("Failed to generate password, 'length' param cannot be negative")
    if length > LONGEST_PASSWORD:
        raise ManifestError(f"Failed to generate password, longer than {LONGEST_PASSWORD:,}")
    return "".join(secrets.choice(_ALPHABET) for _ in range(length or PASSWORD_LENGTH))


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
