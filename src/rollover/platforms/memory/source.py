"""A source in memory: what it holds is what those that it feeds get, chains made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import EndpointMaterial, Seen
from rollover.fleet.names import InstanceName

Issue = Callable[[Certificate, InstanceName], Certificate]
"""Makes a leaf of a CA for an instance."""


class MemorySource(NamedTuple):
    """Hands out chains of the CA that it signs with, and its bundle, as they are at that moment."""

    held: Callable[[], Seen]
    issue: Issue

    def deliver(self, name: InstanceName, ordered: EndpointMaterial) -> EndpointMaterial:
        """Return what an instance gets; ValueError when that is not what was ordered.

        Whatever was ordered, a source delivers all that it holds.
        """
        held = self.held()
        (signer,) = held.presents
        if ordered.issuer not in (None, signer):
            message = f"its source signs with {signer.subject}, not as ordered"
            raise ValueError(message)
        if ordered.bundle not in (None, held.trusts):
            message = "its source hands out another bundle than was ordered"
            raise ValueError(message)
        chain = (self.issue(signer, name),)
        return EndpointMaterial(endpoint=ordered.endpoint, chain=chain, bundle=held.trusts)
