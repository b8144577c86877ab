"""Waits until the jobs of the director VM run, or says as bosh does that they do not."""

from __future__ import annotations

import contextlib
import time

from rollover.lab.bosh import api
from rollover.lab.bosh.cloud.client import Cloud
from rollover.lab.bosh.properties import Properties
from rollover.manifest.trouble import ManifestError
from rollover.probe.greeting import read_greeting_before_tls
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.stream import Deadline, NotTls, dial
from rollover.probe.target import parse_address

_LOOK_SECONDS = 0.1
_GREETING_SECONDS = 2.0
_FAILING_STARTS = 3
"""A job that ended so often will not run, whatever restarts it."""


def await_director(properties: Properties, cloud: Cloud) -> None:
    """Wait until NATS and the director answer; `ManifestError` with the words of bosh.

    A job that keeps ending is not waited for until the time is over.
    """
    deadline = time.monotonic() + properties.lab.start_seconds
    before = _starts(cloud)
    while lack := _lack(properties):
        failing = any(
            now - then >= _FAILING_STARTS for now, then in zip(_starts(cloud), before, strict=True)
        )
        if failing or time.monotonic() > deadline:
            raise ManifestError(
                "Received non-running job state: 'failing'", cause=ManifestError(lack)
            )
        time.sleep(_LOOK_SECONDS)


def _starts(cloud: Cloud) -> tuple[int, ...]:
    return tuple(each.starts for each in cloud.director_vm("status").processes)


def _lack(properties: Properties) -> str:
    """Return what does not answer, and why; nothing when both do."""
    nats, director = properties.nats, properties.director
    try:
        _greet(f"{nats.address}:{nats.port}")
    except (OSError, BadProtocol, NotTls) as error:
        return f"nats: {error}"
    said = api.silence(
        f"https://{director.address}:{director.port}",
        properties.hm.director_account.ca_cert.encode(),
    )
    return f"director: {said}" if said else ""


def _greet(address: str) -> None:
    deadline = Deadline(_GREETING_SECONDS)
    with contextlib.closing(dial(parse_address(address), deadline)) as stream:
        read_greeting_before_tls(stream, deadline)
