"""PEM files are read as a person sees them, with a remark on what each stack would make of them."""

from __future__ import annotations

import base64
import ssl
import time
from pathlib import Path

import pytest

from rigs.pki_forge import CA, LEAF, ec_key, forge, with_negative_serial
from rollover.errors import PemError
from rollover.fleet.certificate import Certificate, Stack
from rollover.pki.keys import PrivateKey, to_pem
from rollover.pki.pem import (
    PEM_LIMIT,
    RemarkKind,
    loaded_by_go,
    read_certificates,
    write_certificates,
)

ONE = forge("one", CA).certificate
TWO = forge("two", CA).certificate
FIRST, SECOND = write_certificates([ONE]), write_certificates([TWO])
BOTH_STACKS = (Stack.GO, Stack.OPENSSL)


def _block(label: str, content: bytes) -> bytes:
    body = base64.encodebytes(content).decode("ascii")
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode("ascii")


def _read(data: bytes) -> tuple[tuple[Certificate, ...], list[tuple[RemarkKind, int]]]:
    reading = read_certificates(data)
    return reading.certificates, [(remark.kind, remark.line) for remark in reading.remarks]


@pytest.mark.parametrize(
    "data",
    [
        FIRST + SECOND,
        (FIRST + SECOND).replace(b"\n", b"\r\n"),
        (FIRST + SECOND).rstrip(b"\n"),
        b"subject=CN = one\n" + FIRST + b"\n# two: 2026\n\n" + SECOND + b"the end",
    ],
    ids=["plain", "CRLF", "no last newline", "text around"],
)
def test_harmless_oddities_get_no_remark(data: bytes) -> None:
    """CRLF, a missing last newline and text around the blocks change nothing for anybody."""
    assert _read(data) == ((ONE, TWO), [])
    assert loaded_by_go(data) == (ONE, TWO)


def test_the_order_of_the_file_is_kept() -> None:
    """The first CA of a bundle matters to OpenSSL."""
    assert _read(SECOND + FIRST)[0] == (TWO, ONE)


def test_joined_blocks_are_read_and_reported() -> None:
    """Both stacks lose both certificates, so the remark is on the second block's line."""
    data = FIRST.rstrip(b"\n") + SECOND
    certificates, remarks = _read(data)
    assert certificates == (ONE, TWO)
    assert remarks == [(RemarkKind.JOINED, FIRST.count(b"\n"))]
    assert read_certificates(data).remarks[0].stacks == BOTH_STACKS
    assert loaded_by_go(data) == ()


def test_a_byte_order_mark_costs_go_the_first_certificate() -> None:
    """It is read all the same, and reported for Go."""
    data = b"\xef\xbb\xbf" + FIRST + SECOND
    assert _read(data) == ((ONE, TWO), [(RemarkKind.BYTE_ORDER_MARK, 1)])
    assert loaded_by_go(data) == (TWO,)


def test_a_trusted_certificate_is_skipped_by_go() -> None:
    """OpenSSL's own block, with its trust settings after the certificate."""
    data = _block("TRUSTED CERTIFICATE", ONE.der + b"\x30\x00") + SECOND
    assert _read(data) == ((ONE, TWO), [(RemarkKind.TRUSTED, 1)])
    assert loaded_by_go(data) == (TWO,)


def test_octets_behind_a_certificate_in_its_block_make_go_skip_it(tmp_path: Path) -> None:
    """OpenSSL takes the certificate and passes over what follows it."""
    data = _block("CERTIFICATE", ONE.der + b"\x30\x00") + SECOND
    assert _read(data) == ((ONE, TWO), [(RemarkKind.FOLLOWED, 1)])
    assert loaded_by_go(data) == (TWO,)
    path = tmp_path / "ca.pem"
    path.write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    assert set(context.get_ca_certs(binary_form=True)) == {ONE.der, TWO.der}


def test_headers_make_go_skip_the_block() -> None:
    """Lines such as `Name: value` inside a block are allowed in PEM, and fatal for Go."""
    data = SECOND + FIRST.replace(b"-----\n", b"-----\nOwner: ops\n\n", 1)
    lines = SECOND.count(b"\n")
    assert _read(data) == ((TWO, ONE), [(RemarkKind.HEADERS, lines + 1)])
    assert loaded_by_go(data) == (TWO,)


@pytest.mark.parametrize(
    ("data", "kind", "loaded"),
    [
        (b"  " + FIRST + SECOND, RemarkKind.INDENTED, (TWO,)),
        (FIRST.rstrip(b"\n") + b" # old\n" + SECOND, RemarkKind.TRAILING, (TWO,)),
        (FIRST.replace(b"\n", b"\n\n") + SECOND, RemarkKind.BLANK_LINES, (ONE, TWO)),
    ],
    ids=["before", "after", "inside"],
)
def test_a_layout_that_a_stack_dislikes_is_reported(
    data: bytes, kind: RemarkKind, loaded: tuple[Certificate, ...]
) -> None:
    """Text before `BEGIN` or after `END`, and empty lines inside."""
    assert _read(data) == ((ONE, TWO), [(kind, 1)])
    assert loaded_by_go(data) == loaded


