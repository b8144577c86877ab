"""Renders what `create-env` puts onto the director VM: configurations and PEM files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography import x509

from rollover.lab import private_files
from rollover.lab.bosh import nats_config
from rollover.lab.bosh.configs import (
    AgentCredentials,
    DirectorConfig,
    HealthMonitorConfig,
    MessageBus,
    User,
)
from rollover.lab.bosh.layout import BoshLayout, DirectorVmLayout
from rollover.lab.bosh.nats_config import NatsPlaces
from rollover.lab.bosh.properties import Director, Pair, Properties
from rollover.manifest.trouble import ManifestError

Files = Mapping[Path, bytes]
"""What is to be on the disk, by absolute path."""


def render(properties: Properties, layout: BoshLayout, *, director_id: str) -> Files:
    """Return the files of all jobs; `ManifestError` as the VM's pre-start scripts would fail.

    PEM files hold what the manifest says, unchecked: that is for the jobs that read them.
    """
    vm = layout.director_vm
    files = {
        **_nats_files(properties, vm),
        **_director_files(properties, vm),
        **_health_monitor_files(properties, vm),
    }
    director = _director(properties, layout, director_id=director_id)
    monitor = _health_monitor(properties, vm)
    files[vm.director_config] = msgspec.json.format(msgspec.json.encode(director))
    files[vm.health_monitor_config] = msgspec.json.format(msgspec.json.encode(monitor))
    return files


def write(files: Files) -> None:
    """Put the files there, all 0600, their directories 0700."""
    for path, content in files.items():
        private_files.write(path, content)


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
        " + ".join(f"{each.rfc4514_attribute_name} = {_text(each.value)}" for each in rdn)
        for rdn in name.rdns
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def _nats_files(properties: Properties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    tls = properties.nats.tls
    director, monitor = subject(tls.director.certificate), subject(tls.health_monitor.certificate)
    places = NatsPlaces(
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
        vm.nats_config: nats_config.config(places),
        vm.auth: nats_config.placeholder(director, monitor),
        vm.nats / "ca.pem": tls.ca.encode(),
        **_pair(tls.server, vm.nats / "server"),
    }


def _director_files(properties: Properties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    home, tls = vm.director, properties.nats.tls
    return {
        home / "nats-ca.pem": tls.ca.encode(),
        **_pair(tls.director, home / "nats"),
        **_pair(tls.client_ca, home / "client-ca"),
        home / "api.pem": properties.director.ssl.cert.encode(),
        home / "api.key": properties.director.ssl.key.encode(),
    }


def _health_monitor_files(properties: Properties, vm: DirectorVmLayout) -> dict[Path, bytes]:
    home, tls = vm.health_monitor, properties.nats.tls
    return {
        home / "nats-ca.pem": tls.ca.encode(),
        **_pair(tls.health_monitor, home / "nats"),
        home / "director-ca.pem": properties.hm.director_account.ca_cert.encode(),
    }


def _pair(pair: Pair, path: Path) -> dict[Path, bytes]:
    return {
        path.with_name(f"{path.name}.pem"): pair.certificate.encode(),
        path.with_name(f"{path.name}.key"): pair.private_key.encode(),
    }


def _bus(properties: Properties, home: Path) -> MessageBus:
    return MessageBus(
        address=f"{properties.nats.address}:{properties.nats.port}",
        ca=str(home / "nats-ca.pem"),
        certificate=str(home / "nats.pem"),
        private_key=str(home / "nats.key"),
    )


def _director(properties: Properties, layout: BoshLayout, *, director_id: str) -> DirectorConfig:
    director, vm, tls = properties.director, layout.director_vm, properties.nats.tls
    return DirectorConfig(
        name=director.name,
        uuid=director_id,
        listen=f"{director.address}:{director.port}",
        certificate=str(vm.director / "api.pem"),
        private_key=str(vm.director / "api.key"),
        users=_users(director),
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
        cloud=str(layout.socket),
        trusted_certs=director.trusted_certs,
        workers=director.workers,
        max_threads=director.max_threads,
        short_lived_bootstrap_credentials=director.enable_short_lived_nats_bootstrap_credentials,
        health_check=properties.lab.health_check,
        shared_keys=properties.lab.shared_keys,
        timing=properties.lab.timing,
    )


def _users(director: Director) -> tuple[User, ...]:
    accounts = director.user_management.local.users
    return tuple(User(name=each.name, password=each.password) for each in accounts)


def _health_monitor(properties: Properties, vm: DirectorVmLayout) -> HealthMonitorConfig:
    account, director = properties.hm.director_account, properties.director
    return HealthMonitorConfig(
        nats=_bus(properties, vm.health_monitor),
        director=f"https://{director.address}:{director.port}",
        director_ca=str(vm.health_monitor / "director-ca.pem"),
        user=User(name=account.user, password=account.password),
        resurrection=properties.hm.resurrector_enabled,
        agent_timeout=properties.lab.agent_timeout,
        analyze_interval=properties.lab.analyze_interval,
        status_file=str(vm.health_monitor_status),
    )
