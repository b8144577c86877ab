"""Every rule over configurations: one that has the hazard, and one that has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from rigs import config_scenes
from rigs.config_scenes import CA, LEAF, NOW, Desk, Tls
from rigs.pki_forge import (
    ANY_USAGE,
    CLIENT_AUTH,
    DAY,
    SERVER_AUTH,
    Forged,
    Shape,
    forge,
    rsa_key,
    with_sha1,
)
from rollover.pki.certificate import parse_der
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.rules.context import ConfigContext, FileFacts
from rollover.platforms.nats.rules.report import AREAS, check_configs
from rollover.rule_catalogue import whole_catalogue
from rollover.rules.rule import Severity

Make = Callable[[Desk], object]


class Case(NamedTuple):
    """A rule, a configuration that has its hazard, and one that comes close and has not."""

    rule: str
    hazard: Make
    fine: Make
    what: str = ""

    def __str__(self) -> str:
        return f"{self.rule}{'-' if self.what else ''}{self.what.replace(' ', '-')}"


def top(**fields: object) -> Make:
    """A server with TLS for clients."""

    def make(desk: Desk) -> None:
        block = Tls(chain=(desk.leaf(),))._replace(**fields)  # type: ignore[arg-type]  # its own fields
        desk.server(top=block)

    return make


def chain(*served: str, shape: Shape = LEAF, context: str = "top", more: str = "") -> Make:
    """A server whose leaf comes from an intermediate; `served` says what follows the leaf."""

    def make(desk: Desk) -> None:
        between = desk.authority("Acme Inter", by=desk.root)
        known = {"inter": between, "root": desk.root}
        leaf = desk.leaf(by=between, shape=shape)
        block = Tls((leaf, *(known[name] for name in served)), (), more)
        trust = Tls((desk.leaf(),), (desk.root, between), "verify: true")
        desk.with_blocks("n1", {context: block, "mqtt": trust}, inside={})

    return make


def leaf(*names: str, shape: Shape = LEAF, context: str = "top", root: Shape = CA) -> Make:
    """A server whose leaf, of this shape, comes from a root that its block trusts."""

    def make(desk: Desk) -> None:
        authority = desk.authority("Acme Root 2", root)
        made = desk.leaf(*names, by=authority, shape=shape)
        desk.with_blocks("n1", {context: Tls((made,), (authority,), "verify: true")}, inside={})

    return make


def bundle(*make_more: Callable[[Desk], Forged], ca: Callable[[Desk], bytes] | None = None) -> Make:
    """A server that trusts its root and more."""

    def make(desk: Desk) -> None:
        trust = (desk.root, *(item(desk) for item in make_more))
        desk.server(top=Tls((desk.leaf(),), trust, "verify: true", ca=ca(desk) if ca else None))

    return make


def text(said: str, *, context: str = "top", trust: bool = True) -> Make:
    """A server with these words in a `tls` block."""

    def make(desk: Desk) -> None:
        block = Tls((desk.leaf(),), (desk.root,) if trust else (), said)
        desk.with_blocks("n1", {context: block}, inside={})

    return make


def words(said: str, more: str = "verify: true") -> Make:
    """A server with TLS for clients and these words beside it."""

    def make(desk: Desk) -> None:
        desk.server(more=said, top=Tls((desk.leaf(),), (desk.root,), more))

    return make


def public(name: str, *, organization: str, by: Forged | None = None) -> Forged:
    """A CA of a public issuer."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        ]
    )
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_der_x509_certificate(by.certificate.der).subject if by else subject
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 30 * DAY)
        .not_valid_after(NOW + 900 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_signs(), critical=True)
        .sign(by.key if by else key, hashes.SHA256())
    )
    return Forged(parse_der(made.public_bytes(Encoding.DER)), key)


def _signs() -> x509.KeyUsage:
    bits = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    more = ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit == "key_cert_sign" for bit in (*bits, *more)})


def gateways(**sides: Callable[[Desk], Tls]) -> Make:
    """Servers of a supercluster, each with a gateway block of its own."""

    def make(desk: Desk) -> None:
        desk.gateways({name: side(desk) for name, side in sides.items()})

    return make


def routes(**sides: Callable[[Desk], Tls]) -> Make:
    """Nodes of a cluster."""

    def make(desk: Desk) -> None:
        desk.routes({name: side(desk) for name, side in sides.items()})

    return make


def side(name: str, *trust: str, more: str = "", own: str = "Acme Root") -> Callable[[Desk], Tls]:
    """What a peer presents (from the CA named `own`), and the CAs that it trusts."""

    def make(desk: Desk) -> Tls:
        names = dict.fromkeys((own, *trust))
        made = {entry: _authority(desk, entry) for entry in names}
        leaf = desk.leaf(f"{name}.example", by=made[own], subject=name)
        return Tls((leaf,), tuple(made[name] for name in trust), more)

    return make


