"""What a rotation is to end with: a tagged union of goals.

Each says what an endpoint shall present and trust, by its place and by what it has now; nobody
else looks at which kind of goal it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import timedelta
from enum import Enum, auto
from functools import cached_property
from types import MappingProxyType

import msgspec

from rollover.fleet.certificate import Bundle, Chain
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import AuthorityName, EndpointName, Fingerprint, InstanceName

DEFAULT_STEP_MARGIN = timedelta(minutes=5)
"""How long, beyond the rollouts themselves, a step may wait for a person before the next begins."""


class Approach(Enum):
    """How a goal is gone to."""

    CHEAPEST = auto()
    """By the cheapest of all safe ways: searched."""
    AT_ONCE = auto()
    """All of it in one rollout for each group, as it is, or not at all."""
    LEAST_HARM = auto()
    """Straight, whatever breaks: the order that breaks least."""


class MaterialKind(Enum):
    """Which material is installed: rotations of one kind go by its name in commands."""

    BUNDLE = "given-bundle"
    CHAIN = "given-chain"


About = AuthorityName | MaterialKind
"""What a rotation is about, and by what the last one is found again."""


def name_of(about: About) -> str:
    """Return what people call that: in `--authority`, in a plan, in a status."""
    return about.value if isinstance(about, MaterialKind) else about


class Prospect(msgspec.Struct, frozen=True):
    """What an instance that presents a chain of the authority would present once reissued.

    The chains are specimens: of the same shape as the present one, issued by the target.
    `bridged` also carries the goal's bridge.
    """

    issuer: Fingerprint
    renewed: Chain
    bridged: Chain | None = None


Prospects = Callable[[Chain], Prospect | None]
"""Tells what would be presented instead of a chain; None for one that no authority issued."""


class ChainCourse(msgspec.Struct, frozen=True):
    """The chains of an endpoint on the way to a goal: the present one, others, the last one.

    One alone stays. Between the first and the last of three is one that serves meanwhile.
    `arrived`: those with which the goal is content. `origins` say of each where it comes from:
    what a source holds is recognised by it.
    """

    chains: tuple[Chain, ...]
    arrived: frozenset[Chain]
    origins: tuple[Hashable, ...]


class BundleCourse(msgspec.Struct, frozen=True):
    """The bundle that an endpoint shall have in the end.

    `versions`: the CAs that it is about; none: whatever is in it. `joined`: what was trusted is
    trusted meanwhile too, for chains are going to change.
    """

    end: Bundle
    versions: frozenset[Fingerprint] = frozenset()
    joined: bool = False


class RotateAuthority(msgspec.Struct, frozen=True, kw_only=True, tag="rotate-authority"):
    """Every chain of the authority comes from `target`; every bundle holds `trusted`, no `retired`.

    `trusted` starts with the target; a standby CA, and the one before, follow it. `retired` are
    the versions of the authority that nobody trusts in the end. A rollback is a goal like any
    other: its target is the old version.
    """

    authority: AuthorityName
    target: Fingerprint
    trusted: tuple[Fingerprint, ...]
    retired: tuple[Fingerprint, ...]
    bridge: Fingerprint | None = None
    """The target's certificate as signed by the retired CA: presented meanwhile, if given."""
    compromised: bool = False
    """The retired CA's key is in wrong hands: its trust goes first, whatever dies of it."""
    step_margin: timedelta = DEFAULT_STEP_MARGIN

    @property
    def about(self) -> About:
        """What the rotation is about."""
        return self.authority

    @property
    def approach(self) -> Approach:
        """How it is gone to."""
        return Approach.LEAST_HARM if self.compromised else Approach.CHEAPEST

    @property
    def can_wait(self) -> bool:
        """Whether what stands in the way now may be out of the way later: always."""
        return True

    @property
    def in_play(self) -> frozenset[Fingerprint]:
        """The CAs that bundles gain, keep or lose."""
        return frozenset((*self.trusted, *self.retired))

    @property
    def chains(self) -> frozenset[Chain]:
        """Chains that are installed as they are: none, all are issued."""
        return frozenset()

    def installed_on(self, _instance: InstanceName) -> Mapping[EndpointName, Installation]:
        """Return what is installed as it is on the endpoints of an instance: nothing."""
        return _NOTHING

    def presents(self, _ref: EndpointRef, now: Chain, prospects: Prospects) -> ChainCourse:
        """Return the chains of an endpoint: as it is, bridged, reissued."""
        prospect = prospects(now) if now else None
        if prospect is None:
            return _stays(now)
        origin = (prospect.issuer, self.is_bridged(now))
        renewed = prospect.renewed
        if now == renewed:
            return ChainCourse((now,), frozenset((now,)), (origin,))
        end = (self.target, False)
        if prospect.issuer == self.target:
            return ChainCourse((now, renewed), frozenset((now, renewed)), (origin, end))
        if prospect.bridged is None or self.compromised:
            return ChainCourse((now, renewed), frozenset((renewed,)), (origin, end))
        bridged = prospect.bridged
        return ChainCourse(
            (now, bridged, renewed),
            frozenset((bridged, renewed)),
            (origin, (self.target, True), end),
        )

    def trusts(self, _ref: EndpointRef, now: Bundle) -> BundleCourse:
        """Return the bundle of an endpoint: one without a version of the authority stays."""
        if not self.in_play.intersection(now):
            return BundleCourse(now)
        kept = (ca for ca in now if ca not in self.retired)
        end = tuple(dict.fromkeys((*kept, *self.trusted)))
        return BundleCourse(end, self.in_play, joined=True)

    def is_bridged(self, chain: Chain) -> bool:
        """Whether a chain carries the bridge."""
        return self.bridge is not None and self.bridge in chain

    def tells_of(self, ca: Fingerprint, versions: Collection[Fingerprint]) -> bool:
        """Whether a plan speaks of a CA; `versions`: those of the fleet's authorities."""
        return ca in versions


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """Material that somebody supplies, where no authority makes any, and the endpoints it is for.

    `bundle` None: they trust what they trust now. `chain` None: they present what they present.
    `file`: where the bundle lies from then on, below the directory of each instance; None: where
    it lies now, for all that use that file.
    """

    endpoints: tuple[EndpointRef, ...]
    bundle: Bundle | None = None
    chain: Chain | None = None
    file: str | None = None


