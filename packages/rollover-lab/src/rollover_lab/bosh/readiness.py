"""Waits until the jobs of the director VM run, or says as bosh does that they do not."""

from __future__ import annotations

import contextlib
import time

from bosh_interpolate.errors import ManifestError
from rollover.probe.greeting import read_greeting_before_tls
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.stream import Deadline, NotTls, dial
from rollover.probe.target import parse_address
from rollover_lab.bosh import api
from rollover_lab.bosh.cloud.client import Cloud
from rollover_lab.bosh.properties import Properties

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
        now = _starts(cloud)
        failing = [job for job in now if now[job] - before.get(job, 0) >= _FAILING_STARTS]
        if failing or time.monotonic() > deadline:
            logs = "".join(f"; it keeps ending, see `cloud/logs/{job}.log`" for job in failing)
            raise ManifestError(
                "Received non-running job state: 'failing'", cause=ManifestError(f"{lack}{logs}")
            )
        time.sleep(_LOOK_SECONDS)


def _starts(cloud: Cloud) -> dict[str, int]:
    return {each.name: each.starts for each in cloud.director_vm("status").processes}


def _lack(properties: Properties) -> str:
    """Return what does not answer, and why; nothing when all do."""
    nats, director = properties.nats, properties.director
    try:
        _greet(f"{nats.address}:{nats.port}")
    except (OSError, BadProtocol, NotTls) as error:
        return f"nats: {error}"
    urls = {"director": f"https://{director.address}:{director.port}"}
    if properties.uaa is not None:
        urls["uaa"] = properties.uaa.url
    ca = properties.hm.director_account.ca_cert.encode()
    for job, url in urls.items():
        said = api.silence(url, ca)
        if said:
            return f"{job}: {said}"
    return ""


def _greet(address: str) -> None:
    deadline = Deadline(_GREETING_SECONDS)
    with contextlib.closing(dial(parse_address(address), deadline)) as stream:
        read_greeting_before_tls(stream, deadline)