def _authority(desk: Desk, name: str) -> Forged:
    """Return the CA of that name, made once for a desk: `Acme Old` is old, `R3` is public."""
    if name == "Acme Root":
        return desk.root
    known = desk.__dict__.setdefault("named", {})
    if name not in known:
        if name == "ISRG":
            known[name] = public("ISRG Root", organization="Internet Security Research Group")
        elif name in {"R3", "E1"}:
            known[name] = public(name, organization="Let's Encrypt", by=_authority(desk, "ISRG"))
        elif name == "Acme Inter":
            known[name] = desk.authority(name, by=desk.root)
        else:
            days = (-400, 300) if "Old" in name else (-5, 3000)
            known[name] = desk.authority(name, CA._replace(days=days))
    authority: Forged = known[name]
    return authority


def old_chain(desk: Desk, *, days: tuple[float, float]) -> None:
    """A leaf below a CA with other days, which no block trusts in its own right."""
    authority = desk.authority("Acme Root 2", CA._replace(days=days))
    between = desk.authority("Acme Inter", by=authority)
    made = desk.leaf(by=between)
    desk.server(top=Tls((made, between, authority)))


def expired_cross(desk: Desk) -> None:
    """A good path, and an expired cross-certificate that is served beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    other = desk.authority("Other Root")
    good = forge("Acme Inter", config_scenes.INTERMEDIATE, by=desk.root, key=key)
    cross = forge(
        "Acme Inter", config_scenes.INTERMEDIATE._replace(days=(-90, -1)), by=other, key=key
    )
    desk.server(
        top=Tls((desk.leaf(by=good), good, cross)),
        mqtt=Tls((desk.leaf(),), (desk.root,), "verify: true"),
    )


def readable(mode: int) -> Make:
    """A server whose key has this mode."""
    return top(mode=mode)


def writable(mode: int) -> Make:
    """A server whose bundle has this mode."""

    def make(desk: Desk) -> None:
        desk.server(top=Tls((desk.leaf(),), (desk.root,), "verify: true"))
        (desk.folder / "n1-top-ca.pem").chmod(mode)

    return make


def missing(name: str) -> Make:
    """A server without one of its files."""

    def make(desk: Desk) -> None:
        desk.server(top=Tls((desk.leaf(),), (desk.root,), "verify: true"))
        (desk.folder / name).unlink(missing_ok=True)

    return make


def pems(desk: Desk) -> list[bytes]:
    """Return the root and another CA as PEM, without the last newline."""
    return list(config_scenes.joined((desk.root, desk.authority("Acme Root 2"))))


def beside_key(ca: str) -> Make:
    """A gateway whose files are those of a Kubernetes secret, but for the name of its bundle."""

    def make(desk: Desk) -> None:
        made = desk.leaf()
        desk.write("tls.crt", write_certificates((made.certificate,)))
        desk.write("tls.key", made.key_pem())
        desk.write(ca, write_certificates((desk.root.certificate,)))
        folder = desk.folder
        desk.raw(
            "n1",
            f"gateway {{ name: a, port: 7222, tls {{ cert_file: '{folder}/tls.crt', "
            f"key_file: '{folder}/tls.key', ca_file: '{folder}/{ca}' }} }}\n",
        )

    return make


def shared(files: str) -> Make:
    """A server whose clients and peers are judged by one file, or by two with one content."""
    same = files == "one"

    def make(desk: Desk) -> None:
        made = desk.leaf()
        own = Tls((made,), (desk.root,), "verify: true")
        peers = Tls((made,), () if same else (desk.root,))
        if same:
            peers = peers._replace(more=f"ca_file: '{desk.folder}/n1-top-ca.pem'")
        desk.server(top=own, cluster=peers)

    return make


def client_bundle(*trust: str) -> Make:
    """A server whose one client is known, and who trusts these CAs."""

    def make(desk: Desk) -> None:
        made = tuple(_authority(desk, name) for name in trust)
        desk.server(top=Tls((desk.leaf(),), made, "verify: true"))
        desk.client("app", desk.leaf("app.example", by=made[0], subject="app"))

    return make


def mapped(user: str, *, client: str = "") -> Make:
    """A server that maps certificates to users."""

    def make(desk: Desk) -> None:
        desk.server(
            more=f"authorization {{ users: [ {{ user: '{user}' }} ] }}",
            top=Tls((desk.leaf(),), (desk.root,), "verify_and_map: true"),
        )
        if client:
            desk.client("app", desk.leaf(client, subject="app"))

    return make


def raw(said: str) -> Make:
    """A configuration as it stands."""
    return lambda desk: desk.raw("n1", said)


def reload(before: str, after: str) -> Make:
    """A server that has loaded something else than its file now says."""

    def make(desk: Desk) -> None:
        desk.loaded(desk.raw("n1", after), before)

    return make


def remote(said: str) -> Make:
    """A leaf node that dials a hub which verifies; `said` is the remote's `tls` block."""

    def make(desk: Desk) -> None:
        own = Tls((desk.leaf(subject="leaf"),), (desk.root,))
        block = desk.tls("leaf", own) if said == "own" else said
        desk.raw(
            "leaf",
            "server_name: leaf\nlisten: '127.0.0.1:4333'\nleafnodes { remotes: "
            f"[{{ url: 'tls://127.0.0.1:7422', {block} }}] }}\n",
        )
        desk.server(
            "hub",
            inside={"leafnodes": "listen: '127.0.0.1:7422'"},
            leafnodes=Tls((desk.leaf(),), (desk.root,), "verify: true"),
        )

    return make


