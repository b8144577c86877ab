"""Certificates of `issue` with a real nats-server: accepted in their role, refused in others."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rigs.loopback_ports import free_port
from rigs.probe_lab import Running, await_that, server
from rollover.certificates.issue_for_role import IssuedLeaf, LeafOrder, LeafRole, issue
from rollover.probe.handshake import ClientVerdict, Handshake, probe
from rollover.probe.identity import ClientIdentity
from rollover.probe.target import Port, Target

LOOPBACK = ("localhost", "127.0.0.1")
USER = "app@example.com"
PATIENCE_SECONDS = 60.0
WRONG_USAGE = "incompatible key usage"


class Shop(NamedTuple):
    """A directory with a CA, in which certificates are issued on demand."""

    folder: Path

    def issue(
        self, role: LeafRole, *, user: str = "", names: tuple[str, ...] = LOOPBACK
    ) -> IssuedLeaf:
        """Issue one more certificate of a role."""
        files = self.folder / f"{role}-{len(list(self.folder.iterdir()))}"
        files.mkdir()
        order = LeafOrder(
            role=role, names=names, user=user, authority=self.folder / "ca", directory=files
        )
        return issue(order, now=datetime.now(UTC))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty shop; its CA is made with the first certificate."""
    return Shop(tmp_path)


def identity(issued: IssuedLeaf) -> ClientIdentity:
    """Return what was issued, ready to be presented."""
    chain, key = Path(issued.certificate_file), Path(issued.key_file)
    return ClientIdentity.from_pem(chain.read_bytes(), key.read_bytes())


class Node(NamedTuple):
    """A running server, and the ports that it was given."""

    running: Running
    client: int
    monitor: int

    def log(self) -> str:
        """Return what it has written."""
        return (self.running.folder / "server.log").read_text(errors="replace")

    def await_log(self, words: str) -> None:
        """Wait until it says so."""
        await_that(lambda: words in self.log(), self.running.folder / "server.log")

    def ask(self, page: str) -> Any:
        """Return a page of its monitoring port."""
        url = f"http://127.0.0.1:{self.monitor}/{page}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def await_page(self, page: str, holds: Callable[[Any], bool]) -> None:
        """Wait until a page says so."""
        await_that(lambda: holds(self.ask(page)), self.running.folder / "server.log")


@contextmanager
def node(folder: Path, text: str) -> Iterator[Node]:
    """Run a server on free ports of the loopback with one more piece of configuration."""
    folder.mkdir()
    client, monitor = free_port(), free_port()
    whole = f'server_name: {folder.name}\nlisten: "127.0.0.1:{client}"\n{text}'
    if "https_port" not in text:
        whole = f'http: "127.0.0.1:{monitor}"\n{whole}'
    with server(folder, wanted=(), text=whole) as running:
        yield Node(running, client, monitor)


def inside(block: str, issued: IssuedLeaf, more: str) -> str:
    """Return what `issue` says to put into nats.conf, with the addresses of a test in its block."""
    opening = f"{block} {{\n"
    assert opening in issued.nats_conf
    return issued.nats_conf.replace(opening, opening + more + "\n", 1)


def dial(port: int, issued: IssuedLeaf | None) -> Handshake:
    """Dial a client port, presenting what was issued."""
    target = Target(address=f"127.0.0.1:{port}", port=Port.CLIENT, server_name="localhost")
    return probe(
        target, identity=identity(issued) if issued else None, timeout_seconds=PATIENCE_SECONDS
    )


def verifying(shop: Shop) -> str:
    """Return a client port as advised for a server and its clients, merged into one block."""
    issued = shop.issue(LeafRole.SERVER)
    hint = re.search(r"# To demand .*: (ca_file: .*)", issued.nats_conf)
    assert hint is not None
    return issued.nats_conf.replace("tls {\n", f"tls {{\n{hint[1]}\n", 1)


def test_a_client_port_takes_what_is_for_clients_and_nothing_that_is_not(
    shop: Shop, tmp_path: Path
) -> None:
    """Client, route, gateway and leaf may dial; server and monitoring certificates may not."""
    with node(tmp_path / "n1", verifying(shop)) as n1:
        for role in (LeafRole.CLIENT, LeafRole.ROUTE, LeafRole.GATEWAY, LeafRole.LEAF):
            shown = dial(n1.client, shop.issue(role))
            assert shown.client_verdict is ClientVerdict.ACCEPTED, role
        for role in (LeafRole.SERVER, LeafRole.MONITORING):
            shown = dial(n1.client, shop.issue(role))
            assert shown.client_verdict is ClientVerdict.REFUSED, role
        n1.await_log(WRONG_USAGE)


