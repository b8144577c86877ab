"""What some platforms do besides: findings, tidying, keys, settings. Asked with `isinstance`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from rollover.checks.rule import Finding
from rollover.fleet.evidence import Evidence
from rollover.fleet.model import EndpointRef
from rollover.fleet.names import InstanceName
from rollover.fleet.secret import SecretBytes


class Moment(StrEnum):
    """When a platform is asked for what it finds."""

    CHECK = "check"
    """`rollover check`: nothing is going to be changed."""
    BEFORE = "before"
    """A rotation begins or is gone on with: also all that would be told in between."""
    BETWEEN = "between"
    """The next rollout of any group begins, and it is not the first of this run."""
    AFTER = "after"
    """The goal is reached and everything is tidied up."""


@runtime_checkable
class Attends(Protocol):
    """A platform that knows hazards which certificates do not show."""

    def findings(self, moment: Moment) -> Iterator[Finding]:
        """Yield what stands in the way (`error`), cannot be seen (`evidence-missing`), or is told.

        Changes nothing. Every rule is in the catalogue; an operator can answer for each with
        `--override RULE=REASON`.
        """
        ...


@runtime_checkable
class Tidies(Protocol):
    """A platform that leaves things behind which are of no use once the goal is reached."""

    def tidy(self) -> Iterator[Evidence]:
        """Put everything in its final place; yield what was done. Done again it does nothing.

        A failure leaves what was there before.
        """
        ...


@runtime_checkable
class KnowsKeys(Protocol):
    """A platform whose instances have their private keys where this process can read them."""

    def private_keys(self, instances: Sequence[InstanceName]) -> Mapping[EndpointRef, SecretBytes]:
        """Return the keys that lie with the endpoints, as far as they can be read; PEM.

        Changes nothing. None where reading them would take a key off the machine that it is on.
        """
        ...


@runtime_checkable
class KnowsSettings(Protocol):
    """A platform whose instances have settings in which the names of their files stand."""

    def renamed_by_hand(self) -> str:
        """Return how a person names another file there, for a hint: where Rollover cannot."""
        ...
