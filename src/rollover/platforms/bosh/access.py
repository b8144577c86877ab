"""Where a director is and how to log in: from the fleet file and what the bosh CLI reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rollover.errors import SpecError
from rollover.files import TooLarge, read_bounded
from rollover.fleet.description import DirectorDescription
from rollover.fleet.secret import SecretBytes, holds_private_key
from rollover.pki.pem import read_certificates, write_certificates
from rollover.platforms.bosh import saved_login
from rollover.platforms.bosh.address import director_url
from rollover.platforms.bosh.saved_login import Login, Saved

CLIENT, SECRET = "BOSH_CLIENT", "BOSH_CLIENT_SECRET"
CA_CERT, PROXY = "BOSH_CA_CERT", "BOSH_ALL_PROXY"
"""Variables of the bosh CLI that are read as it reads them."""
DEFAULT_CLIENT = "admin"
"""Of a director without a UAA, as bosh-deployment makes it."""
_MOST_BYTES = 4 * 1024 * 1024
_PEM = "-----BEGIN"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """All that it takes to call a director."""

    url: str
    """`https://host:port`, nothing behind it."""
    client: str
    """A user, or a client of a UAA; empty: the user of `login`."""
    secret: SecretBytes
    login: Login | None = None
    """Of a user at a UAA, as `bosh log-in` saved it."""
    ca: bytes | None = None
    """PEM of the CA certificates to believe; None: those of the operating system."""
    proxy: bool = False
    """The bosh CLI would go through a proxy here; Rollover goes straight."""

    @property
    def host(self) -> str:
        """The director's host, without brackets."""
        return urlsplit(self.url).hostname or ""


def access_to(
    described: DirectorDescription, *, environment: Mapping[str, str], base: Path
) -> Access:
    """Return how to reach a described director; `SpecError` says what is missing, and where.

    What the description leaves open comes from `environment` (a process environment) under the
    names of the bosh CLI, then from the CLI's own file. Relative paths begin at `base`. An
    environment may be an alias of that file. The scheme is always https, as with the CLI.
    """
    path = saved_login.place(environment)
    entries = saved_login.read(path)
    url = saved_login.resolved(described.environment, entries)
    saved = saved_login.credentials_of(url, entries)
    client = _client(described, saved, environment)
    return Access(
        url=director_url(url),
        client=client,
        secret=_secret(client, described, saved, environment=environment, base=base),
        login=None if client else Login(path=path, environment=url),
        ca=_ca(described.ca_cert or environment.get(CA_CERT) or saved.ca_cert, environment, base),
        proxy=bool(environment.get(PROXY)),
    )


def _client(described: DirectorDescription, saved: Saved, environment: Mapping[str, str]) -> str:
    """Return the user or UAA client; empty: the user of a UAA whose login is saved.

    As with the CLI, who is named goes before who logged in.
    """
    named = described.client or environment.get(CLIENT)
    if named:
        return named
    if saved.username:
        return saved.username
    logged_in = saved.refresh_token.reveal() and described.client_secret_file is None
    return "" if logged_in else DEFAULT_CLIENT


def _secret(
    client: str,
    described: DirectorDescription,
    saved: Saved,
    *,
    environment: Mapping[str, str],
    base: Path,
) -> SecretBytes:
    if not client:
        return SecretBytes(b"")
    if described.client_secret_file is not None:
        path = _path(described.client_secret_file, environment, base)
        secret = _read(path, field="client_secret_file").removesuffix(b"\n").removesuffix(b"\r")
    else:
        secret = environment.get(SECRET, "").encode()
        if not secret and saved.username == client:
            secret = saved.password.reveal()
    if not secret:
        raise SpecError(
            f"there is no secret of the client `{client}`",
            field="client_secret_file",
            hint=f"set ${SECRET}, or name a file of mode 0600 with `--client-secret-file` or "
            "`client_secret_file`; or log in with `bosh log-in`",
        )
    return SecretBytes(secret)


def _ca(given: str, environment: Mapping[str, str], base: Path) -> bytes | None:
    """Return PEM of what is given as the bosh CLI takes it, a path or the text itself."""
    if not given:
        return None
    if _PEM in given:
        place, data = "the CA certificate that is given as text", given.encode()
    else:
        path = _path(given, environment, base)
        place, data = str(path), _read(path, field="ca_cert")
    if holds_private_key(data):
        raise SpecError(
            "a private key stands beside the CA certificate",
            place=place,
            field="ca_cert",
            hint="name a file that holds the certificate alone",
        )
    return write_certificates(read_certificates(data, place=place).certificates)


def _path(named: str, environment: Mapping[str, str], base: Path) -> Path:
    home = environment.get("HOME", "")
    if home and (named == "~" or named.startswith("~/")):
        return Path(home, named[2:])
    return base / named


def _read(path: Path, *, field: str) -> bytes:
    try:
        return read_bounded(path, limit=_MOST_BYTES)
    except TooLarge as error:
        raise SpecError(
            error.strerror, place=str(path), field=field, hint="name the right file"
        ) from None
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            field=field,
            hint="look at the path and its permissions",
        ) from None