def dialled(host: str, *names: str, listen: str = "n2.example:6222") -> Make:
    """Two nodes; the first one dials the second one by `host`, whose certificate has `names`."""

    def make(desk: Desk) -> None:
        own = Tls((desk.leaf("n1.example"),), (desk.root,))
        other = Tls((desk.leaf(*names, subject="n2"),), (desk.root,))
        urls = f"name: c\n  listen: 'n1.example:6222'\n  routes: ['nats-route://{host}:6222']"
        desk.server("n1", inside={"cluster": urls}, cluster=own)
        desk.server("n2", inside={"cluster": f"name: c\n  listen: '{listen}'"}, cluster=other)

    return make


def advertised(host: str) -> Make:
    """A server that tells others this address of it."""

    def make(desk: Desk) -> None:
        block = Tls((desk.leaf(),), (desk.root,))
        desk.server(inside={"cluster": f"name: c\n  advertise: '{host}'"}, cluster=block)

    return make


def second(first: Shape, *, rsa: bool = False) -> Make:
    """A block that lists two certificates."""

    def make(desk: Desk) -> None:
        one = desk.leaf()
        key = rsa_key(2048, "second") if rsa else None
        shape = first._replace(names=config_scenes.named("n1.example"))
        two = forge("n1", shape, by=desk.root, key=key, now=desk.now)
        for name, each in (("a", one), ("b", two)):
            desk.write(f"{name}.pem", write_certificates((each.certificate,)))
            desk.write(f"{name}.key", each.key_pem())
        entries = ", ".join(
            f"{{cert_file: '{desk.folder}/{name}.pem', key_file: '{desk.folder}/{name}.key'}}"
            for name in "ab"
        )
        desk.server(top=Tls(more=f"certs: [{entries}]"))

    return make


def sha1(desk: Desk) -> None:
    """A leaf that is signed with SHA-1."""
    key = rsa_key(2048, "sha1 root")
    root = forge("Old Root", CA, key=key)
    made = with_sha1(
        forge("n1", LEAF, by=root, key=rsa_key(2048, "sha1 leaf"), now=desk.now), signer=key
    )
    desk.server(top=Tls((made,)))


def namesake(desk: Desk) -> Forged:
    """Another CA with the name of the root, and nothing else to tell them apart."""
    return forge("Acme Root", CA._replace(subject_key_id=False), now=desk.now)


def own_tls_for_remote(desk: Desk) -> None:
    """A gateway with a public kind of certificate, and a client certificate for its remote."""
    serving = desk.leaf("a.example", shape=LEAF._replace(extended=(SERVER_AUTH,)))
    dialling = desk.tls("remote", Tls((desk.leaf(subject="dial"),), (desk.root,)))
    inside = f"name: a\n gateways: [{{name: b, url: 'nats://b.example:7222', {dialling} }}]"
    desk.server(inside={"gateway": inside}, gateway=Tls((serving,), (desk.root,)))


def pins(pinned: str) -> Make:
    """Two nodes of which the first one pins a key: that of the second one, or another."""

    def make(desk: Desk) -> None:
        other = desk.leaf("n2.example", subject="n2")
        pin = other.certificate.key_identity if pinned == "right" else "ab" * 32
        one = Tls((desk.leaf("n1.example"),), (desk.root,), f'pinned_certs: ["{pin}"]')
        desk.routes({"n1": one, "n2": Tls((other,), (desk.root,))})

    return make


