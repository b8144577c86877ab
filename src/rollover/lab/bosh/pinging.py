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
from rollover.platforms.bosh.mbus import Exchange
from rollover.probe.greeting import read_greeting_before_tls
from rollover.probe.identity import Identity
from rollover.probe.nats_protocol import BadProtocol
from rollover.probe.secure import secure
from rollover.probe.stream import Deadline, Stream, dial
from rollover.probe.target import parse_address

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
        self._cloud = Cloud(layout.lab.control)
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
            with (
                contextlib.suppress(OSError, BadProtocol, RolloverError, msgspec.MsgspecError),
                contextlib.closing(_connected(self._layout)) as stream,
            ):
                self._ping_on(stream)
            if not self._stopping.wait(_RETRY_SECONDS):
                with self._lock:
                    self._book.disconnected(_now())

    def _ping_on(self, stream: Stream) -> None:
        """Ping until the connection is lost."""
        exchange = Exchange()
        stream.send(exchange.hello(), Deadline(_SEND_SECONDS))
        turn, due = 0, time.monotonic()
        while not self._stopping.is_set():
            self._hear(exchange, stream, until=due)
            with self._lock:
                self._book.expire(_now())
                targets = self._book.targets() if exchange.ready else ()
            due = time.monotonic() + self._pause(len(targets))
            if targets:
                turn += 1
                self._ask(exchange, stream, targets[turn % len(targets)])

    def _pause(self, targets: int) -> float:
        return max(self._interval / targets, 1 / MOST_PER_SECOND) if targets else _RETRY_SECONDS

    def _ask(self, exchange: Exchange, stream: Stream, agent: str) -> None:
        with self._lock:
            self._book.sent(agent, _now())
        stream.send(exchange.ask(agent, "ping"), Deadline(_SEND_SECONDS))

    def _hear(self, exchange: Exchange, stream: Stream, *, until: float) -> None:
        """Take answers until an instant of the monotonic clock."""
        with contextlib.suppress(TimeoutError):
            while not self._stopping.is_set():
                data = stream.receive(Deadline(until - time.monotonic()))
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                for answer in exchange.feed(data):
                    with self._lock:
                        self._book.heard(answer.agent, _now())
                if exchange.ready:
                    with self._lock:
                        self._book.connected(_now())
                if exchange.outgoing:
                    outgoing, exchange.outgoing = exchange.outgoing, b""
                    stream.send(outgoing, Deadline(_SEND_SECONDS))

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


def _connected(layout: BoshLayout) -> Stream:
    """Connect with the director's certificates of this moment."""
    path = layout.director_vm.director_config
    bus = msgspec.json.decode(path.read_bytes(), type=DirectorConfig).nats
    deadline = Deadline(_CONNECT_SECONDS)
    where = parse_address(bus.address)
    carrier = dial(where, deadline)
    try:
        identity = Identity.from_pem(
            Path(bus.certificate).read_bytes(), Path(bus.private_key).read_bytes()
        )
        read_greeting_before_tls(carrier, deadline)
        return secure(
            carrier,
            identity=identity,
            trust=Path(bus.ca).read_bytes(),
            server_name=where.host,
            deadline=deadline,
        )
    except BaseException:
        carrier.close()
        raise


def _now() -> datetime:
    return datetime.now(UTC)
