"""From orders to files: shared paths, pairs that fit, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rigs.nats_fleet_rig import CLIENT_PORT, ROUTE, Authority, endpoint, write_material
from rollover.errors import Rejected, SpecError
from rollover.fleet.description import EndpointDescription, InstanceDescription
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.fleet import Role
from rollover.fleet.names import EndpointName, InstanceName
from rollover.pki.pem import read_certificates
from rollover.platforms.nats.instance_files import (
    FileContents,
    after_delivery,
    demands,
    files_of,
    public_paths,
    resolved,
    unwritable,
)
from rollover_lab.nats.lab import make_read_only, make_writable

OLD, NEW = Authority("old"), Authority("new")


def instance(base: Path = Path("/fleet")) -> InstanceDescription:
    """A server whose client and route port share their files."""
    return resolved(
        InstanceDescription(
            name=InstanceName("n1"),
            working_directory="n1",
            endpoints=(
                endpoint(CLIENT_PORT, Role.CLIENT_PORT, address="127.0.0.1:4222"),
                endpoint(ROUTE, Role.ROUTE, address="127.0.0.1:6222"),
            ),
        ),
        base=base,
    )


def order(*materials: EndpointMaterial) -> Order:
    """An order to the server."""
    return Order(instance=InstanceName("n1"), endpoints=materials)


def test_paths_begin_at_the_working_directory() -> None:
    """Relative paths become absolute, absolute ones stay, each is named once."""
    assert public_paths(instance()) == ("/fleet/n1/tls.crt", "/fleet/n1/ca.crt")
    moved = msgspec.structs.replace(instance().endpoints[0], ca="/etc/ca.pem")
    kept = resolved(
        InstanceDescription(name=InstanceName("n1"), endpoints=(moved,)), base=Path("/elsewhere")
    )
    assert kept.endpoints[0].ca == "/etc/ca.pem"


def test_endpoints_that_share_files_get_them_once() -> None:
    """Two endpoints with the same leaf and bundle amount to three files, the key secret."""
    leaf = OLD.issue("n1")
    materials = tuple(
        EndpointMaterial(
            endpoint=name,
            chain=(leaf.certificate,),
            key=leaf.key,
            bundle=(OLD.certificate, NEW.certificate),
        )
        for name in (CLIENT_PORT, ROUTE)
    )
    files = files_of(order(*materials), instance())
    assert [(Path(file.path).name, file.secret) for file in files] == [
        ("tls.crt", False),
        ("tls.key", True),
        ("ca.crt", False),
    ]


def test_certificates_of_a_bundle_stand_on_lines_of_their_own() -> None:
    """Joined without a newline they would stop the server."""
    bundle = (OLD.certificate, NEW.certificate)
    material = EndpointMaterial(endpoint=CLIENT_PORT, bundle=bundle)
    (file,) = files_of(order(material), instance())
    reading = read_certificates(file.plain())
    assert reading.certificates == bundle
    assert reading.remarks == ()


def test_a_key_that_is_not_its_leafs_is_refused_without_being_shown() -> None:
    """The message names the endpoint, never the key."""
    leaf, other = OLD.issue("n1"), OLD.issue("n2")
    material = EndpointMaterial(endpoint=CLIENT_PORT, chain=(leaf.certificate,), key=other.key)
    with pytest.raises(SpecError, match="not its leaf's") as refused:
        files_of(order(material), instance())
    assert "PRIVATE" not in f"{refused.value!r} {refused.value.hint}"


@pytest.mark.parametrize(
    ("material", "message"),
    [
        (EndpointMaterial(endpoint=EndpointName("gateway"), bundle=()), "is not described"),
        (
            EndpointMaterial(endpoint=ROUTE, bundle=(NEW.certificate,)),
            "wants other content",
        ),
    ],
)
def test_orders_that_do_not_fit_the_description_are_refused(
    material: EndpointMaterial, message: str
) -> None:
    """An endpoint that is not there, or two contents for one file."""
    first = EndpointMaterial(endpoint=CLIENT_PORT, bundle=(OLD.certificate,))
    with pytest.raises(SpecError, match=message):
        files_of(order(first, material), instance())


def test_an_endpoint_without_a_file_cannot_take_material() -> None:
    """The field that is missing is named."""
    described = instance()
    bare = msgspec.structs.replace(described.endpoints[0], ca=None)
    material = EndpointMaterial(endpoint=CLIENT_PORT, bundle=(OLD.certificate,))
    with pytest.raises(SpecError, match="no `ca` file"):
        files_of(order(material), msgspec.structs.replace(described, endpoints=(bare,)))


def test_what_is_delivered_replaces_what_was_read_and_never_holds_a_key() -> None:
    """The state after a delivery: new public files, old ones where nothing was ordered."""
    leaf = OLD.issue("n1")
    material = EndpointMaterial(endpoint=CLIENT_PORT, chain=(leaf.certificate,), key=leaf.key)
    files = files_of(order(material), instance())
    before = FileContents({"/fleet/n1/ca.crt": b"kept"}, {"/fleet/n1/tls.crt": "it was missing"})
    after = after_delivery(before, files)
    assert set(after.files) == {"/fleet/n1/ca.crt", "/fleet/n1/tls.crt"}
    assert after.troubles == {}


@pytest.mark.parametrize(
    ("role", "verify", "demanding"),
    [
        (Role.ROUTE, False, True),
        (Role.GATEWAY, False, True),
        (Role.CLIENT_PORT, False, False),
        (Role.CLIENT_PORT, True, True),
    ],
)
def test_nats_server_always_verifies_its_peers(
    role: Role, *, verify: bool, demanding: bool
) -> None:
    """Routes and gateways demand a certificate whatever `verify` says."""
    described = EndpointDescription(name=EndpointName("x"), role=role, verify=verify)
    assert demands(described) is demanding


def test_files_that_cannot_be_written_are_seen_beforehand(tmp_path: Path) -> None:
    """A directory in place of a file, a directory that is not there; a fine place is fine."""
    leaf = OLD.issue("n1")
    write_material(tmp_path / "n1", leaf, (OLD.certificate,))
    assert unwritable(instance(tmp_path)) == ""
    (tmp_path / "n1" / "ca.crt").unlink()
    assert unwritable(instance(tmp_path)) == ""
    (tmp_path / "n1" / "ca.crt").mkdir()
    assert "not a plain file" in unwritable(instance(tmp_path))
    assert "does not exist" in unwritable(instance(tmp_path / "nowhere"))


def test_a_directory_that_takes_no_new_file_is_seen_beforehand(tmp_path: Path) -> None:
    """Also when there is no file in it yet that could be looked at."""
    (tmp_path / "n1").mkdir()
    try:
        make_read_only(tmp_path / "n1")
    except Rejected:
        pytest.skip("this file system has no immutable flag")
    try:
        found = unwritable(instance(tmp_path))
    finally:
        make_writable(tmp_path / "n1")
    assert "nothing can be written" in found


def test_a_volume_of_kubernetes_is_seen_beforehand(tmp_path: Path) -> None:
    """The kubelet would take every change back: no plan counts on that instance."""
    write_material(tmp_path / "n1", OLD.issue("n1"), (OLD.certificate,))
    (tmp_path / "n1").rename(tmp_path / "..2026_11_23")
    (tmp_path / "..data").symlink_to("..2026_11_23")
    (tmp_path / "n1").symlink_to("..data")
    assert "by: kubernetes" in unwritable(instance(tmp_path))