@pytest.mark.parametrize("user", [USER, "app.example.com", "spiffe://example.com/app",
                                  "CN=app,O=example"])  # fmt: skip
def test_a_client_is_mapped_to_the_user_that_it_was_issued_for(
    shop: Shop, tmp_path: Path, user: str
) -> None:
    """`--user` in each of its forms logs in by `verify_and_map`; another certificate does not."""
    mapped = shop.issue(LeafRole.CLIENT, user=user, names=("host.example.com",))
    files = shop.issue(LeafRole.SERVER)
    pair = f'cert_file: "{files.certificate_file}"\nkey_file: "{files.key_file}"\n'
    text = mapped.nats_conf.replace("tls {\n", f"tls {{\n{pair}", 1)
    with node(tmp_path / "n1", text) as n1:
        assert dial(n1.client, mapped).answer.startswith("PONG")
        stranger = shop.issue(
            LeafRole.CLIENT, user="other@example.com", names=("host.example.com",)
        )
        assert "Authorization" in dial(n1.client, stranger).answer


def secure(port: int, issued: IssuedLeaf) -> bool:
    """Say whether a client that trusts the CA, and nobody else, takes the port for `localhost`."""
    context = ssl.create_default_context(cafile=issued.authority.file)
    try:
        with urllib.request.urlopen(
            f"https://localhost:{port}/varz", timeout=PATIENCE_SECONDS, context=context
        ) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return False
        raise