class InstallMaterial(msgspec.Struct, frozen=True, kw_only=True, dict=True, tag="install-material"):
    """Endpoints present and trust what was supplied for them; nobody else changes.

    Nothing is issued. What they had is a goal of this kind too, which takes it back.
    """

    parts: tuple[Installation, ...]
    step_margin: timedelta = DEFAULT_STEP_MARGIN

    @property
    def about(self) -> About:
        """What the rotation is about."""
        return MaterialKind.CHAIN if self.chains else MaterialKind.BUNDLE

    @property
    def approach(self) -> Approach:
        """How it is gone to: bundles in any safe order, a chain that others have issued at once."""
        return Approach.AT_ONCE if self.chains else Approach.CHEAPEST

    @property
    def can_wait(self) -> bool:
        """Whether what stands in the way now may be out of the way later: a bundle stays wrong."""
        return False

    @cached_property
    def in_play(self) -> frozenset[Fingerprint]:
        """The CAs that bundles gain or keep."""
        return frozenset(ca for part in self.parts for ca in part.bundle or ())

    @cached_property
    def chains(self) -> frozenset[Chain]:
        """Chains that are installed as they are."""
        return frozenset(part.chain for part in self.parts if part.chain)

    def installed_on(self, instance: InstanceName) -> Mapping[EndpointName, Installation]:
        """Return what is installed as it is on the endpoints of an instance."""
        return self._by_instance.get(instance, _NOTHING)

    @cached_property
    def _by_instance(self) -> dict[InstanceName, dict[EndpointName, Installation]]:
        found: dict[InstanceName, dict[EndpointName, Installation]] = {}
        for part in self.parts:
            for ref in part.endpoints:
                found.setdefault(ref.instance, {})[ref.endpoint] = part
        return found

    def presents(self, ref: EndpointRef, now: Chain, _prospects: Prospects) -> ChainCourse:
        """Return the chains of an endpoint: as it is, and what is installed."""
        part = self.installed_on(ref.instance).get(ref.endpoint)
        if part is None or part.chain in {None, now}:
            return _stays(now)
        return ChainCourse((now, part.chain), frozenset((part.chain,)), (now, part.chain))

    def trusts(self, ref: EndpointRef, now: Bundle) -> BundleCourse:
        """Return the bundle of an endpoint.

        Nobody's chain changes because of a bundle, so trusting both meanwhile would help nobody.
        """
        part = self.installed_on(ref.instance).get(ref.endpoint)
        return BundleCourse(now if part is None or part.bundle is None else part.bundle)

    def is_bridged(self, _chain: Chain) -> bool:
        """Whether a chain carries a bridge: none is made."""
        return False

    def tells_of(self, _ca: Fingerprint, _versions: Collection[Fingerprint]) -> bool:
        """Whether a plan speaks of a CA: of whomever is trusted."""
        return True


Goal = RotateAuthority | InstallMaterial

_NOTHING: Mapping[EndpointName, Installation] = MappingProxyType({})


def _stays(chain: Chain) -> ChainCourse:
    return ChainCourse((chain,), frozenset((chain,)), (chain,))
