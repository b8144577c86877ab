"""`rollover inspect` as people and scripts meet it: output, exit codes, and never a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from rigs import commands
from rigs.pki_forge import CA, CLIENT_AUTH, INTERMEDIATE, LEAF, Forged, forge
from rollover.cli.inspect import plain_and_short
from rollover.errors import ExitCode
from rollover.fleet.secret import holds_private_key
from rollover.pki.pem import read_certificates, write_certificates

NOW = datetime.now(UTC)
ROOT = forge("root", CA, now=NOW)
MIDDLE = forge("middle", INTERMEDIATE, by=ROOT, now=NOW)
NODE = forge("node", LEAF, by=MIDDLE, now=NOW)


def pem(*forged: Forged) -> bytes:
    """Return certificates as PEM."""
    return write_certificates(pair.certificate for pair in forged)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A file with a whole chain."""
    path = tmp_path / "chain.pem"
    path.write_bytes(pem(NODE, MIDDLE, ROOT))
    return path


def test_the_tree_shows_what_people_look_for(chain: Path) -> None:
    """Names, dates with the days left, usages, fingerprints, who signs whom, and the verdicts."""
    ran = commands.run("inspect", chain)
    assert ran.code == ExitCode.DONE
    lines = ran.out.splitlines()
    tops = [line for line in lines if "CN=" in line and "issued" not in line and "as " not in line]
    assert tops == ["  CN=root", "  └─ CN=middle", "     └─ CN=node"]
    for fact in ("localhost", "29 days left", "server_auth, client_auth", "sha256", "p-256",
                 NODE.certificate.fingerprint, NODE.certificate.key_identity,
                 NODE.certificate.subject_key_id, f"{NODE.certificate.serial:x}"):  # fmt: skip
        assert fact in ran.out
    assert "✓ CN=node as server: accepted by Go, OpenSSL" in ran.out
    assert "✓ CN=node as client: accepted by Go, OpenSSL" in ran.out


def test_stacks_that_disagree_have_a_line_each(tmp_path: Path) -> None:
    """An intermediate as the only anchor is enough for Go, not for OpenSSL: exit code 3."""
    anchor, leaf = tmp_path / "anchor.pem", tmp_path / "leaf.pem"
    anchor.write_bytes(pem(MIDDLE))
    leaf.write_bytes(pem(NODE))
    ran = commands.run("inspect", leaf, "--ca", anchor)
    assert ran.code == ExitCode.REFUSED
    assert "✓ CN=node as server: accepted by Go\n" in ran.out
    assert "✗ CN=node as server: refused by OpenSSL\n" in ran.out


def test_an_expired_leaf_is_refused_for_the_uses_it_is_meant_for(tmp_path: Path) -> None:
    """A client's certificate is not judged as a server's."""
    old = forge("old", LEAF._replace(days=(-9, -1), extended=(CLIENT_AUTH,)), by=ROOT, now=NOW)
    path = tmp_path / "old.pem"
    path.write_bytes(pem(old, ROOT))
    ran = commands.run("inspect", path, "--output", "json")
    assert ran.code == ExitCode.REFUSED
    (source,) = ran.json["inspection"]["sources"]
    assert {chain["usage"] for chain in source["chains"]} == {"client"}
    leaf = next(
        certificate for certificate in source["certificates"] if certificate["subject"] == "CN=old"
    )
    assert leaf["days_left"] < 0
    assert "expired" in commands.run("inspect", path).out


def test_a_leaf_without_its_issuer_is_not_known(tmp_path: Path) -> None:
    """Nothing is wrong with the file: exit code 0, and a question mark."""
    path = tmp_path / "leaf.pem"
    path.write_bytes(pem(NODE))
    ran = commands.run("inspect", path)
    assert ran.code == ExitCode.DONE
    assert "? CN=node as server: unknown" in ran.out
    assert "issued by CN=middle (not at hand)" in ran.out


def test_what_cannot_be_read_is_told_after_what_can(chain: Path, tmp_path: Path) -> None:
    """Exit code 1; the rest is shown all the same, errors go to stderr with a hint."""
    ran = commands.run("inspect", tmp_path / "gone.pem", chain)
    assert ran.code == ExitCode.USAGE
    assert "CN=node" in ran.out
    assert ran.talk.startswith(f"error: {tmp_path / 'gone.pem'}: cannot be read")
    assert "hint: " in ran.talk


def test_pem_output_holds_each_certificate_once_and_nothing_else(
    chain: Path, tmp_path: Path
) -> None:
    """It can be piped into whatever takes a bundle."""
    more = tmp_path / "more.pem"
    more.write_bytes(NODE.key_pem() + pem(ROOT))
    ran = commands.run("inspect", chain, more, "--pem")
    found = read_certificates(ran.out.encode())
    assert found.remarks == ()
    assert found.certificates == tuple(pair.certificate for pair in (NODE, MIDDLE, ROOT))
    assert ran.out.encode() == pem(NODE, MIDDLE, ROOT)


