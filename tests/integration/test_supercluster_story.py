"""The story of the CA rollovers on real servers: refused, curated, re-pointed, renewed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from rigs.rotating import UNHARMED, Losses, await_true, command
from rollover.delivery.local import LocalDelivery
from rollover.errors import ExitCode
from rollover.fleet.evidence import EndpointMaterial, Order
from rollover.fleet.fleet import Role
from rollover.platforms.nats import configuration
from rollover.platforms.nats.instance_files import files_of, resolved
from rollover_lab.nats import certificates
from rollover_lab.nats.gateway_renewal import observe_gateways, restart_cluster
from rollover_lab.nats.lab import Lab, running
from rollover_lab.nats.layout import MaterialPaths
from rollover_lab.nats.spec import ClusterSpec, Intermediate, LabSpec, preset_named

SMALL = LabSpec(
    name="two",
    clusters=(
        ClusterSpec(name="a", servers=1, jetstream=False),
        ClusterSpec(name="b", servers=1, jetstream=False),
    ),
    clients=12,
)
ROLES = ("--roles", "gateway,gateway-remote")
AS = ("--as", "tls/cabundle.pem")


class Renewal(NamedTuple):
    """What a certificate manager brings: the new chain and key, and the `ca.pem` beside them."""

    chain: str
    key: str
    ca: str


def renewal(lab: Lab, by: Intermediate, folder: Path) -> Renewal:
    """Have the public-style issuer sign a gateway certificate with an intermediate."""
    issuer = certificates.load_gateway_issuer(lab.layout)
    paths = MaterialPaths(folder / "new.pem", folder / "new.key", folder / "ca.pem")
    spec, now = lab.spec.certificates, datetime.now(UTC)
    issuer.write(paths, name="b", by=by, spec=spec, now=now)
    paths.ca.write_bytes(issuer.intermediates[by].pem)
    return Renewal(*map(str, paths))


def bundle(lab: Lab, *, curated: bool) -> str:
    """Return the file of every CA of the issuer, or of the one that gateways trust today."""
    name = certificates.BUNDLE_FILE if curated else "R3.pem"
    return str(lab.layout.issuer / name)


def stand(lab: Lab) -> bool:
    """Whether every gateway connection stands, as each server sees its own."""
    return all(observe_gateway.stands for observe_gateway in observe_gateways(lab))


def texts(lab: Lab) -> dict[str, str]:
    """Return the configuration of every server."""
    return {name: lab.layout.config(name).read_text() for name in lab.spec.servers}


def test_the_whole_story_without_a_lost_message(tmp_path: Path) -> None:
    """The naive renewal is refused by name; with a curated bundle the same one passes."""
    with running(preset_named("supercluster"), tmp_path / "lab") as lab:
        new = renewal(lab, Intermediate.E1, tmp_path)
        losses, before = Losses(lab), texts(lab)
        renewing = ("--renew", "b", "--with", new.chain, *ROLES)

        code, said = command(lab, "plan", *renewing, "--ca", new.ca)
        assert code == ExitCode.REFUSED, said
        assert "a1/gateway-remote-b → b1/gateway" in said
        assert "rollover rotate --bundle" in said
        naive = ("rotate", *renewing, "--ca", new.ca, "--with-key", new.key, "--yes")
        code, said = command(lab, *naive)
        assert code == ExitCode.REFUSED, said
        assert texts(lab) == before

        # First a bundle equal to today's trust, to which everybody is re-pointed.
        code, said = command(
            lab, "rotate", "--bundle", bundle(lab, curated=False), *AS, *ROLES, "--yes"
        )
        assert code == ExitCode.DONE, said
        for name, text in texts(lab).items():
            old, own = str(lab.layout.port(name, "gateway").ca), lab.layout.tls(name)
            assert text == before[name].replace(old, str(own / "cabundle.pem"))
        code, said = command(
            lab, "rotate", "--bundle", bundle(lab, curated=False), *AS, *ROLES, "--yes"
        )
        assert (code, "nothing to do" in said) == (ExitCode.DONE, True), said

        # Then a wider one, and with it the same renewal.
        code, said = command(lab, "rotate", "--bundle", bundle(lab, curated=True), *ROLES, "--yes")
        assert code == ExitCode.DONE, said
        code, said = command(lab, "plan", *renewing)
        assert code == ExitCode.DONE, said
        code, said = command(lab, "rotate", *renewing, "--with-key", new.key, "--yes")
        assert code == ExitCode.DONE, said
        assert stand(lab)
        assert losses.since() == UNHARMED

        # A schism shows at the next reconnect: there is none.
        restart_cluster(lab, "b")
        await_true(lambda: stand(lab), what="the gateways")


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield two clusters of one server each."""
    with running(SMALL, tmp_path_factory.mktemp("story") / "lab") as lab:
        yield lab


