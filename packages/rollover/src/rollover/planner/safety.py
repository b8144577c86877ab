"""The safety rule: a rollout breaks no link that works now, in any mixture, until the next can end.

A link works when a new handshake on it would succeed. It has two ends, so *any mixture* of changed
and unchanged instances comes down to four combinations for each link of two classes, and to two
where both ends sit on one instance. An instance that could not be confirmed may be in any of its
possible states; the rule then ranges over those.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain as flatten
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import (
    Accepts,
    Certificate,
    Chain,
    Fault,
    FaultKind,
    Question,
    Stack,
    Usage,
)
from rollover.fleet.goal import Prospect
from rollover.fleet.names import SYSTEM_ROOTS, Fingerprint
from rollover.fleet.plan import Side
from rollover.planner.graph import Edge, Graph, Held, Node, Value, Vector, certificates_of


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner has to be told about certificates: it parses none. All functions are pure.

    `certificates` knows every certificate of the fleet and of the prospects (it may grow as
    prospects are asked for). `accepts` answers questions of trust. `shape` gives chains that are
    judged alike (but for names and dates) the same value. `prospect` tells what would be presented
    instead of a chain, or None for a chain that the goal's authority did not issue.
    """

    certificates: Mapping[Fingerprint, Certificate]
    accepts: Accepts
    shape: Callable[[Chain], Hashable]
    prospect: Callable[[Chain], Prospect | None]


_INSTANT = timedelta(microseconds=1)
"""A certificate is still valid at its last instant (RFC 5280 §4.1.2.5), no longer after it."""


class Half(NamedTuple):
    """One of the two verifications of a handshake: whose bundle judges whose chain."""

    verifier: int
    bundle: int
    presenter: int
    chain: int | None
    usage: Usage
    stack: Stack
    presenter_stack: Stack | None
    named: bool
    misnamed: Chain


def halves(graph: Graph, edge: Edge) -> Iterator[Half]:
    """Yield what the acceptance of a link comes down to; nothing where nobody verifies."""
    dials = graph.nodes[edge.dialer].ports[edge.dialer_endpoint]
    accepts = graph.nodes[edge.acceptor].ports[edge.acceptor_endpoint]
    if dials.bundle is not None:
        yield Half(
            edge.dialer, dials.bundle, edge.acceptor, accepts.chain,
            Usage.SERVER, edge.dialer_stack, None, edge.named, edge.misnamed,
        )  # fmt: skip
    if edge.mutual and accepts.bundle is not None:
        yield Half(
            edge.acceptor, accepts.bundle, edge.dialer, dials.chain,
            Usage.CLIENT, edge.acceptor_stack, edge.dialer_stack, True, (),
        )  # fmt: skip


