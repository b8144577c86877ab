"""The chains on which TLS stacks differ, and those on which they must agree, with each verdict."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from rigs.pki_forge import (
    ANY_USAGE,
    CA,
    CLIENT_AUTH,
    INTERMEDIATE,
    LEAF,
    LOCALHOST,
    SERVER_AUTH,
    Forged,
    Key,
    Shape,
    common_name,
    ec_key,
    forge,
    rsa_key,
    with_negative_serial,
    with_sha1,
)
from rollover.fleet.certificate import Certificate, Question, Stack, Usage


class Accepted(NamedTuple):
    """Whether a stack accepts the chain, by the role of who presents it."""

    server: bool
    client: bool


YES = Accepted(server=True, client=True)
NO = Accepted(server=False, client=False)
SERVER_ONLY = Accepted(server=True, client=False)
CLIENT_ONLY = Accepted(server=False, client=True)


class Case(NamedTuple):
    """A chain, leaf first with its key, a bundle, and what Go and OpenSSL make of it."""

    name: str
    chain: tuple[Forged, ...]
    bundle: tuple[Certificate, ...]
    go: Accepted
    openssl: Accepted
    host: str = "localhost"

    def question(self, *, stack: Stack, usage: Usage, instant: datetime) -> Question:
        """Return the case as a question; only a dialer expects a name."""
        return Question(
            chain=tuple(one.certificate.fingerprint for one in self.chain),
            bundle=tuple(one.fingerprint for one in self.bundle),
            instant=instant,
            usage=usage,
            stack=stack,
            name=self.host if usage is Usage.SERVER else None,
        )

    def expected(self, *, stack: Stack, usage: Usage) -> bool:
        """Return whether the stack accepts."""
        accepted = self.go if stack is Stack.GO else self.openssl
        return accepted.server if usage is Usage.SERVER else accepted.client

    def certificates(self) -> tuple[Certificate, ...]:
        """Return every certificate of the case."""
        return (*(one.certificate for one in self.chain), *self.bundle)


def chain_cases(now: datetime) -> tuple[Case, ...]:
    """Return all cases, their validity placed around `now`."""
    return tuple(Chains(now).cases())


class Chains:
    """Builds the cases; every one has fresh keys, but for RSA."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._root = self._forge("root", CA)
        self._inter = self._forge("inter", INTERMEDIATE, by=self._root)

    def _forge(
        self,
        name: str,
        shape: Shape = LEAF,
        *,
        by: Forged | None = None,
        key: Key | None = None,
        signer: Key | None = None,
    ) -> Forged:
        return forge(name, shape, by=by, key=key, signer=signer, now=self._now)

    def _leaf(self, *, by: Forged | None = None, **changes: Any) -> Forged:
        return self._forge("leaf", LEAF._replace(**changes), by=by or self._root)

    def _authority(self, name: str, *, key: Key | None = None, **changes: Any) -> Forged:
        return self._forge(name, CA._replace(**changes), key=key)

    def _intermediate(self, name: str, *, by: Forged | None = None, **changes: Any) -> Forged:
        return self._forge(name, INTERMEDIATE._replace(**changes), by=by or self._root)

    def cases(self) -> Iterator[Case]:
        """Yield all cases, theme by theme."""
        yield from self._plain()
        yield from self._anchors()
        yield from self._same_subject()
        yield from self._key_identifiers()
        yield from self._renewals()
        yield from self._cross_signed()
        yield from self._extended_usages()
        yield from self._name_constraints()
        yield from self._names()
        yield from self._authorities()
        yield from self._algorithms()
        yield from self._dates()
        yield from self._extensions()
        yield from self._constraint_details()
        yield from self._crowds()

    def _plain(self) -> Iterator[Case]:
        root, inter = self._root, self._inter
        leaf, deep = self._leaf(), self._leaf(by=inter)
        other = self._authority("other")
        lower = self._intermediate("lower", by=inter)
        deepest = self._leaf(by=lower)
        yield _case("root and leaf", [leaf], [root])
        yield _case("intermediate served", [deep, inter], [root])
        yield _case("intermediate missing", [deep], [root], go=NO, openssl=NO)
        yield _case("intermediate in the bundle beside its root", [deep], [root, inter])
        yield _case("bundle has another root", [leaf], [other], go=NO, openssl=NO)
        yield _case("bundle has both roots", [leaf], [other, root])
        yield _case("order of the chain shuffled", [deepest, inter, lower], [root])
        yield _case("junk in the chain", [deep, other, inter], [root])
        yield _case("root served", [deep, inter, root], [root])
        yield _case("root served to a stranger", [deep, inter, root], [other], go=NO, openssl=NO)
        outliving = self._leaf(days=(-1, 900))
        yield _case("leaf outlives its CA", [outliving], [root])

    def _anchors(self) -> Iterator[Case]:
        root, inter = self._root, self._inter
        deep, leaf = self._leaf(by=inter), self._leaf()
        own = self._forge("own", LEAF._replace(authority_key_id=False))
        yield _case("anchor is the intermediate", [deep], [inter], openssl=NO)
        yield _case("anchor is the intermediate, served too", [deep, inter], [inter], openssl=NO)
        yield _case("anchor is the leaf, issued by a CA", [leaf], [leaf], openssl=NO)
        yield _case("anchor is the leaf, signed by itself", [own], [own])
        yield _case("self-signed leaf without anchor", [own], [root], go=NO, openssl=NO)

    def _same_subject(self) -> Iterator[Case]:
        old, new = self._authority("twin"), self._authority("twin")
        by_old, by_new = self._leaf(by=old), self._leaf(by=new)
        for title, leaf in (("old", by_old), ("new", by_new)):
            yield _case(f"twins, key ids, leaf of {title}, [old, new]", [leaf], [old, new])
            yield _case(f"twins, key ids, leaf of {title}, [new, old]", [leaf], [new, old])
        mute = self._leaf(by=new, authority_key_id=False)
        yield _case("twins, leaf of new without AKI, [old, new]", [mute], [old, new], openssl=NO)
        yield _case("twins, leaf of new without AKI, [new, old]", [mute], [new, old])
        plain = [self._authority("plain twin", subject_key_id=False) for _ in range(2)]
        bare = self._leaf(by=plain[1], authority_key_id=False)
        yield _case("twins, no key ids at all, [old, new]", [bare], plain, openssl=NO)
        yield _case("twins, no key ids at all, [new, old]", [bare], plain[::-1])
        alike = [self._authority("alike", subject_key_id=b"same" * 5) for _ in range(2)]
        sworn = self._leaf(by=alike[1])
        yield _case("twins of one SKI, leaf of new, [old, new]", [sworn], alike, openssl=NO)
        yield _case("twins of one SKI, leaf of new, [new, old]", [sworn], alike[::-1])
        forged = self._forge("leaf", LEAF, by=old, signer=new.key)
        yield _case("signed by a stranger's key", [forged], [old], go=NO, openssl=NO)

    def _key_identifiers(self) -> Iterator[Case]:
        root = self._root
        wrong = x509.AuthorityKeyIdentifier(b"x" * 20, None, None)
        yield _case(
            "AKI is not the issuer's SKI",
            [self._leaf(authority_key_id=wrong)],
            [root],
            openssl=NO,
        )
        serial = x509.AuthorityKeyIdentifier(
            bytes.fromhex(root.certificate.subject_key_id),
            [x509.DirectoryName(common_name("root"))],
            root.certificate.serial,
        )
        leaf = self._leaf(authority_key_id=serial)
        again = self._authority("root", key=root.key)
        yield _case("AKI by issuer and serial", [leaf], [root])
        yield _case("AKI by issuer and serial, root issued again", [leaf], [again], openssl=NO)

    def _renewals(self) -> Iterator[Case]:
        expired = self._authority("renewed", days=(-9, -1))
        fresh = self._authority("renewed", key=expired.key)
        leaf = self._leaf(by=expired)
        yield _case("root renewed with its key", [leaf], [fresh])
        yield _case("expired and renewed, [expired, renewed]", [leaf], [expired, fresh])
        yield _case("expired and renewed, [renewed, expired]", [leaf], [fresh, expired])

    def _cross_signed(self) -> Iterator[Case]:
        old, new = self._root, self._authority("new root")
        cross = self._forge("new root", INTERMEDIATE, by=old, key=new.key)
        past = self._forge("new root", INTERMEDIATE._replace(days=(-9, -1)), by=old, key=new.key)
        leaf = self._leaf(by=new)
        yield _case("cross certificate served, peer trusts old", [leaf, cross], [old])
        yield _case("cross certificate served, peer trusts new", [leaf, cross], [new])
        yield _case("cross certificate served, peer trusts both", [leaf, cross], [old, new])
        yield _case("cross certificate not served", [leaf], [old], go=NO, openssl=NO)
        yield _case("anchor is the cross certificate", [leaf], [cross], openssl=NO)
        yield _case("expired cross certificate served", [leaf, past], [new])
        yield _case("expired cross certificate needed", [leaf, past], [old], go=NO, openssl=NO)

    def _extended_usages(self) -> Iterator[Case]:
        root = self._root
        for title, usages, accepted in (
            ("serverAuth only", (SERVER_AUTH,), SERVER_ONLY),
            ("clientAuth only", (CLIENT_AUTH,), CLIENT_ONLY),
            ("no EKU", None, YES),
        ):
            leaf = self._leaf(extended=usages)
            yield _case(f"leaf: {title}", [leaf], [root], go=accepted, openssl=accepted)
            inter = self._intermediate("narrow", extended=usages)
            chain = [self._leaf(by=inter), inter]
            yield _case(f"intermediate: {title}", chain, [root], go=accepted, openssl=accepted)
            narrow = self._authority("narrow root", extended=usages)
            leaf = self._leaf(by=narrow)
            yield _case(f"root: {title}", [leaf], [narrow], go=accepted, openssl=accepted)
        leaf = self._leaf(extended=(ANY_USAGE,))
        yield _case("leaf: anyExtendedKeyUsage only", [leaf], [root], openssl=NO)

    def _name_constraints(self) -> Iterator[Case]:
        here, there = LOCALHOST, x509.DNSName("example.com")
        ours = x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))
        theirs = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))
        both = (LOCALHOST, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        mail = (LOCALHOST, x509.RFC822Name("ops@example.org"))
        link = (LOCALHOST, x509.UniformResourceIdentifier("nats://example.org/x"))
        domain = x509.RFC822Name("example.com")
        for title, permitted, excluded, names, accepted in (
            ("DNS permitted, kept", here, None, (LOCALHOST,), YES),
            ("DNS permitted, broken", there, None, (LOCALHOST,), NO),
            ("DNS excluded, kept", None, there, (LOCALHOST,), YES),
            ("DNS excluded, broken", None, here, (LOCALHOST,), NO),
            ("IP permitted, kept", ours, None, both, YES),
            ("IP permitted, broken", theirs, None, both, NO),
            ("IP excluded, broken", None, ours, both, NO),
            ("e-mail permitted, broken", domain, None, mail, NO),
            ("e-mail excluded, broken", None, x509.RFC822Name("example.org"), mail, NO),
            (
                "URI permitted, broken",
                x509.UniformResourceIdentifier("example.com"),
                None,
                link,
                NO,
            ),
        ):
            limits = (_constraints(permitted, excluded),)
            root = self._authority("limited root", extra=limits)
            leaf = self._leaf(by=root, names=names)
            yield _case(f"root: {title}", [leaf], [root], go=accepted, openssl=accepted)
        inter = self._intermediate("limited", extra=(_constraints(there, None),))
        chain = [self._leaf(by=inter), inter]
        yield _case("intermediate: DNS permitted, broken", chain, [self._root], go=NO, openssl=NO)

    def _names(self) -> Iterator[Case]:
        root = self._root
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        unnamed = self._forge("localhost", LEAF._replace(names=()), by=root)
        other = self._leaf(names=(x509.DNSName("other.host"),))
        yield _case("common name only", [unnamed], [root], go=CLIENT_ONLY)
        yield _case("name of another host", [other], [root], go=CLIENT_ONLY, openssl=CLIENT_ONLY)
        leaf = self._leaf(names=(address,))
        yield _case("dialled by IP", [leaf], [root], host="127.0.0.1")
        yield _case(
            "dialled by IP, DNS name only",
            [self._leaf()],
            [root],
            go=CLIENT_ONLY,
            openssl=CLIENT_ONLY,
            host="127.0.0.1",
        )
        yield _case("dialled by name, IP only", [leaf], [root], go=CLIENT_ONLY, openssl=CLIENT_ONLY)

    def _authorities(self) -> Iterator[Case]:
        root = self._root
        nobody = self._authority("no constraints", basic=None)
        yield _case("root without basic constraints", [self._leaf(by=nobody)], [nobody], go=NO)
        free = self._authority("no usage", usages=None)
        yield _case("root without key usage", [self._leaf(by=free)], [free])
        not_ca = x509.BasicConstraints(ca=False, path_length=None)
        short = x509.BasicConstraints(ca=True, path_length=0)
        for title, change in (
            ("without basic constraints", {"basic": None}),
            ("that is no CA", {"basic": not_ca}),
            ("without keyCertSign", {"usages": frozenset({"digital_signature"})}),
        ):
            inter = self._intermediate("bad", **change)
            chain = [self._leaf(by=inter), inter]
            yield _case(f"intermediate {title}", chain, [root], go=NO, openssl=NO)
        tight = self._authority("tight", basic=short)
        inter = self._intermediate("below", by=tight)
        yield _case("path length 0, leaf below", [self._leaf(by=tight)], [tight])
        chain = [self._leaf(by=inter), inter]
        yield _case("path length 0, CA below", chain, [tight], go=NO, openssl=NO)

    def _algorithms(self) -> Iterator[Case]:
        root = self._root
        weak = self._forge("leaf", LEAF, by=root, key=rsa_key(1024, "leaf"))
        yield _case("RSA-1024 leaf", [weak], [root], openssl=NO)
        small = self._forge("small", CA, key=rsa_key(1024, "root"))
        yield _case("RSA-1024 root", [self._leaf(by=small)], [small], openssl=NO)
        strong = self._forge("strong", CA, key=rsa_key(2048, "root"))
        yield _case("RSA-2048 root", [self._leaf(by=strong)], [strong])
        old = with_sha1(self._leaf(by=strong), signer=rsa_key(2048, "root"))
        yield _case("SHA-1 signature on the leaf", [old], [strong], go=NO, openssl=NO)
        inter = self._intermediate("below", by=strong)
        ancient = with_sha1(inter, signer=rsa_key(2048, "root"))
        chain = [self._leaf(by=inter), ancient]
        yield _case("SHA-1 signature on the intermediate", chain, [strong], go=NO, openssl=NO)
        rooted = with_sha1(strong, signer=rsa_key(2048, "root"))
        yield _case("SHA-1 signature of a root on itself", [self._leaf(by=strong)], [rooted])
        edwards = self._forge("edwards", CA, key=ed25519.Ed25519PrivateKey.generate())
        leaf = self._forge("leaf", LEAF, by=edwards, key=ed25519.Ed25519PrivateKey.generate())
        yield _case("Ed25519 all through", [leaf], [edwards])
        curve = self._forge(
            "p-384",
            CA._replace(digest=hashes.SHA384()),
            key=ec.generate_private_key(ec.SECP384R1()),
        )
        yield _case("P-384 root", [self._leaf(by=curve)], [curve])
        transport = self._leaf(usages=frozenset({"key_encipherment"}))
        yield _case("EC leaf for key encipherment", [transport], [root], openssl=SERVER_ONLY)

    def _dates(self) -> Iterator[Case]:
        root = self._root
        for title, days in (("expired", (-9.0, -1.0)), ("future", (1.0, 9.0))):
            yield _case(f"{title} leaf", [self._leaf(days=days)], [root], go=NO, openssl=NO)
            inter = self._intermediate("dated", days=days)
            chain = [self._leaf(by=inter), inter]
            yield _case(f"{title} intermediate", chain, [root], go=NO, openssl=NO)
            dated = self._authority("dated root", days=days)
            yield _case(f"{title} root", [self._leaf(by=dated)], [dated], go=NO, openssl=NO)

    def _extensions(self) -> Iterator[Case]:
        root = self._root
        strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
        leaf = self._leaf(extra=((strange, True),))
        yield _case("unknown critical extension, leaf", [leaf], [root], go=NO, openssl=NO)
        leaf = self._leaf(extra=((strange, False),))
        yield _case("unknown extension, not critical", [leaf], [root])
        odd = self._authority("odd", extra=((strange, True),))
        yield _case(
            "unknown critical extension, root", [self._leaf(by=odd)], [odd], go=NO, openssl=NO
        )
        key = ec_key()
        ca = self._forge("ca of odd serials", CA, key=key)
        negative = with_negative_serial(self._leaf(by=ca, serial=100), signer=key)
        yield _case("negative serial", [negative], [ca], go=NO)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())
        leaf = self._leaf(authority_key_id=False, extra=((identifier, True),))
        yield _case("AKI marked critical", [leaf], [root], go=NO, openssl=NO)
        own = x509.SubjectKeyIdentifier(b"x" * 20)
        leaf = self._leaf(subject_key_id=False, extra=((own, True),))
        yield _case("SKI marked critical", [leaf], [root], go=NO, openssl=NO)

    def _constraint_details(self) -> Iterator[Case]:
        dns, mail, uri = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier
        for title, permitted, excluded, names, go, openssl in (
            (
                "subdomain of a dotted DNS subtree",
                [dns(".example.com")],
                [],
                [dns("a.example.com")],
                YES,
                YES,
            ),
            (
                "domain of a dotted DNS subtree",
                [dns(".example.com")],
                [],
                [dns("example.com")],
                NO,
                NO,
            ),
            (
                "subdomain of a DNS subtree",
                [dns("example.com")],
                [],
                [dns("a.b.Example.com")],
                YES,
                YES,
            ),
            ("name that only ends alike", [dns("example.com")], [], [dns("anexample.com")], NO, NO),
            (
                "wildcard over an excluded name",
                [],
                [dns("a.example.com")],
                [dns("*.example.com")],
                NO,
                YES,
            ),
            (
                "wildcard beside an excluded name",
                [],
                [dns("a.example.org")],
                [dns("*.example.com")],
                YES,
                YES,
            ),
            ("mailbox permitted", [mail("a@example.com")], [], [mail("a@example.com")], YES, YES),
            (
                "mailbox of another case",
                [mail("a@example.com")],
                [],
                [mail("A@EXAMPLE.com")],
                NO,
                NO,
            ),
            (
                "mailbox host permitted",
                [mail("example.com")],
                [],
                [mail("a@example.com")],
                YES,
                YES,
            ),
            (
                "mailbox in a subdomain",
                [mail("example.com")],
                [],
                [mail("a@b.example.com")],
                YES,
                NO,
            ),
            (
                "mailbox in a dotted subtree",
                [mail(".example.com")],
                [],
                [mail("a@b.example.com")],
                YES,
                YES,
            ),
            (
                "URI host permitted",
                [uri("example.com")],
                [],
                [uri("nats://example.com/x")],
                YES,
                YES,
            ),
            (
                "URI with a port",
                [uri("example.com")],
                [],
                [uri("nats://example.com:4222")],
                YES,
                YES,
            ),
            (
                "URI of an address, permitted",
                [uri("example.com")],
                [],
                [uri("nats://127.0.0.1")],
                NO,
                NO,
            ),
            (
                "URI of an address, excluded",
                [],
                [uri("example.com")],
                [uri("nats://127.0.0.1")],
                NO,
                YES,
            ),
            ("URI without a host, excluded", [], [uri("example.com")], [uri("urn:nats:a")], NO, NO),
        ):
            allowed = [*permitted, LOCALHOST] if permitted else None
            limits = x509.NameConstraints(allowed, excluded or None)
            root = self._authority("detailed root", extra=((limits, True),))
            leaf = self._leaf(by=root, names=(LOCALHOST, *names))
            yield _case(f"constraint: {title}", [leaf], [root], go=go, openssl=openssl)
        limits = x509.NameConstraints([LOCALHOST], None)
        root = self._authority("root of named CAs", extra=((limits, True),))
        inter = self._intermediate("named CA", by=root, names=(dns("example.com"),))
        chain = [self._leaf(by=inter), inter]
        yield _case("constraint: broken by an intermediate", chain, [root], go=NO, openssl=NO)
        limits = x509.NameConstraints([x509.DirectoryName(common_name("leaf"))], None)
        root = self._authority("root of directory names", extra=((limits, True),))
        yield _case("constraint: directory name", [self._leaf(by=root)], [root], go=NO)

    def _crowds(self) -> Iterator[Case]:
        crowd = [self._authority("crowd") for _ in range(110)]
        mute = self._leaf(by=crowd[-1], authority_key_id=False)
        yield _case("last of 110 twins, leaf without AKI", [mute], crowd, go=NO, openssl=NO)
        yield _case("last of 110 twins, leaf with AKI", [self._leaf(by=crowd[-1])], crowd)
        strong = self._forge("strong", CA, key=rsa_key(2048, "root"))
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        yield _case("RSA-PSS signature", [self._leaf(by=strong, padding=pss)], [strong])
        large = self._forge(
            "leaf", LEAF, by=self._root, key=ec.generate_private_key(ec.SECP521R1())
        )
        yield _case("P-521 leaf", [large], [self._root])


def _case(
    name: str,
    chain: list[Forged],
    bundle: list[Forged],
    *,
    go: Accepted = YES,
    openssl: Accepted = YES,
    host: str = "localhost",
) -> Case:
    anchors = tuple(one.certificate for one in bundle)
    return Case(name, tuple(chain), anchors, go, openssl, host)


def _constraints(
    permitted: x509.GeneralName | None, excluded: x509.GeneralName | None
) -> tuple[x509.ExtensionType, bool]:
    limits = x509.NameConstraints(
        [permitted] if permitted else None, [excluded] if excluded else None
    )
    return limits, True
