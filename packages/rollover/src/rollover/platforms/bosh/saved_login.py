"""The file in which the bosh CLI keeps environments, their CAs, and who logged in to them.

`bosh alias-env` and `bosh log-in` write it. Rollover reads it, and writes one thing: a refresh
token that the UAA has replaced by using it, without which the next `bosh` would be logged out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bosh_interpolate import emit
from bosh_interpolate.errors import ManifestError
from bosh_interpolate.reading import load
from bosh_interpolate.values import Key, Tree
from rollover import replacing
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.secret import SecretBytes
from rollover.platforms.bosh.address import director_url

CONFIG = "BOSH_CONFIG"
DEFAULT = "~/.bosh/config"
MOST_BYTES = 4 * 1024 * 1024


class Saved(msgspec.Struct, frozen=True, kw_only=True):
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


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A user's login at a UAA, as it stands in the file: read anew whenever it is needed.

    `environment` is the URL as the file has it. Other commands may use the login meanwhile.
    """

    path: Path
    environment: str

    def now(self) -> Saved:
        """Return what the file says now; empty when the login is gone."""
        return credentials_of(self.environment, read(self.path))

    def keep(self, former: SecretBytes, saved: Saved) -> None:
        """Write a token down in place of the one that was used for it; all else stays.

        Where another command was faster, its token stays. Raises `OSError` and `SpecError`.
        """
        tree = _tree(self.path)
        for each in _listed(tree, self.path):
            if self.environment in (each.get("url"), each.get("alias")):
                if each.get("refresh_token") != former.reveal().decode():
                    return
                each["access_token_type"] = saved.access_token_type
                each["access_token"] = saved.access_token.reveal().decode()
                each["refresh_token"] = saved.refresh_token.reveal().decode()
                content = emit(tree).encode()
                replacing.replace(self.path.resolve(), content, mode=0o600, durable=True)
                return


def place(environment: Mapping[str, str]) -> Path:
    """Return where the file is, as the CLI finds it: `$BOSH_CONFIG`, or in the home directory."""
    named = environment.get(CONFIG) or DEFAULT
    home = environment.get("HOME", "")
    if home and (named == "~" or named.startswith("~/")):
        return Path(home, named[2:])
    return Path.cwd() / named


def read(path: Path) -> tuple[Saved, ...]:
    """Return the environments of the file, none where there is no file; `SpecError` if broken."""
    return tuple(_saved(each) for each in _listed(_tree(path), path))


def resolved(named: str, saved: tuple[Saved, ...]) -> str:
    """Return the URL of an alias; anything else, as it is (`FSConfig.ResolveEnvironment`)."""
    found = next((each for each in saved if named in (each.url, each.alias)), None)
    return found.url if found is not None and found.url else named


def credentials_of(url: str, saved: tuple[Saved, ...]) -> Saved:
    """Return what is saved for a URL: the first entry that has it, as the CLI takes it.

    An entry that writes the same address in another way counts when there is none.
    """
    exact = (each for each in saved if url in (each.url, each.alias))
    alike = (each for each in saved if each.url and _same(each.url, url))
    return next(exact, None) or next(alike, None) or Saved()


def _same(one: str, other: str) -> bool:
    try:
        return director_url(one) == director_url(other)
    except SpecError:
        return False


def _tree(path: Path) -> Tree:
    if not path.is_file():
        return {}
    try:
        data = read_start(path, size=MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            field=CONFIG,
            hint="look at the path and its permissions",
        ) from None
    try:
        tree = load(data) if len(data) <= MOST_BYTES else None
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
        hint=f"`bosh alias-env` writes one; name another with ${CONFIG}",
    )


def _listed(tree: Tree, path: Path) -> Iterator[dict[Key, Tree]]:
    listed = tree.get("environments") if isinstance(tree, dict) else None
    for each in listed if isinstance(listed, list) else [listed] if listed is not None else []:
        if not isinstance(each, dict):
            raise _no_configuration(path)
        yield each


def _saved(entry: Mapping[Key, Tree]) -> Saved:
    return Saved(
        url=_text(entry, "url"),
        alias=_text(entry, "alias"),
        ca_cert=_text(entry, "ca_cert"),
        username=_text(entry, "username"),
        password=_secret(entry, "password"),
        access_token_type=_text(entry, "access_token_type"),
        access_token=_secret(entry, "access_token"),
        refresh_token=_secret(entry, "refresh_token"),
    )


def _secret(entry: Mapping[Key, Tree], field: str) -> SecretBytes:
    return SecretBytes(_text(entry, field).encode())


def _text(entry: Mapping[Key, Tree], field: str) -> str:
    value = entry.get(field)
    return "" if value is None else str(value)
