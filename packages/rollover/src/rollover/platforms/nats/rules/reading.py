"""Reads configurations and every file that they name, for the rules of `check`."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from nats_config.config import read_config
from nats_config.server import read_server_config
from nats_config.systemd_unit import CommandLine
from rollover.codec.nats_configuration import config_errors
from rollover.errors import ConfigError, PemError
from rollover.files import read_start
from rollover.fleet.certificate import Certificate
from rollover.pki.keys import from_pem
from rollover.pki.pem import PEM_LIMIT, loaded_by_go, read_certificates
from rollover.pki.stacks import Verifier
from rollover.platforms.nats.rules.context import ConfigContext, FileFacts, RefusedConfig, Server
from rollover.rules.context import DEFAULT_EXPIRY_DAYS


def read_context(  # noqa: PLR0913 - keywords, most of which have defaults
    configs: Sequence[Path],
    *,
    working_directory: Path,
    environment: Mapping[str, str],
    now: datetime,
    expires_within: timedelta = timedelta(days=DEFAULT_EXPIRY_DAYS),
    running: Mapping[Path, Path] = MappingProxyType({}),
    clients: Sequence[Path] = (),
    directories: Mapping[Path, Path] = MappingProxyType({}),
    started: tuple[CommandLine, ...] = (),
) -> ConfigContext:
    """Return what the rules look at, with the configurations that cannot be read apart.

    Relative paths of certificates begin in `working_directory`, that of the servers' processes;
    `directories` names another one for some configurations. `running`: for a configuration, the
    file as the server has it loaded (its last version); `ConfigError` when it cannot be read.
    `clients`: certificate files of clients; `PemError` when one of them holds none. `started`:
    how units start the servers.
    """
    servers: list[Server] = []
    refused: list[RefusedConfig] = []
    for path in configs:
        before = running.get(path)
        with config_errors():
            loaded = read_config(before, environment=environment).tree if before else None
        cwd = directories.get(path, working_directory)
        try:
            with config_errors():
                config = read_config(path, environment=environment)
                typed = read_server_config(config, cwd=cwd)
            servers.append(Server(config=typed, tree=config.tree, running=loaded))
        except ConfigError as error:
            # Findings carry the place by itself.
            message = error.message.removeprefix(f"{error.place}: ")
            refused.append(RefusedConfig(str(path), error.place, message, error.hint))
    named = {file.path for server in servers for block in server.config.tls for file in block.files}
    files = {path: _facts(Path(path)) for path in sorted(named)}
    presented = tuple(_client(path) for path in clients)
    loaded_here = (*(facts.loaded for facts in files.values()), *presented)
    certificates = {
        certificate.fingerprint: certificate for chain in loaded_here for certificate in chain
    }
    return ConfigContext(
        tuple(servers),
        files=files,
        accepts=Verifier(certificates),
        now=now,
        expires_within=expires_within,
        clients=presented,
        refused=tuple(refused),
        started=started,
    )


def _client(path: Path) -> tuple[Certificate, ...]:
    try:
        # One byte beyond the limit shows that there is more.
        data = read_start(path, size=PEM_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PemError(
            f"`{path}` cannot be read: {reason}", hint="check the path and its permissions"
        ) from error
    return read_certificates(data, place=str(path)).certificates


def _facts(path: Path) -> FileFacts:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return FileFacts(path=str(path), problem="not a regular file")
        # One byte beyond the limit shows that there is more.
        data = read_start(path, size=PEM_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        denied = isinstance(error, PermissionError)
        return FileFacts(path=str(path), problem=reason, denied=denied)
    return _read(path, data, mode=stat.S_IMODE(status.st_mode))


def _read(path: Path, data: bytes, *, mode: int) -> FileFacts:
    identity, reading, damage = "", None, ""
    with suppress(PemError):
        identity = from_pem(data, place=str(path)).key_identity
    try:
        reading = read_certificates(data, place=str(path))
    except PemError as error:
        damage = error.message.removeprefix(f"{error.place}: ")
    return FileFacts(
        path=str(path),
        mode=mode,
        reading=reading,
        loaded=loaded_by_go(data),
        damage=damage,
        key_identity=identity,
        ends_with_newline=data.endswith((b"\n", b"\r")),
    )
