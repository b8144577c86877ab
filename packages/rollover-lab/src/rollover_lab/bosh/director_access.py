"""How one reaches the director of a lab: env.sh, create-env.sh, fleet.yml, and calls of its API."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from bosh_interpolate import FileStore
from rollover.codec.fleet_file import read_fleet, write_fleet
from rollover.codec.manifests import manifest_errors
from rollover.errors import Rejected, RolloverError, SpecError
from rollover.fleet.description import (
    AuthorityDescription,
    DirectorDescription,
    FleetDescription,
)
from rollover.fleet.names import AuthorityName
from rollover.pki.pem import read_certificates
from rollover.platforms.bosh.director_api import Director
from rollover.platforms.bosh.director_http import Authorization, HttpRequest, HttpServer
from rollover.platforms.bosh.director_records import (
    BoshInstance,
    DirectorTask,
    TaskEvent,
    TaskState,
)
from rollover.platforms.bosh.login import BasicLogin, ClientTokens, DirectorAccess, access_to
from rollover_lab import machine
from rollover_lab.bosh.layout import BoshLayout

AUTHORITY = AuthorityName("nats_ca")
USER = "admin"
_EXECUTABLE = 0o700


class LabAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where things of a lab listen, all `host:port`."""

    director: str
    nats: str
    monitor: str

    @property
    def environment(self) -> str:
        """The director's URL."""
        return f"https://{self.director}"


class OperatorSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What the vars store says of the director's API."""

    password: str
    director_ca: str
    nats_ca: str

    def __repr__(self) -> str:
        return "OperatorSecrets(…)"


def operator_secrets(layout: BoshLayout) -> OperatorSecrets:
    """Return them from the vars store, once `create-env` has made it."""
    with manifest_errors():
        store = FileStore(layout.credentials).variables()
    return OperatorSecrets(
        password=_text(store, "admin_password"),
        director_ca=_text(store, "director_ssl", "ca"),
        nats_ca=_text(store, "nats_ca", "certificate"),
    )


def _text(store: Mapping[str, object], *path: str) -> str:
    value: object = store
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise SpecError(f"there is no `{'/'.join(path)}` in the vars store")
    return value


def director_access(layout: BoshLayout) -> DirectorAccess:
    """Return how to log in to the director of a lab that is up."""
    described = read_fleet(layout.fleet.read_bytes(), place=str(layout.fleet)).director
    if described is None:
        raise SpecError("it describes no director", place=str(layout.fleet))
    return access_to(described, environment={}, base=layout.root)


def ops_files(layout: BoshLayout) -> tuple[str, ...]:
    """Return those that belong to the director from the start."""
    return (str(layout.uaa),) if layout.uaa.exists() else ()


def write_create_env(layout: BoshLayout) -> None:
    """Write the operator's command line; it is run in the lab's directory.

    With `--tty`, so that whoever keeps its output has the stages: without a terminal it says no
    more than bosh does, nothing.
    """
    # By its name where the shell finds it.
    beside = Path(sys.executable).with_name("rollover")
    words = (
        "rollover" if shutil.which("rollover") else str(beside),
        *("lab", "create-env", layout.manifest.name, "--tty"),
        *(word for ops_file in ops_files(layout) for word in ("-o", f"./{Path(ops_file).name}")),
        *("--state", f"./{layout.state.name}"),
        *("--vars-store", f"./{layout.credentials.name}"),
        *("-l", f"./{layout.variables.name}"),
    )
    text = f"#!/bin/sh\n# How this director is deployed. Run it here.\n{shlex.join(words)}\n"
    machine.write_private(layout.create_env, text.encode())
    layout.create_env.chmod(_EXECUTABLE)


def write_operator_files(layout: BoshLayout, addresses: LabAddresses) -> None:
    """Write what a shell and Rollover need to talk to the director."""
    found = operator_secrets(layout)
    machine.write_private(layout.client_secret, found.password.encode() + b"\n")
    machine.write_private(layout.director_ca, found.director_ca.encode())
    machine.write_private(layout.environment, _environment(layout, addresses).encode())
    machine.write_private(layout.fleet, write_fleet(_fleet(layout, addresses, found)))


def _environment(layout: BoshLayout, addresses: LabAddresses) -> str:
    lines = (
        ("BOSH_ENVIRONMENT", shlex.quote(addresses.environment)),
        ("BOSH_CLIENT", USER),
        ("BOSH_CLIENT_SECRET", f'"$(cat {shlex.quote(str(layout.client_secret))})"'),
        ("BOSH_CA_CERT", shlex.quote(str(layout.director_ca))),
        ("ROLLOVER_FLEET", shlex.quote(str(layout.fleet))),
    )
    return "".join(f"export {name}={value}\n" for name, value in lines)