@pytest.mark.parametrize("blank", [b"\n", b" \t\n", b"\r\n"])
def test_one_blank_line_below_begin_harms_nobody(blank: bytes, tmp_path: Path) -> None:
    """OpenSSL takes it for the end of headers that are not there; it refuses a second one."""
    begin = b"-----BEGIN CERTIFICATE-----\n"
    for text, refused in (
        (FIRST.replace(begin, begin + blank), False),
        (FIRST.replace(begin, begin + 2 * blank), True),
        (FIRST.replace(b"\n-----END", b"\n" + blank + b"-----END"), True),
    ):
        path = tmp_path / "ca.pem"
        path.write_bytes(text)
        assert _refused_by_openssl(path) == refused
        assert _read(text) == ((ONE,), [(RemarkKind.BLANK_LINES, 1)] if refused else [])


def _refused_by_openssl(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return True
    return False


@pytest.mark.parametrize(
    "garbage",
    [_block("CERTIFICATE", b"no certificate"), FIRST[:60] + b"\n!\n-----END CERTIFICATE-----\n"],
    ids=["no certificate", "no base64"],
)
def test_a_garbage_block_is_reported(garbage: bytes) -> None:
    """Go skips it without a word, OpenSSL refuses the file."""
    data = FIRST + garbage + SECOND
    certificates, remarks = _read(data)
    assert certificates == (ONE, TWO)
    assert remarks == [(RemarkKind.GARBAGE, FIRST.count(b"\n") + 1)]
    assert loaded_by_go(data) == (ONE, TWO)


def test_a_duplicate_is_reported_and_left_out() -> None:
    """The same certificate twice counts once."""
    lines = (FIRST + SECOND).count(b"\n")
    assert _read(FIRST + SECOND + FIRST) == ((ONE, TWO), [(RemarkKind.DUPLICATE, lines + 1)])


def test_a_private_key_among_certificates_is_reported() -> None:
    """It is not read, and nothing of it is shown."""
    key = to_pem(PrivateKey(ec_key()))
    reading = read_certificates(FIRST + key)
    assert [remark.kind for remark in reading.remarks] == [RemarkKind.PRIVATE_KEY]
    assert key.splitlines()[1].decode()[:20] not in repr(reading)


def test_a_certificate_that_go_cannot_parse_is_reported() -> None:
    """A negative serial: Go leaves it out of its pool."""
    signer = ec_key()
    odd = with_negative_serial(forge("odd", LEAF._replace(serial=7), key=signer), signer=signer)
    data = FIRST + write_certificates([odd.certificate])
    assert [kind for kind, _ in _read(data)[1]] == [RemarkKind.UNREADABLE_TO_GO]
    assert loaded_by_go(data) == (ONE,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"hello", "no certificate in it"),
        (FIRST[:-40], r"line 1: block `CERTIFICATE` is truncated"),
        (SECOND + FIRST[:100], r"is truncated"),
        (FIRST[:100] + SECOND, r"line 1: block `CERTIFICATE` is truncated"),
        (ONE.der, "is DER, not PEM"),
        (to_pem(PrivateKey(ec_key())), "a private key where a certificate belongs"),
        (_block("CERTIFICATE", b"junk"), "line 1: this block is no certificate"),
        (_block("CERTIFICATE REQUEST", b"junk"), "no certificate in it"),
        (b"x" * (PEM_LIMIT + 1), "more than the limit"),
    ],
    ids=[
        "nothing",
        "blank",
        "text",
        "cut off",
        "second cut off",
        "first cut off",
        "DER",
        "key",
        "junk",
        "request",
        "too large",
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(data: bytes, message: str) -> None:
    """Every refusal has a place and a remedy."""
    with pytest.raises(PemError, match=message):
        read_certificates(data)
    with pytest.raises(PemError) as refusal:
        read_certificates(data, place="ca.pem")
    assert refusal.value.place.startswith("ca.pem")
    assert refusal.value.hint


def test_written_blocks_stand_on_lines_of_their_own() -> None:
    """Whatever is appended to the file, blocks are never joined."""
    assert FIRST.endswith(b"-----END CERTIFICATE-----\n")
    assert read_certificates(FIRST + SECOND).remarks == ()


def test_a_hostile_file_takes_no_quadratic_time() -> None:
    """Millions of octets of half a marker are read in one pass."""
    data = b"-----BEGIN CERTIFICATE-----\n" * 100_000
    start = time.process_time()
    with pytest.raises(PemError):
        read_certificates(data)
    loaded_by_go(data)
    loaded_by_go(b"\n-----END \n-----BEGIN " * 100_000)
    assert time.process_time() - start < 10