class Refusal(msgspec.Struct, frozen=True):
    """Why one combination of a link does not work: who refuses whom, and why."""

    by_dialer: bool
    faults: tuple[Fault, ...]


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A combination that a step would bring about, and in which a link stops working."""

    edge: int
    dialer_side: Side
    acceptor_side: Side
    refusal: Refusal
    instant: datetime
    lapses: bool = False
    """It works when the step starts, and stops when a date passes."""


class Window(msgspec.Struct, frozen=True):
    """From the start of a step until the next one can have ended."""

    starts: datetime
    ends: datetime


class Checked(msgspec.Struct, frozen=True):
    """What a check of one step looked at, and the first breakage on each link that it found."""

    broken: tuple[Broken, ...]
    edges: int
    links: int
    combinations: int


class _Answers(NamedTuple):
    """What was found out so far. It holds for every graph that is made from the same values."""

    dates: list[datetime]
    faults: dict[tuple[object, ...], tuple[Fault, ...]]
    links: dict[tuple[object, ...], Refusal | None]


class Judge:
    """Judges links of one graph. Answers are kept: a verdict changes only when a date passes."""

    def __init__(
        self, graph: Graph, knowledge: Knowledge, *, answers: _Answers | None = None
    ) -> None:
        self._graph = graph
        self._knowledge = knowledge
        self._answers = answers or _Answers(_dates(graph, knowledge), {}, {})
        self._dates, self._known, self._links = self._answers

    def on(self, graph: Graph) -> Judge:
        """Return a judge of a graph made from this one's values; answers are shared."""
        return Judge(graph, self._knowledge, answers=self._answers)

    @property
    def verdicts(self) -> int:
        """How many different verdicts were asked for so far."""
        return len(self._known)

    def epoch(self, instant: datetime) -> int:
        """Return a number that changes only where the validity of a certificate does."""
        return bisect_right(self._dates, instant)

    def dates_between(self, start: datetime, end: datetime) -> bool:
        """Whether any certificate in play starts or stops to be valid in between."""
        return self.epoch(start) != self.epoch(end)

    def instants(self, window: Window) -> tuple[datetime, ...]:
        """Return the instants of a window at which verdicts may differ, its start first."""
        first, last = self.epoch(window.starts), self.epoch(window.ends)
        return (window.starts, *self._dates[first:last])

    def link(
        self, edge: Edge, dialer: Vector, acceptor: Vector, instant: datetime
    ) -> Refusal | None:
        """Return why a new handshake would fail in these two states; None when it would not."""
        # The key holds values, not indices: links of other classes, and of graphs of the way back,
        # that come to the same handshake share one answer.
        epoch = self.epoch(instant)
        dials = self._graph.nodes[edge.dialer].ports[edge.dialer_endpoint]
        accepts = self._graph.nodes[edge.acceptor].ports[edge.acceptor_endpoint]
        offered = () if accepts.chain is None else acceptor[accepts.chain]
        anchors = None if dials.bundle is None else dialer[dials.bundle]
        client = () if dials.chain is None else dialer[dials.chain]
        demanded = None if accepts.bundle is None else acceptor[accepts.bundle]
        if not edge.mutual:
            demanded = None
        key = (
            offered, anchors, client, demanded,
            edge.named, edge.misnamed, edge.dialer_stack, edge.acceptor_stack, epoch,
        )  # fmt: skip
        if key not in self._links:
            self._links[key] = self._judge(edge, (offered, anchors), (client, demanded), instant)
        return self._links[key]

    def _judge(
        self,
        edge: Edge,
        served: tuple[Value, Value | None],
        sent: tuple[Value, Value | None],
        instant: datetime,
    ) -> Refusal | None:
        if served[1] is not None:
            faults = self._ask(served[0], served[1], instant, Usage.SERVER, edge.dialer_stack, None)
            if served[0] and (not edge.named or served[0] == edge.misnamed):
                faults = (*faults, _unnamed(edge, served[0]))
            if faults:
                return Refusal(True, faults)
        if sent[1] is not None:
            faults = self._ask(
                sent[0], sent[1], instant, Usage.CLIENT, edge.acceptor_stack, edge.dialer_stack
            )
            if faults:
                return Refusal(False, faults)
        return None

    def _ask(
        self,
        chain: Value,
        bundle: Value,
        instant: datetime,
        usage: Usage,
        stack: Stack,
        presenter: Stack | None,
    ) -> tuple[Fault, ...]:
        if not chain:
            return (Fault(kind=FaultKind.NO_CERTIFICATE, detail="no certificate is presented"),)
        key = (chain, bundle, usage, stack, presenter, self.epoch(instant))
        if key not in self._known:
            question = Question(
                chain=certificates_of(chain),
                bundle=certificates_of(bundle),
                instant=instant,
                usage=usage,
                stack=stack,
                presenter=presenter,
            )
            self._known[key] = self._knowledge.accepts(question).faults
        return self._known[key]

    def accepts(self, half: Half, chain: Value, bundle: Value, instant: datetime) -> bool:
        """Whether one verification of a handshake succeeds with these two."""
        if not half.named or (chain and chain == half.misnamed):
            return False
        return not self._ask(chain, bundle, instant, half.usage, half.stack, half.presenter_stack)

    def check(
        self,
        edges: Sequence[int],
        before: Held,
        after: Mapping[int, Vector],
        window: Window,
    ) -> Checked:
        """Check one step: the classes in `after` go from what they were to that, one by one.

        Returns at most one breakage for each edge, the earliest that was found.
        """
        broken: list[Broken] = []
        combinations = looked_at = links = 0
        for index in self._touched(edges, after):
            looked_at += 1
            links += self._graph.edges[index].links
            for found in self._check_edge(index, before, after, window):
                combinations += 1
                if found is not None:
                    broken.append(found)
                    break
        return Checked(tuple(broken), looked_at, links, combinations)

    def safe(
        self,
        edges: Sequence[int],
        before: Held,
        after: Mapping[int, Vector],
        window: Window,
    ) -> bool:
        """Whether a step breaks nothing; stops at the first breakage."""
        return all(
            found is None
            for index in self._touched(edges, after)
            for found in self._check_edge(index, before, after, window)
        )

    def _touched(self, edges: Sequence[int], after: Mapping[int, Vector]) -> Iterator[int]:
        """Yield the edges of which an end changes: a step can break no other."""
        for index in edges:
            edge = self._graph.edges[index]
            if edge.dialer in after or edge.acceptor in after:
                yield index

    def _check_edge(
        self,
        index: int,
        before: Held,
        after: Mapping[int, Vector],
        window: Window,
    ) -> Iterator[Broken | None]:
        """Yield one item for each combination looked at: None, or the breakage."""
        edge = self._graph.edges[index]
        instants = self.instants(window)
        for dialer, acceptor in starting_pairs(edge, before):
            if self.link(edge, dialer, acceptor, window.starts) is not None:
                # What is broken already cannot be broken again: that is how recovery is planned.
                continue
            for mixture in _mixtures(edge, (dialer, acceptor), after):
                for instant in instants:
                    refusal = self.link(edge, mixture[0][1], mixture[1][1], instant)
                    if refusal is None:
                        yield None
                        continue
                    yield Broken(
                        edge=index,
                        dialer_side=mixture[0][0],
                        acceptor_side=mixture[1][0],
                        refusal=refusal,
                        instant=instant,
                        lapses=instant > window.starts,
                    )