def stapled(
    mode: str,
    *served: str,
    trust: str = "",
    context: str = "top",
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> Make:
    """A server that staples its leaf, which comes from an intermediate."""

    def make(desk: Desk) -> None:
        between = desk.authority("Acme Inter", by=desk.root)
        known = {"inter": between, "root": desk.root}
        made = desk.leaf(by=between, shape=LEAF._replace(extra=extra))
        trusted = (known[trust],) if trust else ()
        block = Tls((made, *(known[name] for name in served)), trusted)
        desk.with_blocks("n1", {context: block}, more=f"ocsp {{ mode: {mode} }}", inside={})

    return make


def three(*common: str, listen: str = "n{}.example", everybody: bool = False) -> Make:
    """Three nodes that dial the first one, or all of them; `common`: names that all have."""

    def make(desk: Desk) -> None:
        numbers = (1, 2, 3)
        for at in numbers:
            urls = [f"'nats-route://{listen.format(to)}:6222'" for to in numbers]
            urls = urls if everybody else urls[:1]
            inside = f"name: c\n listen: '{listen.format(at)}:6222'\n routes: [{', '.join(urls)}]"
            made = desk.leaf(f"n{at}.example", *common, subject=f"n{at}")
            block = Tls((made,), (desk.root,))
            desk.server(f"n{at}", inside={"cluster": inside}, cluster=block)

    return make


def unit(flags: str) -> Make:
    """A server whose systemd unit has these flags."""

    def make(desk: Desk) -> None:
        text = f"[Service]\nExecStart=/usr/bin/nats-server \\\n  {flags}\n"
        desk.units.append(desk.write("nats.service", text))
        desk.server(top=Tls((desk.leaf(),)))

    return make


def known_client(authority: str, *, days: tuple[float, float] = LEAF.days) -> Make:
    """A server that trusts the root, and a client from a CA."""

    def make(desk: Desk) -> None:
        desk.server(top=Tls((desk.leaf(),), (desk.root,), "verify: true"))
        shape = LEAF._replace(days=days)
        made = desk.leaf("app.example", by=_authority(desk, authority), subject="app", shape=shape)
        desk.client("app", made)

    return make


MUST_STAPLE = ((x509.TLSFeature([x509.TLSFeatureType.status_request]), False),)
RESPONDER = (
    (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    x509.oid.AuthorityInformationAccessOID.OCSP,
                    x509.UniformResourceIdentifier("http://ocsp.example"),
                )
            ]
        ),
        False,
    ),
)
PERMITTED = CA._replace(
    extra=((x509.NameConstraints([x509.DNSName("internal.example")], None), True),)
)
ODD_OID = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
ELSEWHERE = x509.AuthorityKeyIdentifier(b"\1" * 20, None, None)
DOMAIN_VALIDATED = x509.CertificatePolicies(
    [x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)]
)
ROUTE_SERVER_ONLY = LEAF._replace(extended=(SERVER_AUTH,))
CLIENT_ONLY = LEAF._replace(extended=(CLIENT_AUTH,))
NO_CONSTRAINTS = CA._replace(basic=None, usages=None)
NO_USAGE = CA._replace(usages=None)
WRONG_USAGE = CA._replace(usages=frozenset({"crl_sign"}))
WITH_TLS = "listen: '127.0.0.1:4222'\ncluster { name: c, port: 6222, tls { timeout: 2 } }\n"