@pytest.fixture
def two(clusters: Lab) -> Lab:
    """Return the clusters, whose gateways trust what they did at first, wherever it lies by now."""
    code, said = command(
        clusters, "rotate", "--bundle", bundle(clusters, curated=False), *ROLES, "--yes"
    )
    assert code == ExitCode.DONE, said
    return clusters


def test_a_bundle_is_taken_back_and_stays_in_its_file(two: Lab) -> None:
    """`rollback` gives what was trusted before; the servers go on to name the new file."""
    losses = Losses(two)
    code, said = command(two, "rotate", "--bundle", bundle(two, curated=True), *AS, *ROLES, "--yes")
    assert code == ExitCode.DONE, said
    configured = texts(two)
    code, said = command(two, "rollback", "--authority", "given-bundle", "--yes")
    assert code == ExitCode.DONE, said
    assert texts(two) == configured
    for name in two.spec.servers:
        held = (two.layout.tls(name) / "cabundle.pem").read_bytes()
        assert held == Path(bundle(two, curated=False)).read_bytes()
    assert stand(two)
    assert losses.since() == UNHARMED


def test_a_renewal_is_taken_back_with_the_keys_that_lay_there(two: Lab, tmp_path: Path) -> None:
    """`rollback` installs the former pair again; no message is lost on either way."""
    new = renewal(two, Intermediate.R3, tmp_path)
    paths = two.layout.port("b1", "gateway")
    before, losses = (paths.certificate.read_bytes(), paths.key.read_bytes()), Losses(two)
    renewing = ("--renew", "b", "--with", new.chain, "--with-key", new.key, *ROLES, "--yes")
    code, said = command(two, "rotate", *renewing)
    assert code == ExitCode.DONE, said
    assert paths.certificate.read_bytes() != before[0]
    code, said = command(two, "rollback", "--authority", "given-chain", "--yes")
    assert code == ExitCode.DONE, said
    assert (paths.certificate.read_bytes(), paths.key.read_bytes()) == before
    assert stand(two)
    assert losses.since() == UNHARMED


def test_a_run_that_was_killed_before_the_reload_is_gone_on_with(two: Lab) -> None:
    """The new configuration lies there and is not loaded: the server is known to run with both."""
    group = next(description for description in two.description.groups if description.name == "b")
    instance = resolved(group.instances[0], base=two.layout.root)
    delivery = LocalDelivery(state=two.layout.state / "deliveries")
    wider = certificates.load_gateway_issuer(two.layout).certificates
    order = Order(
        instance=instance.name,
        endpoints=tuple(
            EndpointMaterial(endpoint=endpoint.name, bundle=wider, bundle_file="tls/late.pem")
            for endpoint in instance.endpoints
            if endpoint.role in {Role.GATEWAY, Role.GATEWAY_REMOTE}
        ),
    )
    files = files_of(order, configuration.repointed(instance, order))
    delivery.deliver(
        instance.name, (*files, *configuration.edited(delivery, instance, order, environment={}))
    )
    moving = ("--bundle", bundle(two, curated=True), "--as", "tls/late.pem", *ROLES)
    code, said = command(two, "plan", *moving)
    assert code == ExitCode.DONE, said
    assert "b/gateway: trusts" in said
    code, said = command(two, "rotate", *moving, "--yes")
    assert code == ExitCode.DONE, said
    assert not list(two.layout.server("b1").rglob("*.rollover-kept"))
    code, said = command(two, "plan", *moving)
    assert (code, "nothing to do" in said) == (ExitCode.DONE, True), said


def test_a_server_that_refuses_gets_its_configuration_back(two: Lab) -> None:
    """Something else in the same file cannot be reloaded: all is as it was, and its words stand."""
    path = two.layout.config("b1")
    before = path.read_bytes()
    path.write_bytes(before + b"\nmqtt { listen: 127.0.0.1:0 }\n")
    pending = texts(two)
    try:
        moving = ("--bundle", bundle(two, curated=True), "--as", "tls/other.pem", *ROLES, "--yes")
        code, said = command(two, "rotate", *moving)
        assert code == ExitCode.STOPPED, said
        assert "it has what it had before" in said
        assert texts(two)["b1"] == pending["b1"]
        assert not (two.layout.tls("b1") / "other.pem").exists()
    finally:
        path.write_bytes(before)
    code, said = command(two, "rotate", *moving)
    assert code == ExitCode.DONE, said
    assert stand(two)


def test_a_bundle_that_would_part_the_clusters_is_refused_with_the_link(two: Lab) -> None:
    """Nothing is changed: not a file, not a configuration."""
    before = texts(two)
    e2 = str(two.layout.issuer / "E2.pem")
    code, said = command(two, "rotate", "--bundle", e2, *ROLES, "--yes")
    assert code == ExitCode.REFUSED, said
    assert "gateway-remote" in said
    assert "reissue-before-withdraw" in said
    assert texts(two) == before
    code, said = command(two, "plan", "--bundle", e2, "--roles", "gateway")
    assert code == ExitCode.USAGE, said
    assert "only one of them is chosen" in said
