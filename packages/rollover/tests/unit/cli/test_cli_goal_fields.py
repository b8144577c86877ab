"""Goals in the machine output: version 1 has one object for every kind, and fields only gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rigs import builders as build
from rollover.cli.running import goal_fields
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.goal import Installation, InstallMaterial
from rollover.fleet.names import EndpointName, Fingerprint, InstanceName

FIELDS = (
    "authority",
    "target",
    "trusted",
    "retired",
    "bridge",
    "compromised",
    "step_margin",
    "given",
)
PORT = EndpointRef(InstanceName("n1"), EndpointName("port"))


def read(fields: Mapping[str, Any]) -> Any:
    """What a machine reads of it."""
    return msgspec.json.decode(msgspec.json.encode(fields))


def test_the_rotation_of_an_authority_has_nothing_supplied() -> None:
    """All fields are there, in the order in which they always were."""
    found = read(goal_fields(build.goal(bridge=True)))
    assert tuple(found) == FIELDS
    assert (found["authority"], found["target"], found["given"]) == ("nats-ca", "new", [])


def test_an_installation_goes_by_its_kind_and_has_every_field() -> None:
    """A reader that is older than kinds finds the name and the certificates where they were."""
    r3, e1, leaf = Fingerprint("r3"), Fingerprint("e1"), Fingerprint("e1:leaf")
    part = Installation(endpoints=(PORT,), bundle=(r3, e1))
    found = read(goal_fields(InstallMaterial(parts=(part,))))
    assert tuple(found) == FIELDS
    assert (found["authority"], found["target"]) == ("given-bundle", "e1")
    assert found["trusted"] == ["r3", "e1"]
    assert found["given"] == [
        {
            "endpoints": [{"instance": "n1", "endpoint": "port"}],
            "bundle": ["r3", "e1"],
            "chain": None,
            "file": None,
        }
    ]
    chain = Installation(endpoints=(PORT,), chain=(leaf,))
    found = read(goal_fields(InstallMaterial(parts=(chain,))))
    assert (found["authority"], found["target"]) == ("given-chain", "e1:leaf")
