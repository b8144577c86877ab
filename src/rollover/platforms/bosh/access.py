"""Where a director is and how to log in: from the fleet file and what the bosh CLI reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from rollover.codec.strict_yaml import Tree, load
from rollover.errors import SpecError
from rollover.fleet.description import DirectorDescription
from rollover.fleet.secret import SecretBytes, holds_private_key
from rollover.pki.pem import read_certificates, write_certificates

DIRECTOR_PORT = 25555
ENVIRONMENT, CLIENT, SECRET = "BOSH_ENVIRONMENT", "BOSH_CLIENT", "BOSH_CLIENT_SECRET"
CA_CERT, CONFIG, PROXY = "BOSH_CA_CERT", "BOSH_CONFIG", "BOSH_ALL_PROXY"
"""Variables of the bosh CLI that are read as it reads them."""
_SAVED = "~/.bosh/config"
_MOST_BYTES = 4 * 1024 * 1024
_PEM = "-----BEGIN"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """All that it takes to call a director."""

    url: str
    """`https://host:port`, nothing behind it."""
    client: str
    secret: SecretBytes
    ca: bytes | None = None
    """PEM of the CA certificates to believe; None: those of the operating system."""
    proxy: bool = False
    """The bosh CLI would go through a proxy here; Rollover goes straight."""

    @property
    def host(self) -> str:
        """The director's host, without brackets."""
        return urlsplit(self.url).hostname or ""


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that `bosh alias-env` or `bosh log-in` wrote down."""

    url: str = ""
    alias: str = ""
    ca_cert: str = ""
    username: str = ""
    password: str = ""


class _SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    environments: tuple[_Saved, ...] | None = None


def access_to(
    described: DirectorDescription, *, environment: Mapping[str, str], base: Path
) -> Access:
    """Return how to reach a described director; `SpecError` says what is missing, and where.

    What the description leaves open comes from `environment` (a process environment) under the
    names of the bosh CLI, then from the CLI's own file. Relative paths begin at `base`. An
    environment may be an alias of that file. The scheme is always https, as with the CLI.
    """
    saved = _saved(described.environment, environment)
    return Access(
        url=director_url(saved.url or described.environment),
        client=described.client,
        secret=_secret(described, saved, environment, base),
        ca=_ca(described.ca_cert or environment.get(CA_CERT) or saved.ca_cert, environment, base),
        proxy=bool(environment.get(PROXY)),
    )


def director_url(text: str) -> str:
    """Return `https://host:port` of what the bosh CLI takes for an environment: URL or host."""
    parts = urlsplit(f"//{text.strip().rpartition('://')[2]}")
    try:
        port, host = parts.port or DIRECTOR_PORT, parts.hostname
    except ValueError as error:
        raise _no_address(f"{error}") from None
    if parts.username is not None or parts.password is not None:
        raise _no_address("user and password do not belong into it")
    if not host or any(sign.isspace() for sign in host):
        raise _no_address("it names no host")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _no_address(message: str) -> SpecError:
    return SpecError(
        message,
        field="environment",
        hint=f"write `https://HOST:{DIRECTOR_PORT}` (`--environment`, ${ENVIRONMENT}, or "
        "`environment` in the fleet file)",
    )


def _secret(
    described: DirectorDescription, saved: _Saved, environment: Mapping[str, str], base: Path
) -> SecretBytes:
    if described.client_secret_file is not None:
        path = _path(described.client_secret_file, environment, base)
        secret = _read(path, field="client_secret_file").removesuffix(b"\n").removesuffix(b"\r")
    else:
        secret = environment.get(SECRET, "").encode()
        if not secret and saved.username == described.client:
            secret = saved.password.encode()
    if not secret:
        raise SpecError(
            f"there is no secret of the client `{described.client}`",
            field="client_secret_file",
            hint=f"set ${SECRET}, or name a file of mode 0600 with `--client-secret-file` or "
            "`client_secret_file`",
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
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            field=field,
            hint="look at the path and its permissions",
        ) from None
    if len(data) > _MOST_BYTES:
        raise SpecError(
            f"more than {_MOST_BYTES:,} bytes",
            place=str(path),
            field=field,
            hint="name the right file",
        )
    return data


def _saved(named: str, environment: Mapping[str, str]) -> _Saved:
    """Return what the CLI's file says of an alias or a URL; nothing when it does not know it."""
    path = _path(environment.get(CONFIG) or _SAVED, environment, Path.cwd())
    if not path.is_file():
        return _Saved()
    document = load(_read(path, field=CONFIG) or b"{}", place=str(path))
    return next(_matching(named, _environments(document.value, path)), _Saved())


def _environments(value: Tree, path: Path) -> tuple[_Saved, ...]:
    try:
        return msgspec.convert(value, _SavedFile, strict=False).environments or ()
    except msgspec.ValidationError:
        # The library's own message may quote a value, and passwords stand in this file.
        raise SpecError(
            "this is no configuration of the bosh CLI",
            place=str(path),
            hint="`bosh alias-env` writes one; name another with $BOSH_CONFIG",
        ) from None


def _matching(named: str, saved: tuple[_Saved, ...]) -> Iterator[_Saved]:
    yield from (each for each in saved if named in (each.url, each.alias))
    yield from (each for each in saved if each.url and _same(each.url, named))


def _same(one: str, other: str) -> bool:
    try:
        return director_url(one) == director_url(other)
    except SpecError:
        return False
