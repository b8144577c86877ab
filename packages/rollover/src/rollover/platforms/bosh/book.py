"""What was seen of agents and handed out to them, and what follows from it. Pure.

NATS shows of an agent's certificate only its fingerprint. So which CA issued it, and which bundle
came with it, is concluded: a certificate was issued after the agent was last seen with another
one, and before it was first seen itself; what the director handed out in that time is what it can
have come with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import msgspec

from rollover.fleet.names import Fingerprint
from rollover.platforms.bosh.handout import Handout

VERSION = 1
MOST_SIGHTINGS = 4
"""Certificates kept of one agent, the latest."""
MOST_AGENTS = 50_000
"""Agents kept: of short-lived VMs there is no end."""
Bundle = tuple[Fingerprint, ...]


class AgentState(NamedTuple):
    """What an agent was given at one time: the CA of its certificate, and what it trusts."""

    signer: Fingerprint
    bundle: Bundle


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What the director handed out, until the next one's `since`."""

    signer: Fingerprint
    bundle: Bundle
    since: datetime | None = None
    """When it began, at the latest; None: before anybody looked."""
    earliest: datetime | None = None
    """When it can have begun at the earliest; None: at any time."""
    noted: datetime
    """When it was seen first to be handed out."""
    confirmed: datetime
    """When it was seen last to be handed out."""
    task: int | None = None
    """The last task of the director when this was seen to have begun; None: nobody asked."""

    @property
    def state(self) -> AgentState:
        """What an agent has that was given this."""
        return AgentState(self.signer, self.bundle)


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of an agent, as the NATS server saw it."""

    certificate: Fingerprint
    first_seen: datetime
    last_seen: datetime
    after: datetime | None = None
    """When the agent was last seen with another certificate: this one is younger."""
    signer: Fingerprint | None = None
    """Where it comes from, once there is no doubt."""
    bundle: Bundle | None = None
    issued_here: bool = False
    """Rollover made it itself: the director's own record does not know of it."""

    @property
    def settled(self) -> AgentState | None:
        """What the agent holds, when there is no doubt."""
        if self.signer is None or self.bundle is None:
            return None
        return AgentState(self.signer, self.bundle)


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that Rollover itself sent to an agent."""

    agent: str
    signer: Fingerprint
    bundle: Bundle
    at: datetime


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file. `certificates` holds the DER of every CA that is named."""

    version: int = VERSION
    certificates: dict[Fingerprint, bytes] = {}
    handouts: tuple[Handed, ...] = ()
    agents: dict[str, tuple[Sighting, ...]] = {}
    """By agent id, the latest certificate last."""
    issued: dict[Fingerprint, Issued] = {}


def handed_within(
    handouts: Sequence[Handed], *, after: datetime | None, until: datetime
) -> tuple[Handed, ...]:
    """Return what can have been handed out at some time after `after` (None: ever) and `until`."""
    ends: list[datetime | None] = [each.since for each in handouts[1:]]
    return tuple(
        each
        for each, end in zip(handouts, [*ends, None], strict=True)
        if (each.earliest is None or each.earliest <= until)
        and (end is None or after is None or end > after)
    )


def possible_states(
    handouts: Sequence[Handed],
    *,
    trusted: frozenset[Fingerprint],
    after: datetime | None,
    until: datetime,
    connected: bool,
) -> tuple[AgentState, ...]:
    """Return what an agent can hold whose certificate was issued in that time, likeliest first.

    `trusted` are the CAs that the server accepts: whoever is `connected` comes from one of them.
    From before anybody looked, any of them is possible, each with itself as the bundle; with only
    one of them there is no doubt. Between two looks something may have been handed out that
    nobody saw.
    """
    found = [each.state for each in handed_within(handouts, after=after, until=until)]
    found += _unseen(handouts, after=after, until=until)
    if handouts and (after is None or after < handouts[0].noted):
        past = sorted(trusted - {each.signer for each in found})
        found += [AgentState(each, (each,)) for each in past]
    fitting = [each for each in found if not connected or each.signer in trusted]
    # The latest is the likeliest: it is handed out for longest.
    return tuple(dict.fromkeys(reversed(fitting or found)))


def _unseen(
    handouts: Sequence[Handed], *, after: datetime | None, until: datetime
) -> Iterator[AgentState]:
    """Yield what may have been handed out between two that were seen, where nobody timed it.

    From one CA to another there is a time of both, and of one alone between two times of both.
    """
    for before, then in pairwise(handouts):
        timed = then.since is None or then.earliest is None or then.earliest == then.since
        if timed or (after is not None and then.since is not None and then.since <= after):
            continue
        if then.earliest is None or then.earliest < until:
            for signer in dict.fromkeys((before.signer, then.signer)):
                if set(before.bundle) == set(then.bundle):
                    yield AgentState(signer, (signer,))
                elif not set(before.bundle) & set(then.bundle):
                    yield AgentState(signer, (*before.bundle, *then.bundle))


