"""Rules over peers: would these servers let each other in, by trust, by pins, by curves?

Peers that are judged alike are judged once, so that what many configurations cost grows with their
number and not with the number of their pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from nats_config.tls import ALWAYS_VERIFIED
from rollover.checks.configs.judging import refusal
from rollover.checks.configs.meetings import Crowd, Meeting, meetings
from rollover.checks.configs.scene import ConfigScene, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, Usage
from rollover.fleet.names import RuleId

SCHISM = Rule(
    id=RuleId("peers-refuse-each-other"),
    severity=Severity.ERROR,
    title="Servers that dial each other trust each other",
    meaning="A chain that one configuration presents does not validate against the bundle of "
    "another one that it dials or that dials it.",
    why="The link may be up now; after the next reconnect it is gone for good.",
    example="Cluster B's certificate comes from another intermediate, and A trusts only the first.",
    remedy="Trust both CAs on every side first (`rollover bundle build`), then renew.",
    source="RFC 5280 §6; measured: gateways (0,0) on all nodes",
)


NOTHING_SHOWN = Rule(
    id=RuleId("dialer-without-certificate"),
    severity=Severity.ERROR,
    title="Who is asked for a certificate has one",
    meaning="A remote dials a server that demands certificates, and its block names none.",
    why="The handshake fails: `tls: client didn't provide a certificate`.",
    example="`leafnodes { remotes: [{ url: tls://hub:7422 }] }`, and the hub has `verify: true`.",
    remedy="Give the remote a `tls` block with `cert_file`, `key_file` and `ca_file`.",
    source="nats-server leaf node documentation; measured",
)
NOT_PINNED = Rule(
    id=RuleId("peer-not-pinned"),
    severity=Severity.ERROR,
    title="Pins hold the keys of all peers",
    meaning="A block pins keys, and the key of a peer among these configurations is not one.",
    why="The peer is refused at its next handshake, whatever its CA; a reload on 2.15.1 cuts it "
    "off at once.",
    example="Node 3 was renewed with a new key, and nobody added its pin.",
    remedy="Add the SHA-256 of the public key of every peer, or trust a CA instead of pins.",
    source="Measured on nats-server 2.15.1",
)
NOTHING_SHARED = Rule(
    id=RuleId("nothing-shared"),
    severity=Severity.ERROR,
    title="Peers have a curve in common",
    meaning="Two servers that talk over routes or gateways share no curve. Cipher suites cannot "
    "keep them apart: they meet in TLS 1.3, whose suites are not configured.",
    why="Every handshake between them fails.",
    example="One has `curve_preferences: [X25519]`, the other one `[CurveP384]`.",
    remedy="Use the same settings on all servers, best none.",
    source="RFC 8446 §4.1.1",
)

_DEFAULT_CURVES = frozenset(
    (
        "X25519MLKEM768",
        "P384MLKEM1024",
        "P256MLKEM768",
        "X25519",
        "CURVEP256",
        "CURVEP384",
        "CURVEP521",
    )
)


Kind = TypeVar("Kind", bound=Hashable)


class _Half(NamedTuple):
    """One direction of the handshakes of a meeting: who judges whom."""

    meeting: Meeting
    judges: tuple[Used, ...]
    shown: tuple[Used, ...]
    usage: Usage


def _halves(configs: ConfigScene) -> Iterator[_Half]:
    """Yield every direction in which some of these servers judge others."""
    for meeting in meetings(configs):
        dialers = tuple(Used(each.server, each.block) for each in meeting.dialers if each.block)
        verifying = tuple(each for each in dialers if not each.block.insecure)
        yield _Half(meeting, verifying, meeting.acceptors, Usage.SERVER)
        demanding = tuple(each for each in meeting.acceptors if each.block.demands_certificate)
        yield _Half(meeting, demanding, dialers, Usage.CLIENT)


def _alike(blocks: Iterable[Used], kind: Callable[[Used], Kind]) -> dict[Kind, list[Used]]:
    """Return blocks by what they are judged by; without those that have nothing of the kind."""
    gathered: dict[Kind, list[Used]] = {}
    for each in blocks:
        gathered.setdefault(kind(each), []).append(each)
    return {known: members for known, members in gathered.items() if known}


class Refusal(NamedTuple):
    """One pair of blocks of which the first one refuses the second one."""

    judge: str
    peer: str
    why: str


def refusals(configs: ConfigScene) -> Iterator[Refusal]:
    """Yield every pair in which one refuses the other; of many that is a lot."""
    for half in _halves(configs):
        for bundle, judges in _alike(half.judges, lambda each: configs.bundle(each.block)).items():
            causes = _causes(configs, half, bundle)
            for judge in judges:
                side = half.meeting.side(judge.server)
                for why, crowd in causes:
                    for peer in crowd.but(side):
                        yield Refusal(judge.subject, peer.subject, why)


def schism(configs: ConfigScene) -> Iterator[Finding]:
    """Yield who refuses others, once for each reason."""
    told: set[tuple[str, str]] = set()
    for half in _halves(configs):
        for bundle, judges in _alike(half.judges, lambda each: configs.bundle(each.block)).items():
            causes = _causes(configs, half, bundle)
            for judge in judges:
                for why, crowd in causes:
                    peers = crowd.seen_from(half.meeting.side(judge.server))
                    message = f"refuses {peers}: {why}"
                    if peers and (judge.subject, message) not in told:
                        told.add((judge.subject, message))
                        yield found(SCHISM, judge.subject, message, place=judge.place("ca_file"))


def _causes(
    configs: ConfigScene, half: _Half, bundle: tuple[Certificate, ...]
) -> list[tuple[str, Crowd]]:
    """Return why a bundle refuses peers, and whom for each reason."""
    reasons: dict[Hashable, str] = {}
    peers: dict[Hashable, list[Used]] = {}
    for chain, shown in _alike(half.shown, lambda each: configs.chain(each.block)).items():
        faults = refusal(configs, chain, bundle, usage=half.usage)
        if faults:
            cause = (chain[-1].issuer, tuple(each.kind for each in faults))
            reasons.setdefault(cause, "; ".join(each.detail for each in faults))
            peers.setdefault(cause, []).extend(shown)
    return [(why, Crowd(half.meeting, peers[cause])) for cause, why in reasons.items()]


def not_pinned(configs: ConfigScene) -> Iterator[Finding]:
    """Yield peers whose key is not among the pins of whoever judges them."""
    told: set[tuple[str, str]] = set()
    for half in _halves(configs):
        # A remote's own pins have no effect, as a dialer the main block's count.
        judging = [each for each in half.judges if each.block.context in ALWAYS_VERIFIED]
        judging = list(half.judges) if half.usage is Usage.CLIENT else judging
        for pins, judges in _alike(judging, lambda each: each.block.pinned_certs).items():
            keyed = _alike(half.shown, lambda each: _key(configs, each))
            strange = [each for key, peers in keyed.items() if key not in pins for each in peers]
            crowd = Crowd(half.meeting, strange, named=lambda each: _with_key(configs, each))
            for judge in judges:
                peers = crowd.seen_from(half.meeting.side(judge.server))
                message = f"pins no key of {peers}"
                if peers and (judge.subject, message) not in told:
                    told.add((judge.subject, message))
                    place = judge.place("pinned_certs")
                    yield found(NOT_PINNED, judge.subject, message, place=place)


def _key(configs: ConfigScene, used: Used) -> str:
    chain = configs.chain(used.block)
    return chain[0].key_identity.lower() if chain else ""


def _with_key(configs: ConfigScene, used: Used) -> str:
    return f"{used.subject} (`{_key(configs, used)}`)"


def nothing_shown(configs: ConfigScene) -> Iterator[Finding]:
    """Yield remotes without a certificate that dial servers which demand one."""
    told: set[tuple[str, str]] = set()
    for meeting in meetings(configs):
        demanding = (each for each in meeting.acceptors if each.block.demands_certificate)
        crowd = Crowd(meeting, demanding)
        for dialer in meeting.dialers:
            if dialer.block is not None and dialer.block.certificates:
                continue
            peers = crowd.seen_from(meeting.side(dialer.server))
            if peers and (dialer.subject, peers) not in told:
                told.add((dialer.subject, peers))
                message = f"has no certificate to show; asked for one by {peers}"
                yield found(NOTHING_SHOWN, dialer.subject, message, place=dialer.place)


def nothing_shared(configs: ConfigScene) -> Iterator[Finding]:
    """Yield servers whose cluster or gateway blocks have no curve in common.

    Suites are no reason: servers of today meet in TLS 1.3, for which Go takes no list.
    """
    for meeting in meetings(configs):
        blocks = (each for each in meeting.acceptors if each.block.context in ALWAYS_VERIFIED)
        kinds = _alike(blocks, _curves)
        for curves, members in kinds.items():
            others = [
                each for theirs, peers in kinds.items() if not curves & theirs for each in peers
            ]
            crowd = Crowd(meeting, others)
            for one in members:
                peers = crowd.seen_from(meeting.side(one.server))
                if peers:
                    place = one.place("curve_preferences")
                    message = f"shares no curve with {peers}"
                    yield found(NOTHING_SHARED, one.subject, message, place=place)


def _curves(used: Used) -> frozenset[str]:
    return frozenset(each.upper() for each in used.block.curve_preferences) or _DEFAULT_CURVES


CHECKS = (
    (SCHISM, schism),
    (NOT_PINNED, not_pinned),
    (NOTHING_SHOWN, nothing_shown),
    (NOTHING_SHARED, nothing_shared),
)