def _fleet(layout: BoshLayout, addresses: LabAddresses, found: OperatorSecrets) -> FleetDescription:
    ca = read_certificates(found.nats_ca.encode()).certificates[0]
    return FleetDescription(
        version=1,
        name=layout.root.name,
        groups=(),
        authorities=(AuthorityDescription(name=AUTHORITY, certificates=(ca.fingerprint,)),),
        director=DirectorDescription(
            environment=addresses.environment,
            client=USER,
            client_secret_file=layout.client_secret.name,
            ca_cert=layout.director_ca.name,
            create_env=layout.create_env.name,
            nats=addresses.nats,
            monitor=f"http://{addresses.monitor}",
        ),
    )


# The calls to a director that only a lab makes; all others are those of the platform.


SYSTEM = "director"
TASK_SECONDS = 3600.0
_INFO_SECONDS = 5.0
_JSON, _YAML = "application/json", "text/yaml"

CLOUD_CONFIG = """\
---
azs:
- name: z1
vm_types:
- name: default
disk_types:
- name: default
  disk_size: 1024
networks:
- name: default
  type: manual
  subnets:
  - az: z1
    range: 10.244.0.0/16
    gateway: 10.244.0.1
compilation:
  workers: 1
  az: z1
  vm_type: default
  network: default
"""
"""What manifests of a lab name."""


class DirectorSetup:
    """Sets up a director that has just been made."""

    def __init__(self, access: DirectorAccess) -> None:
        self.director = Director(access)
        self._http = HttpServer(access.url, system=SYSTEM, ca=access.ca)
        self._uaa: HttpServer | None = None
        self._access = access

    def close(self) -> None:
        """Give back what is open."""
        self._http.close()
        self.director.close()
        if self._uaa is not None:
            self._uaa.close()

    def update_cloud_config(self) -> None:
        """Store the cloud config that manifests of a lab name."""
        body = {"type": "cloud", "name": "default", "content": CLOUD_CONFIG}
        self._http.send(
            HttpRequest(
                path="/configs",
                method="POST",
                body=msgspec.json.encode(body),
                content_type=_JSON,
            ),
            self._authorization(),
        )

    def stop(self, instance: BoshInstance, *, hard: bool = False) -> None:
        """Stop an instance, with `hard` without its VM, and wait for it."""
        where = "/".join(quote(name) for name in (instance.group, instance.id))
        request = HttpRequest(
            path=f"/deployments/{quote(instance.deployment)}/jobs/{where}",
            method="PUT",
            query=(("state", "detached" if hard else "stopped"),),
            content_type=_YAML,
        )
        answer = self._http.send(request, self._authorization())
        self.finish(int(answer.location.rpartition("/tasks/")[2]))

    def _authorization(self) -> Authorization:
        """Return how to log in now: a token may have expired since the last call."""
        client, secret = self._access.client, self._access.secret
        uaa = self.director.info().uaa
        if uaa is None:
            return BasicLogin(client, secret)
        if self._uaa is None:
            self._uaa = HttpServer(uaa, system="uaa", ca=self._access.ca)
        return ClientTokens(self._uaa, client=client, secret=secret)

    def finish(self, number: int) -> None:
        """Wait until a task has ended; `Rejected` with its own words when it failed."""
        task = _followed(self.director.follow(number, deadline_seconds=TASK_SECONDS))
        if task.state is not TaskState.DONE:
            raise Rejected(
                f"it ended as `{task.state}`: {task.result}",
                system=SYSTEM,
                operation=f"task {number}",
                hint=f"`bosh task {number} --debug` says more",
            )


def why_director_is_silent(url: str, ca: bytes) -> str:
    """Return why a director does not answer `GET /info` there; nothing when it does."""
    http = HttpServer(
        url, system=SYSTEM, ca=ca, timeout_seconds=_INFO_SECONDS, pause=lambda _: None
    )
    try:
        http.read(HttpRequest(path="/info"))
    except RolloverError as error:
        return error.message
    finally:
        http.close()
    return ""


def _followed(following: Generator[TaskEvent, None, DirectorTask]) -> DirectorTask:
    """Pass over a task's events, and return the task as it ended."""
    while True:
        try:
            next(following)
        except StopIteration as ended:
            task: DirectorTask = ended.value
            return task