CASES = (
    Case("configuration-unreadable", words("include ./none.conf"), words("debug: true")),
    Case("file-missing", missing("n1-top.pem"), missing("none.pem")),
    Case("file-without-certificates", top(pem=b"none\n"), top()),
    Case("file-without-certificates", bundle(ca=lambda desk: desk.root.certificate.der), bundle(),
         what="DER"),
    Case("pem-joined", bundle(ca=lambda desk: b"".join(pems(desk)) + b"\n"),
         bundle(ca=lambda desk: b"\n".join(pems(desk)) + b"\n")),
    Case("pem-skipped", bundle(ca=lambda desk: b"\xef\xbb\xbf" + b"\n".join(pems(desk)) + b"\n"),
         bundle(ca=lambda desk: b"# old\n" + b"\n".join(pems(desk)) + b"\n")),
    Case("pem-skipped", bundle(ca=lambda desk: b"\n".join(pems(desk))[:-40]), bundle(),
         what="truncated"),
    Case("pem-refused-by-openssl",
         bundle(ca=lambda desk: pems(desk)[0].replace(b"\n", b"\n\n") + b"\n"), bundle()),
    Case("pem-without-last-newline", bundle(ca=lambda desk: pems(desk)[0]), bundle()),
    Case("key-mismatch", lambda desk: desk.server(top=Tls((desk.leaf(),), key=desk.root.key_pem())),
         top()),
    Case("key-mismatch", lambda desk: desk.server(top=Tls((desk.root, desk.leaf()),
                                                          key=desk.leaf().key_pem())),
         top(), what="CA first"),
    Case("key-readable-by-others", readable(0o644), readable(0o640)),
    Case("key-readable-by-group", readable(0o640), readable(0o400)),
    Case("trust-writable-by-others", writable(0o666), writable(0o664)),
    Case("config-expired", leaf(shape=LEAF._replace(days=(-30, -1))), leaf()),
    Case("config-expired", lambda desk: old_chain(desk, days=(-90, -1)), expired_cross,
         what="the CA above"),
    Case("config-expires-soon", lambda desk: old_chain(desk, days=(-90, 12)),
         lambda desk: old_chain(desk, days=(-90, 300))),
    Case("config-not-yet-valid", leaf(shape=LEAF._replace(days=(1, 30))), leaf()),
    Case("config-leaf-outlives-authority", lambda desk: old_chain(desk, days=(-90, 12)), leaf()),
    Case("renewal-window-too-short", leaf(shape=LEAF._replace(days=(-0.5, 0.5))), leaf()),
    Case("chain-incomplete", chain(), chain("inter")),
    Case("chain-incomplete", lambda desk: desk.server(
        top=Tls((desk.leaf(by=_authority(desk, "R3")),))), top(), what="public issuer"),
    Case("chain-out-of-order", chain("root", "inter"), chain("inter", "root")),
    Case("usage-not-both-ways", leaf(shape=ROUTE_SERVER_ONLY, context="cluster"),
         leaf(context="cluster")),
    Case("usage-not-both-ways", leaf(shape=CLIENT_ONLY, context="gateway"),
         leaf(shape=LEAF._replace(extended=None), context="gateway"), what="gateway"),
    Case("usage-not-both-ways", leaf(context="cluster", root=CA._replace(extended=(SERVER_AUTH,))),
         leaf(context="top", root=CA._replace(extended=(SERVER_AUTH,))), what="the CA above"),
    Case("usage-wrong-way", leaf(shape=CLIENT_ONLY), leaf(shape=ROUTE_SERVER_ONLY)),
    Case("public-issuer-drops-client-auth",
         gateways(a=side("a", "R3", own="R3"), b=side("b", "R3", own="E1")),
         gateways(a=side("a", "Acme Root"), b=side("b", "Acme Root"))),
    Case("public-issuer-drops-client-auth",
         leaf(shape=LEAF._replace(extra=((DOMAIN_VALIDATED, False),)), context="cluster"),
         leaf(context="cluster"), what="by its policy"),
    Case("names-missing", lambda desk: desk.server(
        top=Tls((forge("n1.example", LEAF._replace(names=()), by=desk.root),))), top()),
    Case("name-not-in-certificate", dialled("10.0.0.2", "n2.example", listen="10.0.0.2:6222"),
         dialled("n2.example", "n2.example")),
    Case("name-not-in-certificate", advertised("nats.acme.example:6222"),
         advertised("n1.example:6222"), what="advertised"),
    Case("gossip-not-in-certificate", three(), three("n1.example")),
    Case("gossip-not-in-certificate", three(listen="10.0.0.{}"),
         three("10.0.0.1", "10.0.0.2", "10.0.0.3", listen="10.0.0.{}"), what="address"),
    Case("gossip-not-in-certificate", three(), three(everybody=True), what="all routes"),
    Case("weak-key", lambda desk: desk.server(
        top=Tls((forge("n1", LEAF, by=desk.root, key=rsa_key(1024, "weak")),))), top()),
    Case("weak-signature", sha1, top()),
    Case("authority-malformed", leaf(root=NO_CONSTRAINTS), leaf()),
    Case("authority-malformed", leaf(root=WRONG_USAGE), leaf(root=NO_USAGE), what="key usage"),
    Case("authority-without-key-usage", leaf(root=NO_USAGE), leaf()),
    Case("second-certificate-unseen", second(LEAF), second(LEAF, rsa=True)),
    Case("trust-from-own-issuer",
         gateways(a=side("a", "R3", own="R3"), b=side("b", "E1", own="E1")),
         gateways(a=side("a", "Acme Root"), b=side("b", "Acme Root"))),
    Case("trust-from-own-issuer",
         gateways(a=side("a", "R3", "ISRG", own="R3"), b=side("b", "R3", "E1", own="E1")),
         gateways(a=side("a", "R3", "E1", own="R3"), b=side("b", "R3", "E1", own="E1")),
         what="with its public root"),
    Case("trust-from-own-issuer",
         gateways(a=side("a", "Acme Inter", own="Acme Inter")),
         gateways(a=side("a", "Acme Inter", "Acme Root", own="Acme Inter")),
         what="private intermediate"),
    Case("trust-beside-own-key", beside_key("ca.crt"), beside_key("bundle.pem")),
    Case("trust-in-one-authority", routes(n1=side("n1", "Acme Root")),
         routes(n1=side("n1", "Acme Root", "Acme New"))),
    Case("bundle-dates", bundle(lambda desk: desk.authority("Old", CA._replace(days=(-9, -1)))),
         bundle()),
    Case("bundle-dates", bundle(lambda desk: desk.authority("New", CA._replace(days=(1, 9)))),
         bundle(), what="not yet"),
    Case("bundle-leaf", bundle(lambda desk: desk.leaf()),
         bundle(lambda desk: desk.authority("New"))),
    Case("bundle-same-subject", bundle(
        namesake, namesake),
         bundle(lambda desk: desk.authority("Acme Root"))),
    Case("bundle-duplicate", bundle(lambda desk: desk.root), bundle()),
    Case("bundle-duplicate",
         bundle(lambda desk: forge("Acme Root", CA._replace(days=(-9, 9)), key=desk.root.key)),
         bundle(), what="renewed"),
    Case("bundle-too-long", bundle(*(
        lambda desk, at=at: long_named(desk, at) for at in range(260))), bundle()),
    Case("trust-in-every-public-authority", text("verify: true", trust=False),
         text("verify: true")),
    Case("trust-in-every-public-authority", text("", context="cluster", trust=False),
         text("", trust=False), what="cluster"),
    Case("trust-wider-than-needed",
         routes(n1=side("n1", "Acme Root", "A", "B", "C"), n2=side("n2", "Acme Root")),
         routes(n1=side("n1", "Acme Root", "Standby"), n2=side("n2", "Acme Root"))),
    Case("trust-wider-than-needed",
         routes(n1=side("n1", "Acme Root", "ISRG"), n2=side("n2", "Acme Root")),
         routes(n1=side("n1", "Acme Root", "A", "B", "C")), what="public root"),
    Case("old-authority-still-trusted",
         routes(n1=side("n1", "Acme Root", "Acme Old"), n2=side("n2", "Acme Root")),
         routes(n1=side("n1", "Acme Root", "Acme Old"),
                n2=side("n2", "Acme Root", "Acme Old", own="Acme Old"))),
    Case("old-authority-still-trusted", client_bundle("Acme Root", "Acme Old"),
         client_bundle("Acme Old", "Acme Root"), what="clients"),
    Case("trust-shared-between-purposes", shared("one"), shared("two")),
    Case("peers-refuse-each-other",
         gateways(a=side("a", "R3", own="R3"), b=side("b", "R3", own="E1")),
         gateways(a=side("a", "R3", "E1", own="R3"), b=side("b", "R3", "E1", own="E1"))),
    Case("peers-refuse-each-other",
         routes(n1=side("n1", "Acme Root"), n2=side("n2", "Acme New", own="Acme New")),
         routes(n1=side("n1", "Acme Root", "Acme New"),
                n2=side("n2", "Acme Root", "Acme New", own="Acme New")), what="routes"),
    Case("dialer-without-certificate", remote(""), remote("own")),
    Case("peer-not-pinned", pins("wrong"), pins("right")),
    Case("insecure", text("insecure: true", context="gateway"), text("", context="gateway")),
    Case("peers-not-verified", text(""), text("verify: true")),
    Case("leafnodes-not-verified", text("", context="leafnodes"),
         text("verify: true", context="leafnodes")),
    Case("mapped-user-without-certificate", mapped("/CN=app/O=Acme"), mapped("CN=app,O=Acme")),
    Case("mapped-user-without-certificate", mapped("app.example", client="other.example"),
         mapped("app.example", client="app.example"), what="clients given"),
    Case("mapped-user-without-certificate", mapped("my app"),
         mapped("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"), what="nkey"),
    Case("pinned-certificates", text(f'pinned_certs: ["{"ab" * 32}"]', context="cluster"),
         text("", context="cluster")),
    Case("timeout-too-low", text("timeout: 0.5"), text("timeout: 5")),
    Case("timeout-too-high", text("timeout: 600"), text("timeout: '30s'")),
    Case("monitoring-in-clear", words("http: 8222"), words("http: '127.0.0.1:8222'")),
    Case("monitoring-in-clear", words("http_port: 8222"), words("https_port: 8222"),
         what="https"),
    Case("port-in-clear", words("cluster { name: c, port: 6222 }"),
         lambda desk: desk.server(more="listen: '127.0.0.1:4222'",
                                  cluster=Tls((desk.leaf(),), (desk.root,)))),
    Case("port-in-clear", lambda desk: desk.server(more="listen: '0.0.0.0:4222'",
                                                   cluster=Tls((desk.leaf(),), (desk.root,))),
         lambda desk: desk.raw("n1", "leafnodes { remotes: [{url: 'tls://hub.example:7422', "
                                     "tls { timeout: 3 } }] }\n"), what="leaf node of a hub"),
    Case("clients-in-clear-allowed", words("allow_non_tls: true"), words("allow_non_tls: false")),
    Case("weak-ciphers",
         text("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\nallow_insecure_cipher_suites: true"),
         text("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]")),
    Case("insecure-ciphers-refused", text("cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]"),
         text("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]")),
    Case("block-without-certificate", lambda desk: desk.server(cluster=Tls()), text("")),
    Case("nothing-shared",
         routes(n1=side("n1", "Acme Root", more="curve_preferences: [X25519]"),
                n2=side("n2", "Acme Root", more="curve_preferences: [CurveP384]")),
         routes(n1=side("n1", "Acme Root", more="curve_preferences: [X25519]"),
                n2=side("n2", "Acme Root"))),
    Case("option-without-effect", text("connection_rate_limit: 9", context="cluster"),
         text("connection_rate_limit: 9")),
    Case("option-twice", words("debug: true\ndebug: false"), words("debug: true")),
    Case("option-unknown", words("tsl: 1"), words("debug: true")),
    Case("value-not-as-meant", words("max_payload: 1kbb"), words("max_payload: 1kb")),
    Case("reload-refused", reload("port: 4222\n", "port: 4223\n"),
         reload("port: 4222\n", "port: 4222\ndebug: true\n")),
    Case("reload-to-plaintext", reload(WITH_TLS, "listen: '127.0.0.1:4222'\ncluster "
                                                 "{ name: c, port: 6222 }\n"),
         reload(WITH_TLS, WITH_TLS)),
    Case("relative-path", raw("tls { cert_file: a.pem, key_file: a.key }\n"), top()),
    Case("ocsp-must", words("ocsp { mode: always }"), words("ocsp { mode: must }")),
    Case("ocsp-must", stapled("must", extra=MUST_STAPLE), stapled("auto", extra=MUST_STAPLE),
         what="must staple"),
    Case("ocsp-issuer-not-found", stapled("always", "root", "inter"), stapled("always", "inter")),
    Case("ocsp-issuer-not-found", stapled("always"), stapled("auto"), what="leaf alone"),
    Case("ocsp-issuer-not-found", stapled("auto", extra=MUST_STAPLE),
         stapled("never", extra=MUST_STAPLE), what="must staple"),
    Case("ocsp-issuer-not-found", stapled("always", trust="inter", context="websocket"),
         stapled("always", trust="inter"), what="websocket"),
    Case("ocsp-without-responder", words("ocsp { mode: always }"),
         words("ocsp { mode: always, url: 'http://ocsp.example' }")),
    Case("ocsp-without-responder", stapled("always", "inter"),
         stapled("always", "inter", extra=RESPONDER), what="named in the leaf"),
    Case("started-with-tls-flags", unit("-c n1.conf --tls --tlscert=a.pem"),
         unit("-c n1.conf -tls=false")),
    Case("started-without-configuration", unit("-p 4222"), unit("--config=n1.conf -p 4222")),
    Case("client-refused", known_client("Acme New"), known_client("Acme Root")),
    Case("client-refused", known_client("Acme Root", days=(-9, -1)), known_client("Acme Root"),
         what="expired"),
    Case("mapped-certificate-without-user", mapped("app.example", client="other.example"),
         mapped("CN=app", client="app.example")),
    Case("chain-against-constraints", leaf("n1.example", root=PERMITTED),
         leaf("n1.internal.example", root=PERMITTED)),
    Case("chain-against-constraints",
         leaf(shape=LEAF._replace(extra=((x509.UnrecognizedExtension(ODD_OID, b"0"), True),))),
         leaf(shape=LEAF._replace(extra=((x509.UnrecognizedExtension(ODD_OID, b"0"), False),))),
         what="unknown extension"),
    Case("chain-refused-by-openssl", leaf(shape=LEAF._replace(authority_key_id=ELSEWHERE)), leaf()),
    Case("chain-refused-by-openssl", leaf(shape=LEAF._replace(extended=(ANY_USAGE,))),
         leaf(shape=LEAF._replace(extended=(ANY_USAGE,)), context="cluster"), what="any usage"),
)  # fmt: skip


