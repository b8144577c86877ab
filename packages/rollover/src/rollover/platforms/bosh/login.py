"""Where a director is and how to log in: the fleet file, what the bosh CLI keeps, and a UAA.

`bosh alias-env` and `bosh log-in` write the CLI's file. Rollover reads it, and writes one thing: a
refresh token that the UAA has replaced by using it, without which the next `bosh` would be logged
out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from urllib.parse import urlencode, urlsplit

import msgspec

from bosh_interpolate import emit
from bosh_interpolate.errors import ManifestError
from bosh_interpolate.reading import load
from bosh_interpolate.values import Key, Tree
from rollover import files
from rollover.errors import Denied, Rejected, SpecError
from rollover.files import TooLarge, read_bounded, read_start
from rollover.fleet.description import DirectorDescription
from rollover.fleet.secret import SecretBytes, holds_private_key
from rollover.pki.pem import read_certificates, write_certificates
from rollover.platforms.bosh.director_http import HttpRequest, HttpResponse, HttpServer
from rollover.platforms.bosh.nats_properties import DIRECTOR_PORT, NATS_PORT

ENVIRONMENT_VARIABLE = "BOSH_ENVIRONMENT"


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


def nats_address(described: DirectorDescription) -> str:
    """Return `host:port` at which agents reach the director's NATS."""
    if described.nats is not None:
        return described.nats
    host = urlsplit(director_url(described.environment)).netloc.rpartition(":")[0]
    return f"{host}:{NATS_PORT}"


def _no_address(message: str) -> SpecError:
    return SpecError(
        message,
        field="environment",
        hint=f"write `https://HOST:{DIRECTOR_PORT}` (`--environment`, ${ENVIRONMENT_VARIABLE}, or "
        "`environment` in the fleet file)",
    )


# The file in which the bosh CLI keeps environments, their CAs, and who logged in to them.


CONFIG_VARIABLE = "BOSH_CONFIG"
DEFAULT_CONFIG = "~/.bosh/config"
MOST_CONFIG_BYTES = 4 * 1024 * 1024


class SavedEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """One environment of the file: where it is, and how somebody logged in to it.

    `username` and `password`, or, for a user of a UAA, the three parts of a token.
    """

    url: str = ""
    alias: str = ""
    ca_cert: str = ""
    username: str = ""
    password: SecretBytes = SecretBytes(b"")
    access_token_type: str = ""
    access_token: SecretBytes = SecretBytes(b"")
    refresh_token: SecretBytes = SecretBytes(b"")


class SavedLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A user's login at a UAA, as it stands in the file: read anew whenever it is needed.

    `environment` is the URL as the file has it. Other commands may use the login meanwhile.
    """

    path: Path
    environment: str

    def now(self) -> SavedEnvironment:
        """Return what the file says now; empty when the login is gone."""
        return saved_environment(self.environment, read_config(self.path))

    def keep(self, former: SecretBytes, saved: SavedEnvironment) -> None:
        """Write a token down in place of the one that was used for it; all else stays.

        Where another command was faster, its token stays. Raises `OSError` and `SpecError`.
        """
        tree = _read_tree(self.path)
        for entry in _entries(tree, self.path):
            if self.environment in (entry.get("url"), entry.get("alias")):
                if entry.get("refresh_token") != former.reveal().decode():
                    return
                entry["access_token_type"] = saved.access_token_type
                entry["access_token"] = saved.access_token.reveal().decode()
                entry["refresh_token"] = saved.refresh_token.reveal().decode()
                content = emit(tree).encode()
                files.atomic_write(self.path.resolve(), content, mode=0o600, durable=True)
                return


def config_place(environment: Mapping[str, str]) -> Path:
    """Return where the file is, as the CLI finds it: `$BOSH_CONFIG`, or in the home directory."""
    return _located(environment.get(CONFIG_VARIABLE) or DEFAULT_CONFIG, environment, Path.cwd())


def read_config(path: Path) -> tuple[SavedEnvironment, ...]:
    """Return the environments of the file, none where there is no file; `SpecError` if broken."""
    return tuple(_read_entry(entry) for entry in _entries(_read_tree(path), path))


def resolve_alias(named: str, saved: tuple[SavedEnvironment, ...]) -> str:
    """Return the URL of an alias; anything else, as it is (`FSConfig.ResolveEnvironment`)."""
    found = next(
        (environment for environment in saved if named in (environment.url, environment.alias)),
        None,
    )
    return found.url if found is not None and found.url else named


def saved_environment(url: str, saved: tuple[SavedEnvironment, ...]) -> SavedEnvironment:
    """Return what is saved for a URL: the first entry that has it, as the CLI takes it.

    An entry that writes the same address in another way counts when there is none.
    """
    exact = (environment for environment in saved if url in (environment.url, environment.alias))
    alike = (
        environment
        for environment in saved
        if environment.url and _same_address(environment.url, url)
    )
    return next(exact, None) or next(alike, None) or SavedEnvironment()


def _same_address(one: str, other: str) -> bool:
    try:
        return director_url(one) == director_url(other)
    except SpecError:
        return False


def _read_tree(path: Path) -> Tree:
    if not path.is_file():
        return {}
    try:
        data = read_start(path, size=MOST_CONFIG_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            field=CONFIG_VARIABLE,
            hint="look at the path and its permissions",
        ) from None
    try:
        tree = load(data) if len(data) <= MOST_CONFIG_BYTES else None
    except ManifestError:
        # The reader's own message may quote a value, and passwords stand in this file.
        tree = None
    if not isinstance(tree, dict) and data.strip():
        raise _no_configuration(path)
    return tree


def _no_configuration(path: Path) -> SpecError:
    return SpecError(
        "this is no configuration of the bosh CLI",
        place=str(path),
        hint=f"`bosh alias-env` writes one; name another with ${CONFIG_VARIABLE}",
    )


def _entries(tree: Tree, path: Path) -> Iterator[dict[Key, Tree]]:
    listed = tree.get("environments") if isinstance(tree, dict) else None
    for record in listed if isinstance(listed, list) else [listed] if listed is not None else []:
        if not isinstance(record, dict):
            raise _no_configuration(path)
        yield record


def _read_entry(entry: Mapping[Key, Tree]) -> SavedEnvironment:
    return SavedEnvironment(
        url=_entry_text(entry, "url"),
        alias=_entry_text(entry, "alias"),
        ca_cert=_entry_text(entry, "ca_cert"),
        username=_entry_text(entry, "username"),
        password=_entry_secret(entry, "password"),
        access_token_type=_entry_text(entry, "access_token_type"),
        access_token=_entry_secret(entry, "access_token"),
        refresh_token=_entry_secret(entry, "refresh_token"),
    )


def _entry_secret(entry: Mapping[Key, Tree], field: str) -> SecretBytes:
    return SecretBytes(_entry_text(entry, field).encode())


def _entry_text(entry: Mapping[Key, Tree], field: str) -> str:
    value = entry.get(field)
    return "" if value is None else str(value)


# The access that follows from the fleet file, the environment and that file.


CLIENT, SECRET = "BOSH_CLIENT", "BOSH_CLIENT_SECRET"
CA_CERT, PROXY = "BOSH_CA_CERT", "BOSH_ALL_PROXY"
"""Variables of the bosh CLI that are read as it reads them."""
DEFAULT_CLIENT = "admin"
"""Of a director without a UAA, as bosh-deployment makes it."""
_MOST_FILE_BYTES = 4 * 1024 * 1024
_PEM = "-----BEGIN"


class DirectorAccess(msgspec.Struct, frozen=True, kw_only=True):
    """All that it takes to call a director."""

    url: str
    """`https://host:port`, nothing behind it."""
    client: str
    """A user, or a client of a UAA; empty: the user of `login`."""
    secret: SecretBytes
    login: SavedLogin | None = None
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
) -> DirectorAccess:
    """Return how to reach a described director; `SpecError` says what is missing, and where.

    What the description leaves open comes from `environment` (a process environment) under the
    names of the bosh CLI, then from the CLI's own file. Relative paths begin at `base`. An
    environment may be an alias of that file. The scheme is always https, as with the CLI.
    """
    path = config_place(environment)
    entries = read_config(path)
    url = resolve_alias(described.environment, entries)
    saved = saved_environment(url, entries)
    client = _choose_client(described, saved, environment)
    return DirectorAccess(
        url=director_url(url),
        client=client,
        secret=_find_secret(client, described, saved, environment=environment, base=base),
        login=None if client else SavedLogin(path=path, environment=url),
        ca=_read_ca(
            described.ca_cert or environment.get(CA_CERT) or saved.ca_cert, environment, base
        ),
        proxy=bool(environment.get(PROXY)),
    )


def _choose_client(
    described: DirectorDescription, saved: SavedEnvironment, environment: Mapping[str, str]
) -> str:
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


def _find_secret(
    client: str,
    described: DirectorDescription,
    saved: SavedEnvironment,
    *,
    environment: Mapping[str, str],
    base: Path,
) -> SecretBytes:
    if not client:
        return SecretBytes(b"")
    if described.client_secret_file is not None:
        path = _located(described.client_secret_file, environment, base)
        secret = (
            _read_file(path, field="client_secret_file").removesuffix(b"\n").removesuffix(b"\r")
        )
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


def _read_ca(given: str, environment: Mapping[str, str], base: Path) -> bytes | None:
    """Return PEM of what is given as the bosh CLI takes it, a path or the text itself."""
    if not given:
        return None
    if _PEM in given:
        place, data = "the CA certificate that is given as text", given.encode()
    else:
        path = _located(given, environment, base)
        place, data = str(path), _read_file(path, field="ca_cert")
    if holds_private_key(data):
        raise SpecError(
            "a private key stands beside the CA certificate",
            place=place,
            field="ca_cert",
            hint="name a file that holds the certificate alone",
        )
    return write_certificates(read_certificates(data, place=place).certificates)


def _located(named: str, environment: Mapping[str, str], base: Path) -> Path:
    # No shell has been at these names: the CLI expands a `~` by itself, and so it is done here.
    home = environment.get("HOME", "")
    if home and (named == "~" or named.startswith("~/")):
        return Path(home, named[2:])
    return base / named


def _read_file(path: Path, *, field: str) -> bytes:
    try:
        return read_bounded(path, limit=_MOST_FILE_BYTES)
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


# Logging in: with a password of the director's own, or with tokens of a UAA.


TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
_FORM = "application/x-www-form-urlencoded"
_BEARER = "bearer"
CLI_CLIENT = "bosh_cli"
"""The client, without a secret, for which users of the bosh CLI log in (`cmd/session.go`)."""


class _Token(msgspec.Struct):
    access_token: str
    token_type: str = _BEARER
    refresh_token: str = ""


class BasicLogin:
    """Client and secret with every call; there is never another header."""

    def __init__(self, client: str, secret: SecretBytes) -> None:
        self._pair = SecretBytes(client.encode() + b":" + secret.reveal())

    def header(self, *, refused: str = "") -> str:  # noqa: ARG002 - there is only one
        """Return the header."""
        return f"Basic {base64.b64encode(self._pair.reveal()).decode()}"


class ClientTokens:
    """A token for client and secret, kept until it is refused (RFC 6749 §4.4).

    `http` calls the UAA. Raises `Denied` when it does not take the client.
    """

    def __init__(self, http: HttpServer, *, client: str, secret: SecretBytes) -> None:
        self._http = http
        self._client = client
        self._basic = BasicLogin(client, secret)
        self._lock = Lock()
        self._kept = SecretBytes(b"")

    def header(self, *, refused: str = "") -> str:
        """Return the header with the kept token, or with a new one if that one was refused."""
        with self._lock:
            kept = self._kept.reveal().decode()
            if not kept or kept == refused:
                kept = self._granted()
                self._kept = SecretBytes(kept.encode())
            return kept

    def _granted(self) -> str:
        form = urlencode({"grant_type": "client_credentials"}).encode()
        request = HttpRequest(method="POST", path=TOKEN_PATH, body=form, content_type=_FORM)
        about = {"system": self._http.system, "operation": request.operation}
        try:
            answer = self._http.send(request, self._basic)
        except Denied as error:
            raise Denied(
                f"the client `{self._client}` gets no token: {error.message}",
                hint="name a UAA client with `--client` and give its secret; a user logs in with "
                "`bosh log-in` instead, and is not named",
                **about,
            ) from None
        token = _read_token(answer, **about)
        return f"{token.token_type} {token.access_token}"


class UserTokens:
    """The token of a user who logged in with the bosh CLI, refreshed when it is refused.

    Other commands may refresh it at the same time, so its refresh token is read anew each time
    (RFC 6749 §6). The file is written only when the UAA gave another refresh token for the one
    that was used. Raises `Denied` when the login is over.
    """

    def __init__(self, http: HttpServer, login: SavedLogin) -> None:
        self._http = http
        self._login = login
        self._client = BasicLogin(CLI_CLIENT, SecretBytes(b""))
        self._lock = Lock()
        self._kept = SavedEnvironment()

    def header(self, *, refused: str = "") -> str:
        """Return the header with the token that is at hand, or with another one than `refused`."""
        with self._lock:
            if not self._kept.access_token.reveal():
                self._kept = self._login.now()
            if not self._kept.access_token.reveal() or _token_header(self._kept) == refused:
                self._kept = self._refreshed()
            return _token_header(self._kept)

    def _refreshed(self) -> SavedEnvironment:
        former = self._login.now().refresh_token
        former = former if former.reveal() else self._kept.refresh_token
        query = {"grant_type": "refresh_token", "refresh_token": former.reveal().decode()}
        request = HttpRequest(
            method="POST", path=TOKEN_PATH, body=urlencode(query).encode(), content_type=_FORM
        )
        about = {"system": self._http.system, "operation": request.operation}
        try:
            answer = self._http.send(request, self._client)
        except (Denied, Rejected) as error:
            raise Denied(
                f"the login in `{self._login.path}` is over: {error.message}",
                hint=f"log in again: `bosh -e {self._login.environment} log-in`; for a long run "
                "name a UAA client, whose token never ends for good",
                **about,
            ) from None
        token = _read_token(answer, **about)
        another = SecretBytes(token.refresh_token.encode())
        saved = SavedEnvironment(
            access_token_type=token.token_type,
            access_token=SecretBytes(token.access_token.encode()),
            refresh_token=another if token.refresh_token else former,
        )
        if saved.refresh_token != former:
            # Without it this run goes on, and only the next login has to be made anew.
            with suppress(OSError, SpecError):
                self._login.keep(former, saved)
        return saved


def _token_header(saved: SavedEnvironment) -> str:
    return f"{saved.access_token_type or _BEARER} {saved.access_token.reveal().decode()}"


def _read_token(answer: HttpResponse, *, system: str, operation: str) -> _Token:
    try:
        return msgspec.json.decode(answer.body, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Rejected(
            "an answer that holds no token", system=system, operation=operation
        ) from None
