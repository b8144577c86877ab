"""The names that things in a fleet go by, each a type of its own."""

from __future__ import annotations

from typing import NewType

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 of a certificate's DER, 64 lower-case hexadecimal digits: which certificate it is."""

GroupName = NewType("GroupName", str)
InstanceName = NewType("InstanceName", str)
EndpointName = NewType("EndpointName", str)
AuthorityName = NewType("AuthorityName", str)

SlotName = NewType("SlotName", str)
"""A place on an instance that holds one chain or one bundle (a file, a property).

Endpoints of an instance that name the same slot always hold the same material.
"""

RuleId = NewType("RuleId", str)
"""The stable id of a rule, as `rollover explain` takes it: lower case, words joined by hyphens."""

SYSTEM_ROOTS = Fingerprint("system-roots")
"""Stands in a bundle for the trust store of the operating system, whose content is not known."""


def short(fingerprint: str) -> str:
    """Return the first 12 digits: what people compare."""
    return fingerprint[:12]
