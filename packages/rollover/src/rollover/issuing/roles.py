"""The roles that a certificate is issued for, and the usages that each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from rollover.pki import profiles
from rollover.pki.profiles import Profile


class Role(StrEnum):
    """What the owner of a certificate does with it."""

    SERVER = "server"
    CLIENT = "client"
    ROUTE = "route"
    GATEWAY = "gateway"
    LEAF = "leaf"
    MONITORING = "monitoring"


PROFILES: Mapping[Role, Profile] = MappingProxyType(
    {
        Role.SERVER: profiles.SERVER,
        Role.CLIENT: profiles.CLIENT,
        Role.ROUTE: profiles.ROUTE,
        Role.GATEWAY: profiles.GATEWAY,
        Role.LEAF: profiles.LEAF_NODE,
        Role.MONITORING: profiles.MONITORING,
    }
)
"""Routes and gateways dial and accept with one certificate, and always verify in both directions.

A leaf node gets both usages too: its hub demands client authentication of the one that dials, and
the one that dials demands server authentication of the hub; servers in the middle are both.
"""
