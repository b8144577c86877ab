"""Where bundles lie by a server's own configuration, and how that is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from rollover.delivery.local import LocalDelivery
from rollover.engine.ports import DeliveredFile
from rollover.errors import SpecError
from rollover.fleet.description import (
    CommandDelivery,
    EndpointDescription,
    FileDelivery,
    GroupDescription,
    InstanceDescription,
    KubernetesDelivery,
)
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, GroupName, InstanceName
from rollover.platforms.nats import configuration
from rollover.platforms.nats.instance_files import resolved

NAME = InstanceName("n1")
CONFIG = """\
# ca.pem is named three times
tls { cert_file: c.pem, key_file: k.pem, ca_file: ca.pem, verify: true }
gateway {
  name: a, port: 7222
  tls { cert_file: c.pem, key_file: k.pem, ca_file: "ca.pem" }
  gateways: [ { name: b, url: tls://b:7222, tls { ca_file: 'ca.pem' } } ]
}
"""
CLIENT, GATEWAY, REMOTE = map(EndpointName, ("client-port", "gateway", "gateway-remote-b"))


def instance(home: Path, text: str = CONFIG, **ca: str) -> InstanceDescription:
    """Write a configuration, and describe its server, with `ca.pem` unless said otherwise."""
    (home / "nats.conf").write_text(text)
    roles = {CLIENT: Role.CLIENT_PORT, GATEWAY: Role.GATEWAY, REMOTE: Role.GATEWAY_REMOTE}
    described = InstanceDescription(
        name=NAME,
        config="nats.conf",
        endpoints=tuple(
            EndpointDescription(name=name, role=role, ca=ca.get(role.name, "ca.pem"))
            for name, role in roles.items()
        ),
    )
    return resolved(described, base=home)


def delivery(home: Path) -> LocalDelivery:
    """Deliver on this machine."""
    return LocalDelivery(state=home / "state")


def edited(home: Path, described: InstanceDescription, order: Order) -> tuple[DeliveredFile, ...]:
    """Return the files of the configuration that an order changes."""
    return configuration.edited(delivery(home), described, order, environment=os.environ)


def elsewhere(home: Path, described: InstanceDescription) -> Mapping[EndpointName, str]:
    """Return where bundles lie that are not where they are described to lie."""
    return configuration.Configurations(delivery(home), environment={}).elsewhere(described)


def order(*endpoints: EndpointName) -> Order:
    """Re-point some endpoints."""
    return Order(
        instance=NAME,
        endpoints=tuple(
            EndpointMaterial(endpoint=endpoint, bundle_file="tls/new.pem") for endpoint in endpoints
        ),
    )


def test_only_the_chosen_blocks_name_another_file(tmp_path: Path) -> None:
    """The rest of the file is the same, byte by byte."""
    described = instance(tmp_path)
    (file,) = edited(tmp_path, described, order(GATEWAY, REMOTE))
    new = f'"{tmp_path}/tls/new.pem"'
    expected = CONFIG.replace('"ca.pem"', new).replace("'ca.pem'", new)
    assert file.path == str(tmp_path / "nats.conf")
    assert file.plain().decode() == expected
    assert (tmp_path / "nats.conf").read_text() == CONFIG


def test_a_configuration_that_names_another_file_counts(tmp_path: Path) -> None:
    """The fleet file may be older than a re-pointing; paths are as a fleet file has them."""
    described = instance(tmp_path, CONFIG.replace('"ca.pem"', '"tls/new.pem"'))
    found = elsewhere(tmp_path, described)
    assert found == {GATEWAY: "tls/new.pem"}
    moved = configuration.placed(described, found)
    assert [endpoint.ca for endpoint in moved.endpoints if endpoint.name == GATEWAY] == [
        "tls/new.pem"
    ]


def test_a_configuration_is_looked_at_again_whenever_it_changes(tmp_path: Path) -> None:
    """Also when a file that it includes does."""
    (tmp_path / "tls.conf").write_text("ca_file: ca.pem\n")
    text = "gateway { name: a, port: 7222, tls { include tls.conf } }\n"
    described = instance(tmp_path, text)
    known = configuration.Configurations(delivery(tmp_path), environment={})
    assert known.elsewhere(described) == {}
    (tmp_path / "tls.conf").write_text("ca_file: new.pem\n")
    assert known.elsewhere(described) == {GATEWAY: "new.pem"}
    (tmp_path / "tls.conf").unlink()
    assert known.elsewhere(described) == {}


def test_the_same_file_by_another_path_is_no_other_file(tmp_path: Path) -> None:
    """Links and dots change nothing."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "link.pem").symlink_to("ca.pem")
    text = CONFIG.replace('"ca.pem"', '"./link.pem"')
    assert elsewhere(tmp_path, instance(tmp_path, text)) == {}


@pytest.mark.parametrize("text", ["tls {", "include missing.conf", "tls { ca_file: 7 }"])
def test_a_configuration_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    """Then the fleet file counts; `check` says what is wrong."""
    assert elsewhere(tmp_path, instance(tmp_path, text)) == {}
    described = instance(tmp_path)
    (tmp_path / "nats.conf").unlink()
    assert elsewhere(tmp_path, described) == {}


SHARED = """\
PUBLIC: { ca_file: ca.pem }
gateway {
  name: a, port: 7222, tls: $PUBLIC
  gateways: [ { name: b, url: tls://b:7222, tls: $PUBLIC } ]
}
"""
VARIABLE = """\
PUBLIC: ca.pem
gateway { name: a, port: 7222, tls { ca_file: $PUBLIC } }
"""


def test_blocks_that_can_only_change_together_are_refused_apart(tmp_path: Path) -> None:
    """A block that comes from a variable changes wherever that is used."""
    described = instance(tmp_path, SHARED)
    with pytest.raises(SpecError, match="from the same place as a block that is to move"):
        edited(tmp_path, described, order(GATEWAY))
    (file,) = edited(tmp_path, described, order(GATEWAY, REMOTE))
    assert file.plain().decode() == SHARED.replace("ca.pem", f'"{tmp_path}/tls/new.pem"', 1)


def test_an_included_file_is_the_one_that_changes(tmp_path: Path) -> None:
    """The file that includes it stays; used twice, it is refused for one of two."""
    (tmp_path / "tls.conf").write_text("ca_file: ca.pem\n")
    text = "gateway { name: a, port: 7222, tls { include tls.conf } }\n"
    described = instance(tmp_path, text)
    (file,) = edited(tmp_path, described, order(GATEWAY))
    assert file.path == str(tmp_path / "tls.conf")
    described = instance(tmp_path, f"{text}tls {{ include tls.conf }}\n")
    with pytest.raises(SpecError, match="from the same place"):
        edited(tmp_path, described, order(GATEWAY))


def test_a_variable_that_nobody_would_use_any_more_is_refused(tmp_path: Path) -> None:
    """nats-server knows no such field, and would refuse the whole reload."""
    with pytest.raises(SpecError, match="knows no field `PUBLIC`"):
        edited(tmp_path, instance(tmp_path, VARIABLE), order(GATEWAY))


@pytest.mark.parametrize("text", ["port: 4222", "gateway { name: a, port: 1, tls { verify: on } }"])
def test_a_block_that_names_no_file_cannot_be_re_pointed(tmp_path: Path, text: str) -> None:
    """What would have to be added is the operator's to say."""
    with pytest.raises(SpecError, match="the configuration has no"):
        edited(tmp_path, instance(tmp_path, text), order(GATEWAY))


def test_an_unconfirmed_re_pointing_is_known_by_what_was_kept(tmp_path: Path) -> None:
    """A process that was killed leaves both: the server may run with either."""
    described = instance(tmp_path, CONFIG.replace('"ca.pem"', '"new.pem"'), GATEWAY="new.pem")
    known = configuration.Configurations(delivery(tmp_path), environment={})
    assert known.as_kept(described) is None
    (tmp_path / "nats.conf.rollover-kept").write_text(CONFIG)
    kept = known.as_kept(described)
    assert kept is not None
    assert {endpoint.ca for endpoint in kept.endpoints} == {str(tmp_path / "ca.pem")}


def test_an_order_that_moves_nothing_needs_no_configuration(tmp_path: Path) -> None:
    """Servers whose configuration is elsewhere take orders as before."""
    described = InstanceDescription(name=NAME, endpoints=())
    assert edited(tmp_path, described, Order(instance=NAME, endpoints=())) == ()


@pytest.mark.parametrize(
    ("deliver", "way"),
    [
        (FileDelivery(), "describe `config`"),
        (KubernetesDelivery(namespace="nats", volumes=()), "a chart writes: name the new"),
        (CommandDelivery(command=("./deliver.sh",)), "with the tool that writes its nats.conf"),
    ],
)
def test_what_others_write_is_re_pointed_by_them(
    deliver: FileDelivery | KubernetesDelivery | CommandDelivery, way: str
) -> None:
    """The way is that of the delivery: a chart would take an edit of ours back."""
    group = GroupDescription(
        name=GroupName("nats"), platform="nats", instances=(), delivery=deliver
    )
    assert way in configuration.renamed_by_hand(group)
