"""Runs commands of `rollover` in this process, and makes the files that they work on."""

from __future__ import annotations

import io
import json
import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from rollover.cli.app import main
from rollover.fleet.certificate import KeyKind
from rollover.pki.issue import CLIENT, issue_authority, issue_leaf
from rollover.pki.keys import generate, to_pem
from rollover.pki.pem import write_certificates

NOW = datetime.now(UTC)
FLEET = """\
version: 1
name: prod
authorities: [{{name: nats-ca, certificates: [{fingerprint}]}}]
groups:
  - name: servers
    platform: nats
    instances:
      - name: n1
        working_directory: {home}
        endpoints:
          - name: client
            role: client-port
            address: 127.0.0.1:{port}
            certificate: leaf.pem
            key: leaf.key
            ca: ca.pem
            verify: true
"""


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    talk: str

    @property
    def json(self) -> Any:
        """The machine output."""
        return json.loads(self.out)


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Ran:
    """Run one command line, without a terminal, and return how it ended."""
    out, talk = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before = signal.getsignal(signal.SIGPIPE)
    clean = {name: each for name, each in os.environ.items() if not name.startswith("ROLLOVER_")}
    try:
        with (
            mock.patch.dict(os.environ, {**clean, **(environment or {})}, clear=True),
            redirect_stdout(out),
            redirect_stderr(talk),
        ):
            main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert isinstance(code, int)
    return Ran(int(code), _text(out), _text(talk))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def write_fleet(folder: Path, *, port: int) -> Path:
    """Write a fleet of one server with its material; nobody needs to listen there."""
    key = generate(KeyKind.P256)
    authority = issue_authority(
        common_name="NATS CA 1", key=key, not_before=NOW - timedelta(days=1),
        lifetime=timedelta(days=400),
    )  # fmt: skip
    leaf_key = generate(KeyKind.P256)
    leaf = issue_leaf(
        profile=CLIENT, common_name="n1", names=("127.0.0.1",), key=leaf_key,
        authority=authority, authority_key=key, not_before=NOW - timedelta(days=1),
        lifetime=timedelta(days=90),
    )  # fmt: skip
    files = {
        "ca.pem": write_certificates((authority,)),
        "ca.key": to_pem(key),
        "leaf.pem": write_certificates((leaf,)),
        "leaf.key": to_pem(leaf_key),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    path = folder / "fleet.yml"
    path.write_text(
        FLEET.format(fingerprint=authority.fingerprint, home=folder, port=port), "utf-8"
    )
    return path