@pytest.mark.parametrize(("role", "taken"), [(LeafRole.MONITORING, True), (LeafRole.CLIENT, False)])
def test_the_monitoring_port_is_taken_with_its_own_certificate_only(
    shop: Shop,
    tmp_path: Path,
    role: LeafRole,
    taken: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """HTTPS monitoring works as advised; with a client's certificate nobody believes the port."""
    port, issued, wrong = free_port(), shop.issue(LeafRole.MONITORING), shop.issue(role)
    text = issued.nats_conf.replace("https_port: 8222", f'https: "127.0.0.1:{port}" # https_port')
    text = text.replace(issued.certificate_file, wrong.certificate_file)
    with node(tmp_path / "n1", text.replace(issued.key_file, wrong.key_file)):
        assert secure(port, issued) is taken


def routes(shop: Shop, *, own: LeafRole, port: int, dials: int | None) -> str:
    """Return a cluster block as advised for routes, with the files of a role in it."""
    advised, files = shop.issue(LeafRole.ROUTE), shop.issue(own)
    dialled = f'routes: ["nats-route://localhost:{dials}"]' if dials else ""
    text = inside("cluster", advised, f'name: c\nlisten: "127.0.0.1:{port}"\n{dialled}')
    text = text.replace(advised.certificate_file, files.certificate_file)
    return text.replace(advised.key_file, files.key_file)


def test_two_servers_are_peers_with_route_certificates(shop: Shop, tmp_path: Path) -> None:
    """A route stands whichever end dials."""
    port = free_port()
    with ExitStack() as stack:
        n1 = stack.enter_context(
            node(tmp_path / "n1", routes(shop, own=LeafRole.ROUTE, port=port, dials=None))
        )
        n2 = stack.enter_context(
            node(tmp_path / "n2", routes(shop, own=LeafRole.ROUTE, port=free_port(), dials=port))
        )
        for pair in (n1, n2):
            pair.await_page("routez", lambda page: page["num_routes"] > 0)


@pytest.mark.parametrize("role", [LeafRole.SERVER, LeafRole.MONITORING])
def test_a_server_certificate_dials_no_route(shop: Shop, tmp_path: Path, role: LeafRole) -> None:
    """Its peer demands client authentication, and there is no route."""
    port = free_port()
    with ExitStack() as stack:
        n1 = stack.enter_context(
            node(tmp_path / "n1", routes(shop, own=LeafRole.ROUTE, port=port, dials=None))
        )
        stack.enter_context(
            node(tmp_path / "n2", routes(shop, own=role, port=free_port(), dials=port))
        )
        n1.await_log(WRONG_USAGE)
        assert n1.ask("routez")["num_routes"] == 0


def test_a_client_certificate_accepts_no_route(shop: Shop, tmp_path: Path) -> None:
    """Whoever dials demands server authentication."""
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(
            node(tmp_path / "n1", routes(shop, own=LeafRole.CLIENT, port=port, dials=None))
        )
        n2 = stack.enter_context(
            node(tmp_path / "n2", routes(shop, own=LeafRole.ROUTE, port=free_port(), dials=port))
        )
        n2.await_log(WRONG_USAGE)
        assert n2.ask("routez")["num_routes"] == 0


def gateway(shop: Shop, name: str, *, own: LeafRole, ports: dict[str, int]) -> str:
    """Return a gateway block as advised, with the files of a role in it."""
    advised, files = shop.issue(LeafRole.GATEWAY), shop.issue(own)
    remotes = ", ".join(
        f'{{ name: {other}, url: "nats://localhost:{port}" }}' for other, port in ports.items()
    )
    more = f'name: {name}\nlisten: "127.0.0.1:{ports[name]}"\ngateways: [ {remotes} ]'
    text = inside("gateway", advised, more)
    text = text.replace(advised.certificate_file, files.certificate_file)
    return text.replace(advised.key_file, files.key_file)


def gates(page: Any) -> tuple[int, int]:
    """Return how many gateways a server has out, and in."""
    return len(page["outbound_gateways"]), sum(len(v) for v in page["inbound_gateways"].values())


@pytest.mark.parametrize(
    ("role", "of_b"),
    [(LeafRole.GATEWAY, (1, 1)), (LeafRole.SERVER, (0, 1)), (LeafRole.CLIENT, (1, 0))],
)
def test_gateways_need_both_usages(
    shop: Shop, tmp_path: Path, role: LeafRole, of_b: tuple[int, int]
) -> None:
    """Gateway certificates join two clusters; another role's makes the supercluster one-way."""
    ports = {"A": free_port(), "B": free_port()}
    with ExitStack() as stack:
        a = stack.enter_context(
            node(tmp_path / "a", gateway(shop, "A", own=LeafRole.GATEWAY, ports=ports))
        )
        b = stack.enter_context(node(tmp_path / "b", gateway(shop, "B", own=role, ports=ports)))
        b.await_page("gatewayz", lambda page: gates(page) == of_b)
        if role is not LeafRole.GATEWAY:
            a.await_log(WRONG_USAGE)
            assert gates(b.ask("gatewayz")) == of_b


def leaf(shop: Shop, *, hub: int, own: LeafRole, dials: bool) -> str:
    """Return one end of a leaf node connection as advised, with the files of a role in it."""
    advised, files = shop.issue(LeafRole.LEAF), shop.issue(own)
    accepting, dialling = advised.nats_conf.split("# or where one dials\n")
    text = dialling.replace("HUB:7422", f"localhost:{hub}") if dials else accepting
    text = text.replace("port: 7422", f'listen: "127.0.0.1:{hub}"')
    text = text.replace(advised.certificate_file, files.certificate_file)
    return text.replace(advised.key_file, files.key_file)


def test_a_leaf_node_joins_its_hub(shop: Shop, tmp_path: Path) -> None:
    """One kind of certificate serves both ends of the connection."""
    port = free_port()
    with ExitStack() as stack:
        hub = stack.enter_context(
            node(tmp_path / "hub", leaf(shop, hub=port, own=LeafRole.LEAF, dials=False))
        )
        stack.enter_context(
            node(tmp_path / "spoke", leaf(shop, hub=port, own=LeafRole.LEAF, dials=True))
        )
        hub.await_page("leafz", lambda page: page["leafnodes"] == 1)


@pytest.mark.parametrize(
    ("of_hub", "of_spoke", "refuses"),
    [(LeafRole.LEAF, LeafRole.SERVER, "hub"), (LeafRole.CLIENT, LeafRole.LEAF, "spoke")],
)
def test_a_leaf_node_is_refused_without_the_usage_of_its_end(
    shop: Shop, tmp_path: Path, of_hub: LeafRole, of_spoke: LeafRole, refuses: str
) -> None:
    """A server's certificate does not dial, a client's does not accept."""
    port = free_port()
    with ExitStack() as stack:
        nodes = {
            "hub": stack.enter_context(
                node(tmp_path / "hub", leaf(shop, hub=port, own=of_hub, dials=False))
            ),
            "spoke": stack.enter_context(
                node(tmp_path / "spoke", leaf(shop, hub=port, own=of_spoke, dials=True))
            ),
        }
        nodes[refuses].await_log(WRONG_USAGE)
        assert nodes["hub"].ask("leafz")["leafnodes"] == 0