def long_named(desk: Desk, at: int) -> Forged:
    """A CA with a name of some 260 octets; all of them share a key, which is quicker."""
    subject = x509.Name(
        [
            x509.NameAttribute(oid, f"{at:04}" + "x" * 60)
            for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.LOCALITY_NAME)
        ]
        + [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)]
    )
    key = desk.root.key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(at + 1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 99 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Forged(parse_der(made.public_bytes(Encoding.DER)), key)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder to write configurations into."""
    return Desk(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_finds_its_hazard(case: Case, desk: Desk) -> None:
    """The hazard is found, with the place and a remedy."""
    case.hazard(desk)
    found = desk.findings(case.rule)
    assert found
    for finding in found:
        assert finding.message
        assert finding.remedy
        assert str(desk.folder) in finding.place


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_is_silent_where_there_is_no_hazard(case: Case, desk: Desk) -> None:
    """A configuration that comes close is no reason for an alarm."""
    case.fine(desk)
    assert desk.findings(case.rule) == []


def test_every_rule_has_a_case() -> None:
    """No rule is without a configuration that has its hazard and one that has not."""
    rules = {rule.id for checks in AREAS.values() for rule, _ in checks}
    assert rules == {case.rule for case in CASES}


def test_a_sane_supercluster_gives_no_alarm(desk: Desk) -> None:
    """Two nodes and two gateways as they should be, with a standby CA: nothing at all is found."""
    trust = (desk.root, _authority(desk, "Acme Standby"))
    for at, name in enumerate(("n1", "n2")):
        made = desk.leaf(f"{name}.example", subject=name)
        other = "n2" if name == "n1" else "n1"
        desk.server(
            name,
            top=Tls((made,), (desk.root,), "verify: true"),
            cluster=Tls((made,), trust),
            gateway=Tls((made,), trust),
            inside={
                "cluster": f"name: g{at}\n listen: '{name}.example:6222'\n "
                f"routes: ['nats-route://{other}.example:6222']",
                "gateway": f"name: g{at}\n listen: '{name}.example:7222'\n "
                f"gateways: [{{name: g{1 - at}, url: 'nats://{other}.example:7222'}}]",
            },
        )
    assert desk.findings() == []


def severities(desk: Desk, rule: str) -> list[Severity]:
    """Return how much each finding of a rule weighs."""
    return [finding.severity for finding in desk.findings(rule)]


def test_remotes_with_certificates_of_their_own_make_it_a_warning(desk: Desk) -> None:
    """A gateway that dials with client certificates is one-way for gossiped gateways only."""
    own_tls_for_remote(desk)
    assert severities(desk, "usage-not-both-ways") == [Severity.WARNING]


def test_an_expired_authority_beside_a_valid_one_is_a_warning(desk: Desk) -> None:
    """It lets nobody in, and keeps nobody out; alone it keeps everybody out."""
    old = desk.authority("Old", CA._replace(days=(-9, -1)))
    desk.server(top=Tls((desk.leaf(),), (desk.root, old), "verify: true"))
    assert severities(desk, "bundle-dates") == [Severity.WARNING]
    desk.server("n2", top=Tls((desk.leaf(),), (old,), "verify: true"))
    assert severities(desk, "bundle-dates") == [Severity.WARNING, Severity.ERROR]


def test_a_public_root_is_a_weaker_hint_than_an_intermediate(desk: Desk) -> None:
    """Siblings of the intermediate are trusted through it, until the issuer changes its root."""
    gateways(a=side("a", "R3", "ISRG", own="R3"))(desk)
    assert severities(desk, "trust-from-own-issuer") == [Severity.WARNING]


def test_what_may_not_be_read_is_missing_evidence(desk: Desk) -> None:
    """The server may run as another user: nobody can say that it will not start."""
    desk.server(top=Tls((desk.leaf(),)))
    scene = desk.scene()
    path = str(desk.folder / "n1-top.key")
    files = {**scene.files, path: FileFacts(path=path, problem="Permission denied", denied=True)}
    seen = ConfigContext(scene.servers, files=files, accepts=scene.accepts, now=scene.now)
    found = [finding for one in check_configs(seen).checked for finding in one.findings]
    assert [(finding.rule, finding.severity) for finding in found] == [
        ("file-missing", Severity.EVIDENCE)
    ]


def test_texts_of_findings_can_be_shown_anywhere(desk: Desk) -> None:
    """Octets that are no UTF-8, and control characters, are written as escapes."""
    desk.folder.joinpath("n1.conf").write_bytes(b"\x80\x1b[2Jx: 1\n")
    desk.configs.append(desk.folder / "n1.conf")
    found = desk.findings("option-unknown")
    assert found
    assert all(finding.message.isprintable() for finding in found)


def test_ids_of_rules_are_their_own() -> None:
    """No two rules of the whole program share an id."""
    ids = [rule.id for rule in whole_catalogue().rules]
    assert len(ids) == len(set(ids))
