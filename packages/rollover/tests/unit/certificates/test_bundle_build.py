"""Bundles: order kept, each CA once, nothing in them that is none, the same bytes each time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rigs.config_scenes import CA, NOW, Desk, Tls
from rigs.pki_forge import INTERMEDIATE, LEAF, Forged, ec_key, forge
from rollover.certificates import bundle_files
from rollover.certificates.bundle_build import build, remarks_on_members, without
from rollover.certificates.bundle_sources import BundleCandidate, BundleCandidates, trusted_today
from rollover.errors import PemError, SpecError
from rollover.fleet.certificate import Stack
from rollover.fleet.fleet import Role


def offers(*several: Forged) -> BundleCandidates:
    """What a source with these certificates offers."""
    return BundleCandidates(
        candidates=tuple(
            BundleCandidate(each.certificate, f"f:{line}") for line, each in enumerate(several)
        )
    )


def kinds(*several: Forged) -> dict[str, tuple[Stack, ...]]:
    """What is remarked of a bundle, with the stacks it fails on."""
    found = remarks_on_members([pair.certificate for pair in several], now=NOW)
    return {str(bundle_remark.kind): bundle_remark.stacks for bundle_remark in found}


def test_order_is_kept_and_each_ca_stands_once() -> None:
    """A duplicate is named with its second place; what is wider comes last and is marked."""
    a, b, c = (forge(name, CA) for name in "abc")
    bundle = build(offers(b, a, b), wider=offers(a, c), now=NOW)
    assert bundle.certificates == (b.certificate, a.certificate, c.certificate)
    assert [member.again for member in bundle.members] == [("f:2",), ("f:0",), ()]
    assert [member.wider for member in bundle.members] == [False, False, True]


def test_a_certificate_that_is_no_ca_is_refused_with_the_remedy() -> None:
    """The message names it and its place, the hint whose certificate to take."""
    root = forge("Root", CA)
    with pytest.raises(PemError, match=r"f:1.*`CN=n1`") as caught:
        build(offers(root, forge("n1", LEAF, by=root)), now=NOW)
    assert "`CN=Root`" in caught.value.hint


def test_what_is_out_of_date_is_named_and_left_out_only_on_request() -> None:
    """Expired and not yet valid, both."""
    good = forge("good", CA)
    late, early = (
        forge("late", CA._replace(days=(-9, -1))),
        forge("early", CA._replace(days=(1, 9))),
    )
    bundle = build(offers(late, good, early), now=NOW)
    assert len(bundle.members) == 3
    assert {"expired", "not-yet-valid"} <= {str(remark.kind) for remark in bundle.remarks}
    dropped = build(offers(late, good, early), now=NOW, drop_expired=True)
    assert dropped.certificates == (good.certificate,)
    assert [bundle_member.certificate for bundle_member in dropped.dropped] == [
        late.certificate,
        early.certificate,
    ]
    with pytest.raises(PemError, match="no CA is left"):
        build(offers(late), now=NOW, drop_expired=True)


def test_one_subject_without_key_identifiers_fails_on_openssl() -> None:
    """With identifiers nothing is wrong."""
    bare = CA._replace(subject_key_id=False)
    assert kinds(forge("NATS CA", bare), forge("NATS CA", bare)) == {
        "same-subject-without-key-ids": (Stack.OPENSSL,)
    }
    assert kinds(forge("NATS CA", CA), forge("NATS CA", CA)) == {}


def test_the_same_key_and_subject_is_found() -> None:
    """A renewal beside what it renews."""
    key = ec_key()
    assert "same-key-and-subject" in kinds(forge("R", CA, key=key), forge("R", CA, key=key))


def test_an_intermediate_without_its_root_is_no_anchor_to_openssl() -> None:
    """With the root beside it, or for a root, nothing is said."""
    root = forge("Root", CA)
    r3 = forge("R3", INTERMEDIATE, by=root)
    assert kinds(r3) == {"intermediate-without-root": (Stack.OPENSSL,)}
    assert kinds(r3, root) == {}
    impostor = forge("Root", CA)
    assert "intermediate-without-root" in kinds(r3, impostor)


def test_a_second_write_changes_nothing(tmp_path: Path) -> None:
    """0644 whatever the umask, newline at the end, the very same file; links are followed."""
    content = bundle_files.render([forge("a", CA).certificate])
    path = tmp_path / "ca.pem"
    assert bundle_files.write(path, content) is True
    before = path.stat()
    assert bundle_files.write(path, content) is False
    assert path.stat().st_ino == before.st_ino
    assert stat.S_IMODE(before.st_mode) == 0o644
    assert content.endswith(b"-----END CERTIFICATE-----\n")
    link = tmp_path / "link.pem"
    link.symlink_to(path)
    assert bundle_files.write(link, content + content) is True
    assert link.is_symlink()
    assert path.read_bytes() == content + content
    with pytest.raises(SpecError):
        bundle_files.write(tmp_path, content)
    with pytest.raises(SpecError):
        bundle_files.write(tmp_path / "none" / "ca.pem", content)


def test_a_comment_is_one_harmless_line_whatever_the_subject() -> None:
    """Whoever made the CA chose the subject: no line end, no second block, no key in it."""
    evil = forge("x\n-----BEGIN CERTIFICATE-----\nMIIB" + "é" * 10, CA).certificate
    line = bundle_files.comment(evil)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert len(line) <= bundle_files.LONGEST_COMMENT + 1
    assert b"--" not in line


def test_members_are_taken_out_by_fingerprint_and_subject() -> None:
    """Digits with or without colons, a common name, a whole subject; nothing by accident."""
    a, b, c = (forge(name, CA).certificate for name in ("Alpha", "Beta", "Gamma"))
    print_ = ":".join(a.fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    assert without((a, b, c), (print_, "Beta"), place="f") == (c,)
    assert without((a, b, c), ("CN=Gamma", b.fingerprint[:8]), place="f") == (a,)
    for wrong in ("Delta", "Alph", a.fingerprint[:7]):
        with pytest.raises(SpecError, match="not in it"):
            without((a, b), (wrong,), place="f")
    with pytest.raises(PemError, match="nobody would be trusted"):
        without((a,), ("Alpha",), place="f")


def test_todays_trust_of_some_endpoints_is_not_that_of_others(tmp_path: Path) -> None:
    """Gateways re-pointed to it trust no CA of clients; a role without a block is an error."""
    desk = Desk(tmp_path)
    other = desk.authority("Other")
    leaf = desk.leaf()
    desk.server(cluster=Tls((leaf,), (desk.root,)), gateway=Tls((leaf,), (other,)))
    found = trusted_today(desk.scene(), roles=(Role.GATEWAY, Role.GATEWAY_REMOTE))
    assert (found.certificates, found.notes) == ((other.certificate,), ())
    with pytest.raises(SpecError, match="block for `mqtt`") as caught:
        trusted_today(desk.scene(), roles=(Role.MQTT,))
    assert caught.value.hint == "there are blocks of `route`, `gateway`"


def test_todays_trust_is_what_the_blocks_load(tmp_path: Path) -> None:
    """In order, each file once; blocks that differ, and the system's roots, are noted."""
    desk = Desk(tmp_path)
    other = desk.authority("Other")
    leaf = desk.leaf()
    desk.server(cluster=Tls((leaf,), (desk.root,)), gateway=Tls((leaf,), (other, desk.root)))
    found = trusted_today(desk.scene())
    assert tuple(dict.fromkeys(found.certificates)) == (desk.root.certificate, other.certificate)
    assert "wider for some" in found.notes[0]
    assert found.candidates[0].place.endswith(tuple("0123456789"))
    desk.server("n2", cluster=Tls((leaf,)))
    assert any("operating system" in note for note in trusted_today(desk.scene()).notes)
    desk.server("n3", cluster=Tls((leaf,), ca=b"rubbish"))
    with pytest.raises(SpecError, match="cannot be used"):
        trusted_today(desk.scene())