@pytest.mark.parametrize("options", [(), ("--output", "json"), ("--pem",)], ids=str)
def test_no_output_shows_a_key_but_says_where_it_is(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Neither PEM, nor base64, nor a line of it; in a file, a Secret, a vars store or PKCS#12."""
    key = NODE.key_pem()
    leaf = x509.load_der_x509_certificate(NODE.certificate.der)
    archive = pkcs12.serialize_key_and_certificates(
        b"n", NODE.key, leaf, None, serialization.BestAvailableEncryption(b"hunter2")
    )
    files = {
        "all.pem": pem(NODE) + key,
        "vars.json": json.dumps({"v": {"private_key": key.decode(),
                                       "certificate": pem(NODE).decode()}}).encode(),
        "broken.pem": key[:120] + b"\n" + pem(NODE),
        "a.p12": archive,
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    ran = commands.run(
        "inspect", tmp_path, *options, "--password-env", "P12", environment={"P12": "hunter2"}
    )
    shown = ran.out + ran.talk
    assert not holds_private_key(shown)
    for line in key.decode().splitlines()[1:-1]:
        assert line not in shown
        assert line[:24] not in shown
    assert "hunter2" not in shown
    if options != ("--pem",):
        assert str(tmp_path / "all.pem:") in shown


def test_a_key_is_matched_with_its_certificate_across_files(tmp_path: Path) -> None:
    """Both sides say where the other is."""
    leaf, key = tmp_path / "leaf.pem", tmp_path / "key.pem"
    leaf.write_bytes(pem(NODE))
    key.write_bytes(NODE.key_pem())
    ran = commands.run("inspect", leaf, key, "--output", "json")
    first, second = ran.json["inspection"]["sources"]
    assert first["certificates"][0]["key_places"] == [f"{key}:1"]
    assert second["keys"][0]["belongs_to"] == [NODE.certificate.fingerprint]


def test_a_strangers_text_cannot_move_the_cursor(tmp_path: Path) -> None:
    """Escapes in a subject, or in the name of a file, are written out."""
    evil = forge("x\x1b[2J\u202eevil", CA, now=NOW)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\x1b[31m\xff.pem"))
    path.write_bytes(pem(evil))
    (tmp_path / "\x1b[31mbroken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    ran = commands.run("inspect", tmp_path)
    assert "evil" in ran.out
    assert all(line.isprintable() for line in (ran.out + ran.talk).splitlines())
    machine = commands.run("inspect", tmp_path, "--output", "json")
    assert machine.json["inspection"]["sources"][0]["certificates"]


def test_long_texts_and_long_lists_are_cut_in_text_only(tmp_path: Path) -> None:
    """Thousands of names are counted; JSON has them all."""
    names = tuple(x509.DNSName(f"h{number}.example.com") for number in range(2000))
    path = tmp_path / "many.pem"
    path.write_bytes(pem(forge("many", LEAF._replace(names=names), by=ROOT, now=NOW)))
    ran = commands.run("inspect", path)
    assert "and 1,980 more" in ran.out
    assert "h1999.example.com" not in ran.out
    assert "h1999.example.com" in commands.run("inspect", path, "--output", "json").out
    assert len(plain_and_short("x" * 10_000)) < len("x" * 1000)


def test_standard_input_is_a_target(chain: Path) -> None:
    """As a pipe gives it."""
    ended = subprocess.run(
        [Path(sys.executable).with_name("rollover"), "inspect", "-"],
        input=chain.read_bytes(),
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == ExitCode.DONE
    assert b"- (PEM): 3 certificates" in ended.stdout


def test_a_bundle_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    """CAs only: expired members and renewals of one authority are remarked on."""
    old = forge("old", CA._replace(days=(-9, -1)), now=NOW)
    again = forge("root", CA, key=ROOT.key, now=NOW + timedelta(hours=1))
    path = tmp_path / "bundle.pem"
    path.write_bytes(pem(old, ROOT, again))
    ran = commands.run("inspect", path)
    assert "! `CN=old`" in ran.out
    assert "2 certificates of the authority `CN=root`" in ran.out


def test_authorities_that_signed_each_other_are_shown_once(tmp_path: Path) -> None:
    """A circle of cross-signatures ends."""
    one, other = forge("one", CA, now=NOW), forge("other", CA, now=NOW)
    crossed = (
        forge("one", INTERMEDIATE, by=other, key=one.key, now=NOW),
        forge("other", INTERMEDIATE, by=one, key=other.key, now=NOW),
    )
    path = tmp_path / "crossed.pem"
    path.write_bytes(pem(*crossed))
    ran = commands.run("inspect", path, "--output", "json")
    (source,) = ran.json["inspection"]["sources"]
    assert [certificate["depth"] for certificate in source["certificates"]] == [0, 1]
    first, second = source["certificates"]
    assert (first["signed_by"], second["signed_by"]) == (
        second["fingerprint"], first["fingerprint"],
    )  # fmt: skip
