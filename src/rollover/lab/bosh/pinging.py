"""Pings every agent of a lab all the time, as its director would, and counts the answers.

::

    with pinging.running(layout) as pings:
        ...
    print(pings.report().longest_silence_seconds)

It runs in threads of its own. When NATS goes away it comes back with the certificates that the
director has then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from rollover.errors import RolloverError
from rollover.lab.bosh.cloud.client import Cloud
from rollover.lab.bosh.layout import BoshLayout
from rollover.lab.bosh.pings import PingBook, PingReport
from rollover.lab.bosh.rendered import DirectorConfig
from rollover.platforms.bosh.mbus import AgentRequests
from rollover.probe import nats_wire
from rollover.probe.identity import Identity
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.nats_wire import ClientOptions, NatsConnection
from rollover.probe.stream import Deadline

INTERVAL_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0
MOST_PER_SECOND = 250.0
"""Pings of all agents together; with more of them than that allows, each is pinged less often."""
_CONNECT_SECONDS = 3.0
_SEND_SECONDS = 2.0
_RETRY_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 10.0


class Pinging:
    """Pings until it is stopped."""

    def __init__(
        self,
        layout: BoshLayout,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._layout = layout
        self._cloud = Cloud(layout.socket)
        self._interval = interval_seconds
        self._book = PingBook(now=_now(), timeout=timedelta(seconds=timeout_seconds))
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = tuple(
            threading.Thread(target=each, name="pinging", daemon=True)
            for each in (self._ping, self._look)
        )

    def start(self) -> None:
        """Begin: the agents that there are now are known when this returns."""
        self._take_in()
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """End; the report says what was heard up to here."""
        self._stopping.set()
        for each in self._threads:
            each.join(_STOP_SECONDS)

    def wait(self, seconds: float | None) -> None:
        """Let it ping for so long, or until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            self._stopping.wait(seconds)

    def report(self) -> PingReport:
        """Return what was heard up to now."""
        with self._lock:
            return self._book.report(_now())

    def _ping(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError, BadProtocol, RolloverError, msgspec.MsgspecError):
                requests = AgentRequests()
                with _connected(self._layout, requests.options) as connection:
                    self._ping_on(connection, requests)
            if not self._stopping.wait(_RETRY_SECONDS):
                with self._lock:
                    self._book.disconnected(_now())

    def _ping_on(self, connection: NatsConnection, requests: AgentRequests) -> None:
        """Ping until the connection is lost."""
        with self._lock:
            self._book.connected(_now())
        turn, due = 0, time.monotonic()
        while not self._stopping.is_set():
            self._hear(connection, requests, until=due)
            with self._lock:
                self._book.expire(_now())
                targets = self._book.targets()
            due = time.monotonic() + self._pause(len(targets))
            if targets:
                turn += 1
                agent = targets[turn % len(targets)]
                with self._lock:
                    self._book.sent(agent, _now())
                connection.send(requests.ask(agent, "ping"), Deadline(_SEND_SECONDS))

    def _pause(self, targets: int) -> float:
        return max(self._interval / targets, 1 / MOST_PER_SECOND) if targets else _RETRY_SECONDS

    def _hear(self, connection: NatsConnection, requests: AgentRequests, *, until: float) -> None:
        """Take answers until an instant of the monotonic clock."""
        messages = connection.messages(Deadline(until - time.monotonic()))
        for answer in requests.answers(messages):
            with self._lock:
                self._book.heard(answer.agent, _now())
            if self._stopping.is_set():
                return

    def _look(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            with contextlib.suppress(RolloverError):
                self._take_in()

    def _take_in(self) -> None:
        """Ask the cloud which agents there are."""
        agents = frozenset(each.agent_id for each in self._cloud.vms())
        with self._lock:
            self._book.present(agents, _now())


@contextlib.contextmanager
def running(
    layout: BoshLayout,
    *,
    interval_seconds: float = INTERVAL_SECONDS,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Iterator[Pinging]:
    """Ping for the body of `with`; the report is complete afterwards."""
    pinging = Pinging(layout, interval_seconds=interval_seconds, timeout_seconds=timeout_seconds)
    pinging.start()
    try:
        yield pinging
    finally:
        pinging.stop()


def _connected(layout: BoshLayout, options: ClientOptions) -> NatsConnection:
    """Connect with the director's certificates of this moment."""
    path = layout.director_vm.director_config
    bus = msgspec.json.decode(path.read_bytes(), type=DirectorConfig).nats
    identity = Identity.from_pem(
        Path(bus.certificate).read_bytes(), Path(bus.private_key).read_bytes()
    )
    return nats_wire.connect(
        bus.address,
        timeout_seconds=_CONNECT_SECONDS,
        identity=identity,
        trust=Path(bus.ca).read_bytes(),
        options=options,
    )


def _now() -> datetime:
    return datetime.now(UTC)
