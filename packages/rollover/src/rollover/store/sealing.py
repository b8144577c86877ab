"""Seals private keys with AES-256-GCM, so that a row opens only with its key and in its place.

The id of the sealing key, the certificate's name and the version's number are bound as additional
data (NIST SP 800-38D §5.2.1.1): a row that was moved to another name or number does not open.
Nonces are 96 random bits; SP 800-38D §8.3 allows 2**32 seals under one key that way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rollover import files
from rollover.errors import StoreError
from rollover.files import TooLarge, read_bounded
from rollover.fleet.secret import SecretBytes

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_CONTEXT: Final = b"rollover private key v1"
_LARGEST_KEY_FILE: Final = 64 * 1024


class SealingKey(msgspec.Struct, frozen=True, kw_only=True):
    """A master key and the id that stands beside what it sealed."""

    id: str
    value: SecretBytes


class SealingKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The master keys that are known: the first seals, all of them open."""

    keys: tuple[SealingKey, ...]

    @property
    def current(self) -> SealingKey:
        """The key that seals from now on."""
        return self.keys[0]


class Sealed(NamedTuple):
    """A sealed private key, as it is stored."""

    key_id: str
    nonce: bytes
    sealed: bytes


def keys_from_file(path: Path) -> SealingKeys:
    """Read the master keys from a 0600 file, made with a fresh key (directory 0700) if missing.

    The file holds one key of 32 bytes in base64 on a line; the first seals. Any other mode, owner
    or content is a `StoreError` with the remedy.
    """
    # Two processes may both come here: `make_private_file` keeps the key of the first.
    if not path.exists():
        files.make_private_directory(path.parent)
        files.make_private_file(path, _line(secrets.token_bytes(KEY_BYTES)))
    return keys_from_text(_read(path).decode("latin-1"), source=f"`{path}`")


def keys_from_text(text: str, *, source: str) -> SealingKeys:
    """Read master keys, base64 and separated by white space; `source` is named in errors."""
    keys = tuple(_key(word, source=source) for word in text.split())
    if not keys:
        raise StoreError(
            f"{source} holds no sealing key",
            hint="put in 32 random bytes in base64, or put back a backup of the file",
        )
    return SealingKeys(keys=keys)


def add_key(path: Path) -> SealingKeys:
    """Put a fresh master key before those of the file; then `reseal` the store.

    The older keys stay in the file until nothing is sealed with them any more.
    """
    kept = _read(path)
    files.replace_private_file(path, _line(secrets.token_bytes(KEY_BYTES)) + kept)
    return keys_from_file(path)


def seal(keys: SealingKeys, secret: SecretBytes, *, name: str, number: int) -> Sealed:
    """Seal a private key for one certificate version."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 -- 20 ms of import

    key = keys.current
    nonce = secrets.token_bytes(NONCE_BYTES)
    bound = _bound(key.id, name=name, number=number)
    return Sealed(key.id, nonce, AESGCM(key.value.reveal()).encrypt(nonce, secret.reveal(), bound))


def unseal(keys: SealingKeys, sealed: Sealed, *, name: str, number: int) -> SecretBytes:
    """Open a sealed private key; `StoreError` when it, its name or its number was changed."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 -- as above

    known = {key.id: key for key in keys.keys}
    if sealed.key_id not in known:
        raise StoreError(
            f"the private key of `{name}` version {number} is sealed with master key "
            f"`{sealed.key_id}`, which is not among those known ({', '.join(known)})",
            hint="add the older master key to the key file, behind the first line",
        )
    bound = _bound(sealed.key_id, name=name, number=number)
    try:
        opened = AESGCM(known[sealed.key_id].value.reveal()).decrypt(
            sealed.nonce, sealed.sealed, bound
        )
    except (InvalidTag, ValueError):
        raise StoreError(
            f"the private key of `{name}` version {number} does not open: the row was changed or "
            "moved",
            hint="put back a backup of the store, or issue the certificate again",
        ) from None
    return SecretBytes(opened)


def _bound(key_id: str, *, name: str, number: int) -> bytes:
    """Return the additional data; lengths first, so that no two triples read the same."""
    parts = (_CONTEXT, key_id.encode(), name.encode(), str(number).encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _key(word: str, *, source: str) -> SealingKey:
    try:
        value = base64.b64decode(word, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != KEY_BYTES:
        raise StoreError(
            f"{source} holds something that is not a sealing key of {KEY_BYTES} bytes in base64",
            hint="put back a backup of the key; without it the sealed private keys are lost",
        )
    identity = hashlib.sha256(b"rollover sealing key id" + value).hexdigest()[:16]
    return SealingKey(id=identity, value=SecretBytes(value))


def _line(value: bytes) -> bytes:
    return base64.b64encode(value) + b"\n"


def _read(path: Path) -> bytes:
    files.check_private_file(path)
    try:
        # Never a part of it: `add_key` writes back what it read.
        return read_bounded(path, limit=_LARGEST_KEY_FILE)
    except TooLarge:
        raise StoreError(
            f"`{path}` has more than {_LARGEST_KEY_FILE} bytes",
            hint="keep one line for each sealing key that is still needed",
        ) from None
    except OSError as error:
        raise files.unusable_file(path, error) from None
