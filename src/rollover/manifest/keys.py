"""RSA keys as `bosh` makes and writes them: PKCS#1 in PEM."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PUBLIC_EXPONENT = 65537


def generate_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return a new random key. It takes 60 to 700 ms and leaves other threads running."""
    return rsa.generate_private_key(PUBLIC_EXPONENT, bits)


def pkcs1_pem(key: rsa.RSAPrivateKey) -> str:
    """Return the key as unencrypted PEM, `BEGIN RSA PRIVATE KEY`."""
    layout = PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, layout, NoEncryption()).decode()
