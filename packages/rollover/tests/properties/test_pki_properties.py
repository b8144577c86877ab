"""What holds of all certificates, all PEM files and all bundles."""

from __future__ import annotations

import functools
import ipaddress
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rigs.pki_chain_cases import Case, chain_cases
from rigs.pki_forge import CA, NOW, forge
from rollover.errors import PemError
from rollover.fleet.certificate import Certificate, KeyKind, Stack, Usage
from rollover.pki import pem
from rollover.pki.bundle import union, without
from rollover.pki.certificate import anatomy, parse_der
from rollover.pki.issue import PROFILES, cross_sign, issue_authority, issue_leaf, reissue_like
from rollover.pki.keys import from_pem, generate, to_pem
from rollover.pki.names import covers
from rollover.pki.pem import RemarkKind, loaded_by_go, read_certificates, write_certificates
from rollover.pki.stacks import Verifier

KEY = generate(KeyKind.P256)
AUTHORITY = issue_authority(
    common_name="CA", key=KEY, not_before=NOW, lifetime=timedelta(days=3650)
)
OTHER_KEY = generate(KeyKind.P384)
OTHER = issue_authority(
    common_name="other", key=OTHER_KEY, not_before=NOW, lifetime=timedelta(days=9000)
)
POOL = tuple(forge(f"ca {number}", CA).certificate for number in range(6))

label = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
dns_name = st.lists(label, min_size=1, max_size=4).map(".".join)
address = st.ip_addresses().map(str)
name = st.one_of(
    dns_name,
    address,
    dns_name.map(lambda host: f"ops@{host}"),
    dns_name.map(lambda host: f"spiffe://{host}/node"),
)
instant = st.datetimes(datetime(2026, 6, 2), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
text_around = st.sampled_from([b"", b"\n", b"subject=CN = x\n", b"# a: b\n\n", b"\t\n"])


@functools.cache
def _cases() -> tuple[Case, ...]:
    return chain_cases(NOW)


@examples(40)
@given(
    profile=st.sampled_from(sorted(PROFILES)),
    names=st.lists(name, max_size=6),
    begin=instant,
    seconds=st.integers(1, 10**7),
)
def test_what_is_issued_reads_back(
    profile: str, names: list[str], begin: datetime, seconds: int
) -> None:
    """Every name in order, the validity to the second, the usages of the profile."""
    leaf = issue_leaf(
        profile=PROFILES[profile],
        common_name="node",
        names=names,
        key=KEY,
        authority=AUTHORITY,
        authority_key=KEY,
        not_before=begin,
        lifetime=timedelta(seconds=seconds),
    )
    assert _facts(parse_der(leaf.der)) == _facts(leaf)
    assert set(leaf.names + leaf.emails + leaf.uris) == {_canonical(one) for one in names}
    assert leaf.not_before == begin.replace(microsecond=0)
    assert leaf.extended_key_usages == (PROFILES[profile].extended_key_usages or None)
    assert all(covers(leaf.names, one) for one in names if "@" not in one and "://" not in one)


@examples(25)
@given(names=st.lists(name, min_size=1, max_size=6), profile=st.sampled_from(["route", "client"]))
def test_reissue_keeps_all_facts_but_key_serial_and_dates(names: list[str], profile: str) -> None:
    """Again and again: the content does not drift."""
    first = issue_leaf(
        profile=PROFILES[profile],
        common_name="node",
        names=names,
        key=KEY,
        authority=AUTHORITY,
        authority_key=KEY,
        not_before=NOW,
        lifetime=timedelta(days=30),
    )
    again = reissue_like(
        first, key=generate(KeyKind.P256), authority=AUTHORITY, authority_key=KEY, not_before=NOW
    )
    assert _facts(parse_der(again.der)) == _facts(again)
    for fact in ("subject", "dns_names", "ip_addresses", "emails", "uris", "key_usages"):
        assert getattr(again, fact) == getattr(first, fact)
    assert again.extended_key_usages == first.extended_key_usages
    assert (again.not_before, again.not_after) == (first.not_before, first.not_after)
    assert again.serial != first.serial


@examples(60)
@given(
    chosen=st.lists(st.sampled_from(POOL), min_size=1, max_size=6, unique=True),
    around=st.lists(text_around, min_size=7, max_size=7),
    carriage_returns=st.booleans(),
    mark=st.booleans(),
    final_newline=st.booleans(),
)
def test_mangling_never_loses_a_certificate(
    chosen: list[Certificate],
    around: list[bytes],
    carriage_returns: bool,  # noqa: FBT001 - drawn by name
    mark: bool,  # noqa: FBT001 - likewise
    final_newline: bool,  # noqa: FBT001 - likewise
) -> None:
    """CRLF, text, order, a byte order mark, no last newline: all are read, in their order."""
    data = b"".join(
        text + write_certificates([one]) for text, one in zip(around, chosen, strict=False)
    )
    data = data if final_newline else data.rstrip(b"\n")
    data = data.replace(b"\n", b"\r\n") if carriage_returns else data
    reading = read_certificates(b"\xef\xbb\xbf" + data if mark else data)
    assert reading.certificates == tuple(chosen)
    assert {remark.kind for remark in reading.remarks} <= {RemarkKind.BYTE_ORDER_MARK}
    assert loaded_by_go(data) == tuple(chosen)


@examples(60)
@given(
    chosen=st.lists(st.sampled_from(POOL), min_size=1, max_size=4, unique=True),
    junk=st.binary(max_size=40),
    position=st.integers(0, 3000),
)
def test_go_never_loads_what_a_person_does_not_see(
    chosen: list[Certificate], junk: bytes, position: int
) -> None:
    """Whatever is inserted, Go's certificates are among those read; none is lost unremarked."""
    data = write_certificates(chosen)
    data = data[:position] + junk + data[position:]
    try:
        reading = read_certificates(data)
    except PemError:
        return
    loaded = loaded_by_go(data)
    assert set(loaded) <= set(reading.certificates)
    warned = any(Stack.GO in remark.stacks for remark in reading.remarks)
    assert warned or loaded == reading.certificates


@examples(100)
@given(
    data=st.binary(max_size=400)
    | st.lists(
        st.sampled_from(
            [b"-----BEGIN ", b"-----END ", b"CERTIFICATE", b"-----", b"\n", b"AAAA", b":", b" "]
        )
    ).map(b"".join)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No foreign exception leaves the readers."""
    for reader in (read_certificates, from_pem, parse_der):
        try:
            reader(data)
        except PemError as refusal:
            assert refusal.hint  # noqa: PT017 - most inputs are refused, not all
    list(pem.blocks(data))


@examples(60)
@given(cut=st.integers(0, 700), octet=st.integers(0, 255))
def test_any_damage_to_a_certificate_is_read_or_refused(cut: int, octet: int) -> None:
    """One changed octet: another certificate, or a `PemError`."""
    der = bytearray(AUTHORITY.der)
    der[cut % len(der)] = octet
    try:
        found = parse_der(bytes(der))
    except PemError:
        return
    assert (found == AUTHORITY) == (bytes(der) == AUTHORITY.der)


@examples(60)
@given(data=st.data())
def test_more_anchors_never_make_go_refuse(data: st.DataObject) -> None:
    """Whatever is added to a bundle, wherever, an accepted chain stays accepted."""
    # The crowd of 110 namesakes is what Go's limit on signature checks is about.
    case = data.draw(st.sampled_from([one for one in _cases() if "110" not in one.name]))
    others = [one.certificate for other in _cases()[:40] for one in other.chain] + list(POOL)
    added = data.draw(st.lists(st.sampled_from(others), max_size=5))
    usage = data.draw(st.sampled_from(Usage))
    bundle = tuple(data.draw(st.permutations(union(case.bundle, added))))
    verifier = Verifier({one.fingerprint: one for one in (*case.certificates(), *added)})
    before = case.question(stack=Stack.GO, usage=usage, instant=NOW)
    after = case._replace(bundle=bundle).question(stack=Stack.GO, usage=usage, instant=NOW)
    assert verifier(after).accepted or not verifier(before).accepted


@examples(40)
@given(data=st.data())
def test_a_verdict_has_a_fault_for_every_refusal(data: st.DataObject) -> None:
    """At any instant, with any bundle: refused means at least one fact, and it stays the same."""
    case = data.draw(st.sampled_from(_cases()))
    moment = NOW + timedelta(days=data.draw(st.integers(-60, 60)))
    stack, usage = data.draw(st.sampled_from(Stack)), data.draw(st.sampled_from(Usage))
    verifier = Verifier({one.fingerprint: one for one in case.certificates()})
    question = case.question(stack=stack, usage=usage, instant=moment)
    verdict = verifier(question)
    assert verdict == verifier(question)
    known = {one.fingerprint for one in case.certificates()}
    assert {fault.certificate for fault in verdict.faults} <= known | {None}
    assert len({(fault.kind, fault.certificate, fault.detail) for fault in verdict.faults}) == len(
        verdict.faults
    )


@given(
    left=st.lists(st.sampled_from(POOL)),
    right=st.lists(st.sampled_from(POOL)),
)
def test_bundles_are_ordered_sets(left: list[Certificate], right: list[Certificate]) -> None:
    """Union keeps the first places, and what was added can be taken away again."""
    both = union(left, right)
    assert set(both) == set(left) | set(right)
    assert len(both) == len(set(both))
    assert both[: len(union(left))] == union(left)
    assert set(without(both, right)) == set(left) - set(right)


@examples(10)
@given(kind=st.sampled_from([KeyKind.P256, KeyKind.P384, KeyKind.ED25519]))
def test_keys_read_back(kind: KeyKind) -> None:
    """PEM and back is the same key."""
    key = generate(kind)
    assert from_pem(to_pem(key)) == key


@examples(20)
@given(
    # RFC 5280 counts characters; `cryptography` refuses more than 64 bytes, and so do we.
    common_name=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=64).filter(
        lambda text: len(text.encode()) <= 64
    ),
    organization=st.sampled_from(["", "Acme, Inc.", "Ö+G"]),
    path_length=st.none() | st.integers(0, 300),
    serial=st.integers(1, 2**159 - 1),
    begin=instant,
    days=st.integers(1, 20_000),
)
def test_what_an_authority_says_is_what_is_read_from_it(
    common_name: str,
    organization: str,
    path_length: int | None,
    serial: int,
    begin: datetime,
    days: int,
) -> None:
    """The facts handed out with a new certificate are those of its DER, also beyond 2050."""
    ca = issue_authority(
        common_name=common_name,
        organization=organization,
        key=KEY,
        not_before=begin,
        lifetime=timedelta(days=days),
        serial=serial,
        path_length=path_length,
    )
    assert _facts(parse_der(ca.der)) == _facts(ca)
    cross = cross_sign(ca, by=OTHER, by_key=OTHER_KEY, not_before=NOW)
    assert _facts(parse_der(cross.der)) == _facts(cross)
    assert anatomy(cross).raw_subject == anatomy(ca).raw_subject
    assert anatomy(ca).path_length == path_length


def _facts(certificate: Certificate) -> dict[str, object]:
    return msgspec.structs.asdict(certificate)


def _canonical(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text