def states_of(
    book: Book,
    agent: str,
    *,
    trusted: frozenset[Fingerprint],
    certificate: Fingerprint | None,
    born: datetime | None,
    at: datetime,
) -> tuple[AgentState, ...]:
    """Return what an agent can hold, likeliest first.

    `certificate` is that of its live connection; None: it is not connected, or nobody can see.
    Such a one may have been given anything since it was last seen. `born`: its VM is younger.
    """
    seen = book.agents.get(agent, ())
    current = next((each for each in seen if each.certificate == certificate), None)
    if current is not None and current.settled is not None:
        return (current.settled,)
    if current is not None:
        return possible_states(
            book.handouts,
            trusted=trusted,
            after=max((each for each in (current.after, born) if each is not None), default=None),
            until=current.first_seen,
            connected=True,
        )
    last = seen[-1] if seen else None
    since = possible_states(
        book.handouts,
        trusted=trusted,
        after=last.last_seen if last is not None else born,
        until=at,
        connected=False,
    )
    if last is None:
        return since
    before = states_of(book, agent, trusted=trusted, certificate=last.certificate, born=born, at=at)
    return tuple(dict.fromkeys((*before, *since)))


def with_handout(book: Book, handout: Handout, *, at: datetime) -> Book:
    """Return the book with what the director hands out now."""
    signer = handout.signer.fingerprint
    bundle = tuple(each.fingerprint for each in handout.bundle)
    certificates = book.certificates | {
        each.fingerprint: each.der for each in (handout.signer, *handout.bundle)
    }
    *before, last = book.handouts or (None,)
    if last is not None and last.state == (signer, bundle):
        handed = msgspec.structs.replace(last, confirmed=max(at, last.confirmed))
    else:
        unknown = last is not None and handout.since is None
        handed = Handed(
            signer=signer,
            bundle=bundle,
            since=at if unknown else handout.since,
            earliest=last.confirmed if unknown and last is not None else handout.since,
            noted=at,
            confirmed=at,
            task=handout.task,
        )
        before = list(book.handouts)
    kept = tuple(each for each in (*before, handed) if each is not None)
    return msgspec.structs.replace(book, certificates=certificates, handouts=kept)


def with_connections(book: Book, seen: Mapping[str, Fingerprint], *, at: datetime) -> Book:
    """Return the book with the certificates of connected agents, by agent id."""
    agents = dict(book.agents)
    for agent, certificate in seen.items():
        agents[agent] = tuple(_seen(agents.get(agent, ()), certificate, book.issued, at))
    if len(agents) > MOST_AGENTS:
        # Who was forgotten is taken for one that was never seen: more is possible, never less.
        latest = sorted(agents, key=lambda each: agents[each][-1].last_seen)[-MOST_AGENTS:]
        agents = {each: agents[each] for each in latest}
    return msgspec.structs.replace(book, agents=agents)


def _seen(
    before: tuple[Sighting, ...],
    certificate: Fingerprint,
    issued: Mapping[Fingerprint, Issued],
    at: datetime,
) -> Iterator[Sighting]:
    others = [each for each in before if each.certificate != certificate]
    known = next((each for each in before if each.certificate == certificate), None)
    yield from others[-(MOST_SIGHTINGS - 1) :]
    if known is not None:
        yield msgspec.structs.replace(known, last_seen=max(at, known.last_seen))
        return
    made = issued.get(certificate)
    yield Sighting(
        certificate=certificate,
        first_seen=at,
        last_seen=at,
        after=max((each.last_seen for each in others), default=None),
        signer=made.signer if made else None,
        bundle=made.bundle if made else None,
        issued_here=made is not None,
    )


def with_settled(
    book: Book,
    *,
    trusted: frozenset[Fingerprint],
    connected: Mapping[str, datetime | None],
    at: datetime,
) -> Book:
    """Return the book in which everything is written down that has become beyond doubt.

    `connected` are the agents that are connected now, each with a time that its VM is younger
    than.
    """
    agents = dict(book.agents)
    for agent, born in connected.items():
        *before, last = book.agents.get(agent, (None,))
        if last is None or last.settled is not None:
            continue
        states = states_of(
            book, agent, trusted=trusted, certificate=last.certificate, born=born, at=at
        )
        if len(states) == 1:
            settled = msgspec.structs.replace(
                last, signer=states[0].signer, bundle=states[0].bundle
            )
            agents[agent] = (*(each for each in before if each is not None), settled)
    return msgspec.structs.replace(book, agents=agents)