def starting_pairs(edge: Edge, before: Held) -> Iterator[tuple[Vector, Vector]]:
    """Yield what the two ends may hold when the step begins."""
    if edge.same_instance:
        for state in before[edge.dialer]:
            yield state, state
        return
    for dialer in before[edge.dialer]:
        for acceptor in before[edge.acceptor]:
            yield dialer, acceptor


def _mixtures(
    edge: Edge, start: tuple[Vector, Vector], after: Mapping[int, Vector]
) -> Iterator[tuple[tuple[Side, Vector], tuple[Side, Vector]]]:
    """Yield the combinations of changed and unchanged ends; two where they change together."""
    dialers = [(Side.BEFORE, start[0])]
    acceptors = [(Side.BEFORE, start[1])]
    if edge.dialer in after and after[edge.dialer] != start[0]:
        dialers.append((Side.AFTER, after[edge.dialer]))
    if edge.acceptor in after and after[edge.acceptor] != start[1]:
        acceptors.append((Side.AFTER, after[edge.acceptor]))
    if edge.same_instance:
        yield from zip(dialers, acceptors, strict=True)
        return
    for dialer in dialers:
        for acceptor in acceptors:
            yield dialer, acceptor


def _unnamed(edge: Edge, chain: Value) -> Fault:
    return Fault(
        kind=FaultKind.NAME,
        detail=f"the certificate does not cover `{edge.example.name}`",
        certificate=certificates_of(chain)[0],
    )


def _dates(graph: Graph, knowledge: Knowledge) -> list[datetime]:
    """Return every instant at which a certificate in play starts or stops to be valid, sorted."""
    fingerprints = set(flatten.from_iterable(_values(graph.nodes)))
    fingerprints.discard(SYSTEM_ROOTS)
    dates: set[datetime] = set()
    for fingerprint in fingerprints:
        certificate = knowledge.certificates.get(fingerprint)
        if certificate is not None:
            dates.update((certificate.not_before, certificate.not_after + _INSTANT))
    return sorted(dates)


def _values(nodes: Sequence[Node]) -> Iterator[tuple[Fingerprint, ...]]:
    for node in nodes:
        for slot in node.slots:
            for _, value in slot.values:
                yield certificates_of(value)
        yield from map(certificates_of, flatten.from_iterable(node.states))
