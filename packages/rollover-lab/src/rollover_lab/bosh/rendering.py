"""Renders what `create-env` puts onto the director VM: configurations and PEM files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from bosh_interpolate.errors import ManifestError
from rollover_lab import machine
from rollover_lab.bosh import job_config
from rollover_lab.bosh.director_manifest import (
    CertificateProperties,
    JobProperties,
    UaaClient,
    UaaProperties,
)
from rollover_lab.bosh.job_config import (
    AgentCredentials,
    Client,
    DirectorConfig,
    DirectorUser,
    HealthMonitorConfig,
    MessageBus,
    NatsConfigPaths,
    TokenIssuer,
    UaaConfig,
    UaaUser,
)
from rollover_lab.bosh.layout import BoshLayout, DirectorVmLayout

RenderedFiles = Mapping[Path, bytes]
"""What is to be on the disk, by absolute path."""


def render(properties: JobProperties, layout: BoshLayout, *, director_id: str) -> RenderedFiles:
    """Return the files of all jobs; `ManifestError` as the VM's pre-start scripts would fail.

    PEM files hold what the manifest says, unchecked: that is for the jobs that read them.
    """
    vm = layout.director_vm
    files = {
        **_nats_files(properties, vm),
        **_director_files(properties, vm),
        **_health_monitor_files(properties, vm),
    }
    if properties.uaa is not None:
        files |= _uaa_files(properties.uaa, vm)
    director = _director(properties, layout, director_id=director_id)
    monitor = _health_monitor(properties, vm)
    files[vm.director_config] = msgspec.json.format(msgspec.json.encode(director))
    files[vm.health_monitor_config] = msgspec.json.format(msgspec.json.encode(monitor))
    return files


def write(files: RenderedFiles) -> None:
    """Put the files there, all 0600, their directories 0700."""
    for path, content in files.items():
        machine.write_private(path, content)


def subject(pem: str) -> str:
    """Return a certificate's subject as `openssl x509 -subject` prints it: `C = US, CN = x`."""
    try:
        name = x509.load_pem_x509_certificate(pem.encode()).subject
    except ValueError:
        raise ManifestError(
            "Running the pre-start script",
            cause=ManifestError("unable to load certificate from `nats.tls`"),
        ) from None
    return ", ".join(
        " + ".join(
            f"{attribute.rfc4514_attribute_name} = {_text(attribute.value)}" for attribute in rdn
        )
        for rdn in name.rdns
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def _nats_files(properties: JobProperties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    tls = properties.nats.tls
    director, monitor = subject(tls.director.certificate), subject(tls.health_monitor.certificate)
    places = NatsConfigPaths(
        host=properties.nats.address,
        port=properties.nats.port,
        monitor_port=(
            properties.lab.monitor_port if properties.nats.enable_metrics_endpoint else None
        ),
        pid_file=str(vm.nats_pid),
        log_file=str(vm.nats_log),
        auth=vm.auth.name,
        certificate=str(vm.nats / "server.pem"),
        private_key=str(vm.nats / "server.key"),
        ca=str(vm.nats / "ca.pem"),
    )
    return {
        vm.nats_config: job_config.nats_config_text(places),
        vm.auth: job_config.auth_placeholder(director, monitor),
        vm.nats / "ca.pem": tls.ca.encode(),
        **_pair(tls.server, vm.nats / "server"),
    }


def _director_files(properties: JobProperties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    home, tls = vm.director, properties.nats.tls
    return {
        home / "nats-ca.pem": tls.ca.encode(),
        **_pair(tls.director, home / "nats"),
        **_pair(tls.client_ca, home / "client-ca"),
        home / "api.pem": properties.director.ssl.cert.encode(),
        home / "api.key": properties.director.ssl.key.encode(),
    }


def _health_monitor_files(properties: JobProperties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    home, tls = vm.health_monitor, properties.nats.tls
    return {
        home / "nats-ca.pem": tls.ca.encode(),
        **_pair(tls.health_monitor, home / "nats"),
        home / "director-ca.pem": properties.hm.director_account.ca_cert.encode(),
    }


def _pair(pair: CertificateProperties, path: Path) -> dict[Path, bytes]:
    return {
        path.with_name(f"{path.name}.pem"): pair.certificate.encode(),
        path.with_name(f"{path.name}.key"): pair.private_key.encode(),
    }


def _bus(properties: JobProperties, home: Path) -> MessageBus:
    return MessageBus(
        address=f"{properties.nats.address}:{properties.nats.port}",
        ca=str(home / "nats-ca.pem"),
        certificate=str(home / "nats.pem"),
        private_key=str(home / "nats.key"),
    )


def _director(properties: JobProperties, layout: BoshLayout, *, director_id: str) -> DirectorConfig:
    director, vm, tls = properties.director, layout.director_vm, properties.nats.tls
    issuer = director.user_management.issuer
    return DirectorConfig(
        name=director.name,
        uuid=director_id,
        listen=f"{director.address}:{director.port}",
        certificate=str(vm.director / "api.pem"),
        private_key=str(vm.director / "api.key"),
        users=tuple(
            DirectorUser(name=account.name, password=account.password)
            for account in director.user_management.local.users
        ),
        uaa=None if issuer is None else TokenIssuer(url=issuer.url, public_key=issuer.public_key),
        nats=_bus(properties, vm.director),
        agents=AgentCredentials(
            client_ca_certificate=str(vm.director / "client-ca.pem"),
            client_ca_private_key=str(vm.director / "client-ca.key"),
            bundle=str(vm.director / "nats-ca.pem"),
            url=properties.agent.mbus,
        ),
        auth_file=str(vm.auth),
        nats_pid_file=str(vm.nats_pid),
        nats_subjects=(subject(tls.director.certificate), subject(tls.health_monitor.certificate)),
        database=str(vm.database),
        tasks=str(vm.tasks),
        cloud=str(layout.lab.control),
        trusted_certs=director.trusted_certs,
        workers=director.workers,
        max_threads=director.max_threads,
        short_lived_bootstrap_credentials=director.enable_short_lived_nats_bootstrap_credentials,
        health_check=properties.lab.health_check,
        shared_keys=properties.lab.shared_keys,
        ready_keys=properties.lab.ready_keys,
        timing=properties.lab.timing,
    )


def _health_monitor(properties: JobProperties, vm: DirectorVmLayout) -> HealthMonitorConfig:
    account, director = properties.hm.director_account, properties.director
    issuer = director.user_management.issuer
    user = DirectorUser(name=account.user, password=account.password)
    client = DirectorUser(name=account.client_id, password=account.client_secret)
    return HealthMonitorConfig(
        nats=_bus(properties, vm.health_monitor),
        director=f"https://{director.address}:{director.port}",
        director_ca=str(vm.health_monitor / "director-ca.pem"),
        user=user if issuer is None else client,
        uaa=None if issuer is None else issuer.url,
        resurrection=properties.hm.resurrector_enabled,
        agent_timeout=properties.lab.agent_timeout,
        analyze_interval=properties.lab.analyze_interval,
        status_file=str(vm.health_monitor_status),
    )


def _uaa_files(uaa: UaaProperties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    home, policy = vm.uaa, uaa.jwt.policy
    if policy.active_key_id not in policy.keys:
        raise ManifestError(
            "Running the pre-start script",
            cause=ManifestError(f"uaa.jwt.policy.keys has no `{policy.active_key_id}`"),
        )
    config = UaaConfig(
        url=uaa.url,
        listen=urlsplit(uaa.url).netloc,
        certificate=str(home / "uaa.pem"),
        private_key=str(home / "uaa.key"),
        signing_key=str(home / "jwt.key"),
        clients=tuple(_client(name, client) for name, client in uaa.clients.items()),
        members=tuple(
            UaaUser(name=user.name, password=user.password, groups=user.groups)
            for user in uaa.scim.users
        ),
    )
    return {
        vm.uaa_config: msgspec.json.format(msgspec.json.encode(config)),
        home / "jwt.key": policy.keys[policy.active_key_id].signing_key.encode(),
        **_pair(
            CertificateProperties(certificate=uaa.certificate, private_key=uaa.private_key),
            home / "uaa",
        ),
    }


def _client(name: str, client: UaaClient) -> Client:
    grants = _listed(client.grants)
    itself = "client_credentials" in grants
    return Client(
        name=name,
        secret=client.secret,
        grants=grants,
        scope=_listed(client.authorities if itself else client.scope),
        access_seconds=client.access_seconds,
        refresh_seconds=client.refresh_seconds,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, text.split(",")) if part)
