"""Which links work now: what a new handshake on each would come to, by the peers' own stacks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import NamedTuple

import msgspec

from rollover.fleet.certificate import (
    Accepts,
    Bundle,
    Chain,
    Fault,
    FaultKind,
    Question,
    Stack,
    Usage,
)
from rollover.fleet.fleet import Availability, Endpoint, EndpointRef, Fleet, Link
from rollover.pki.names import covers

Shape = Callable[[Chain], Hashable]
"""Gives chains that are judged alike, but for names and dates, the same value."""


class JudgedHandshake(msgspec.Struct, frozen=True, kw_only=True):
    """What a new handshake on a link would come to. `observed` False: an end of it is not known."""

    observed: bool = True
    refused_by: EndpointRef | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def works(self) -> bool:
        """Whether it would succeed for all that is known."""
        return not self.faults


_WORKS = JudgedHandshake()
_UNSEEN = JudgedHandshake(observed=False)


class _End(NamedTuple):
    """One end of links: ends of one kind are judged alike. `kind` None: it was not seen."""

    endpoint: Endpoint
    kind: int | None


class _Answer(NamedTuple):
    """Why links between two kinds of ends do not work, and which end says so."""

    by_dialer: bool
    faults: tuple[Fault, ...]


class Handshakes:
    """Judges the links of one fleet at one instant; links of the same kinds of ends only once."""

    def __init__(self, fleet: Fleet, *, accepts: Accepts, shape: Shape, now: datetime) -> None:
        self._fleet = fleet
        self._accepts = accepts
        self._shape = shape
        self._now = now
        self._shapes: dict[Chain, Hashable] = {}
        self._kinds: dict[Hashable, int] = {}
        self._answers: dict[Hashable, _Answer] = {}
        self._verdicts: dict[Hashable, tuple[Fault, ...]] = {}
        self._ends = {
            EndpointRef(instance.name, endpoint.name): self._end(endpoint, instance.availability)
            for instance in fleet.instances()
            for endpoint in instance.endpoints
        }

    def on(self, link: Link) -> JudgedHandshake:
        """Return what a new handshake on a link would come to."""
        dialer, acceptor = self._ends[link.dialer], self._ends[link.acceptor]
        if dialer.kind is None or acceptor.kind is None:
            return _UNSEEN
        key = (dialer.kind, acceptor.kind, link.mutual, link.name)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._judge(link, dialer.endpoint, acceptor.endpoint)
        if not answer.faults:
            return _WORKS
        refusing = link.dialer if answer.by_dialer else link.acceptor
        return JudgedHandshake(refused_by=refusing, faults=answer.faults)

    def _end(self, endpoint: Endpoint, availability: Availability) -> _End:
        known = bool(endpoint.presents) or endpoint.trusts is not None
        # Of a ready instance it was seen that the endpoint presents and verifies nothing.
        if not known and availability is not Availability.READY:
            return _End(endpoint, None)
        chain = endpoint.presents
        # All that a handshake with this end depends on, whichever side it is on.
        key = (
            self._shaped(chain) if chain else (),
            self._fleet.certificates[chain[0]].names if chain else (),
            endpoint.trusts,
            endpoint.stack,
        )
        return _End(endpoint, self._kinds.setdefault(key, len(self._kinds)))

    def _judge(self, link: Link, dialer: Endpoint, acceptor: Endpoint) -> _Answer:
        # The order of TLS: a dialer verifies the server before it sends its own certificate, so a
        # link that fails both ways shows the dialer's refusal only.
        faults: tuple[Fault, ...] = ()
        if dialer.trusts is not None:
            faults = (
                *self._ask(
                    acceptor.presents, dialer.trusts, usage=Usage.SERVER, stack=dialer.stack
                ),
                *self._name_faults(link, acceptor.presents),
            )
        if faults:
            return _Answer(by_dialer=True, faults=faults)
        if link.mutual and acceptor.trusts is not None:
            faults = self._ask(
                dialer.presents,
                acceptor.trusts,
                usage=Usage.CLIENT,
                stack=acceptor.stack,
                presenter=dialer.stack,
            )
        return _Answer(by_dialer=False, faults=faults)

    def _name_faults(self, link: Link, chain: Chain) -> tuple[Fault, ...]:
        leaf = self._fleet.certificates.get(chain[0]) if chain else None
        if leaf is None or link.name is None or covers(leaf.names, link.name):
            return ()
        held = ", ".join(leaf.names) or "no name at all"
        detail = f"the certificate does not cover `{link.name}`, it has {held}"
        return (Fault(kind=FaultKind.NAME, detail=detail, certificate=chain[0]),)

    def _ask(
        self,
        chain: Chain,
        bundle: Bundle,
        *,
        usage: Usage,
        stack: Stack,
        presenter: Stack | None = None,
    ) -> tuple[Fault, ...]:
        if not chain:
            return (Fault(kind=FaultKind.NO_CERTIFICATE, detail="no certificate is presented"),)
        key = (self._shaped(chain), bundle, usage, stack, presenter)
        if key not in self._verdicts:
            question = Question(
                chain=chain,
                bundle=bundle,
                instant=self._now,
                usage=usage,
                stack=stack,
                presenter=presenter,
            )
            self._verdicts[key] = self._accepts(question).faults
        return self._verdicts[key]

    def _shaped(self, chain: Chain) -> Hashable:
        """Return what decides the verdict on a chain at this instant."""
        if chain not in self._shapes:
            leaf = self._fleet.certificates[chain[0]]
            dates = (self._now < leaf.not_before, self._now > leaf.not_after)
            # The detail of a fault names dates, so chains out of date are judged one by one.
            self._shapes[chain] = chain if any(dates) else self._shape(chain)
        return self._shapes[chain]
