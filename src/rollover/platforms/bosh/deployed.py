"""Which manifest the director VM was deployed from: by its record, and by what is seen of it. Pure.

The state file names one manifest by its SHA. What NATS shows, and what the director says of its
certificates, can contradict that, or settle it where the record says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from rollover.platforms.bosh import nats_port
from rollover.platforms.bosh.environment import Candidate, DeployedState
from rollover.platforms.bosh.nats_port import Shown
from rollover.platforms.bosh.properties import BUNDLE, DirectorProperties, NatsTls, Part
from rollover.platforms.bosh.records import Expiry

CLOSE = timedelta(seconds=1)
"""The director writes dates in whole seconds."""


class Seen(NamedTuple):
    """Everything that was seen of a running director."""

    shown: Shown
    expiries: tuple[Expiry, ...]
    """What the director says of its certificates; empty when it says nothing."""
    at: datetime


class Conclusion(NamedTuple):
    """What the director VM uses.

    `possible`: the manifests that it can be, the likeliest first. `recorded`: the one of the state
    file. `doubt` says why nothing is certain; `disagreement` that the record cannot be right.
    """

    possible: tuple[Candidate, ...]
    recorded: Candidate | None
    doubt: str = ""
    disagreement: str = ""
    silent: str = ""
    """Why NATS shows nothing, if it does not."""

    @property
    def properties(self) -> DirectorProperties | None:
        """Those of the likeliest manifest."""
        return self.possible[0].properties if self.possible else None

    @property
    def certain(self) -> bool:
        """Whether there is one possibility only, and it is seen."""
        return not self.doubt and not self.silent and len(distinct(self.possible)) == 1


def conclude(candidates: Sequence[Candidate], state: DeployedState, seen: Seen) -> Conclusion:
    """Return what follows from the manifests, the record, and what was seen."""
    usable = [each for each in candidates if each.properties is not None]
    # Of several with one SHA the plain one counts: after a clean-up the ops file changes nothing.
    recorded = next((each for each in usable if each.sha == state.current_manifest_sha), None)
    silent = seen.shown.silence
    if recorded is not None and not _against(recorded, seen):
        return Conclusion((recorded,), recorded, silent=silent)
    fitting = tuple(each for each in _latest_first(usable) if not _against(each, seen))
    disagreement = ""
    if recorded is not None:
        disagreement = (
            f"the state file says that {recorded.named} is deployed, but {_against(recorded, seen)}"
        )
    if fitting:
        # The record stays possible: whoever wrote it had a reason.
        also = (recorded,) if recorded is not None else ()
        return Conclusion((*fitting, *also), recorded, disagreement=disagreement, silent=silent)
    doubt = disagreement or _why_nothing_fits(candidates, usable, seen)
    kept = (recorded,) if recorded is not None else _latest_first(usable)
    return Conclusion(kept, recorded, doubt=doubt, disagreement=disagreement, silent=silent)


def distinct(candidates: Iterable[Candidate]) -> tuple[NatsTls, ...]:
    """Return the different states of `nats.tls` among manifests, in their order."""
    found = {
        each.properties.tls.state: each.properties.tls
        for each in reversed(tuple(candidates))
        if each.properties is not None
    }
    return tuple(reversed(found.values()))


def _latest_first(usable: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return manifests, the one with the latest ops file first, the plain one last."""
    return tuple(reversed(usable))


def _against(candidate: Candidate, seen: Seen) -> str:
    """Say what speaks against a manifest; empty when nothing does."""
    if candidate.properties is None:
        return candidate.trouble
    tls = candidate.properties.tls
    return nats_port.contradiction(tls, seen.shown, at=seen.at) or next(
        _other_dates(tls, seen.expiries), ""
    )


def _other_dates(tls: NatsTls, expiries: Iterable[Expiry]) -> Iterator[str]:
    """Yield the dates of the director's that differ; of a bundle it tells the first one's only."""
    expected = {
        f"nats.tls.{BUNDLE}": tls.bundle[0],
        f"nats.tls.{Part.CLIENT_CA}.certificate": tls.signer,
        f"nats.tls.{Part.DIRECTOR}.certificate": tls.pairs[Part.DIRECTOR].chain[0],
    }
    for each in expiries:
        for path, certificate in expected.items():
            if each.path.endswith(path) and abs(each.expires_at - certificate.not_after) > CLOSE:
                yield (
                    f"the director's `{path}` ends {each.expires_at:%Y-%m-%d %H:%M:%SZ}, "
                    f"not {certificate.not_after:%Y-%m-%d %H:%M:%SZ}"
                )


def _why_nothing_fits(
    candidates: Sequence[Candidate], usable: Sequence[Candidate], seen: Seen
) -> str:
    if not usable:
        return f"the manifest cannot be interpolated: {candidates[0].trouble}"
    broken = [each for each in candidates if each.properties is None]
    if broken:
        return f"{broken[-1].named}, which may run, cannot be made any more: {broken[-1].trouble}"
    return f"{usable[-1].named} is not what runs: {_against(usable[-1], seen)}"
