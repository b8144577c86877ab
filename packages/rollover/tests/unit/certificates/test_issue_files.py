"""`issue` as a library: names, files, the CA, and that nothing is written over."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from nats_config.config import read_config
from nats_config.server import read_server_config
from rollover.certificates import issue_for_role
from rollover.certificates.issue_for_role import (
    PROFILE_OF_ROLE,
    IssuedLeaf,
    LeafOrder,
    LeafRole,
    issue,
)
from rollover.errors import Conflict, PemError, SpecError
from rollover.fleet.certificate import Certificate, KeyKind, Question, Stack, Usage
from rollover.pki.issue import cross_sign, issue_authority
from rollover.pki.keys import PrivateKey, from_pem, generate, to_pem
from rollover.pki.pem import read_certificates, write_certificates
from rollover.pki.stacks import Verifier

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def order(folder: Path, *names: str, role: LeafRole = LeafRole.SERVER, user: str = "") -> LeafOrder:
    """Return an order for certificates in a folder, whose CA is in `ca`."""
    return LeafOrder(role=role, names=names, user=user, authority=folder / "ca", directory=folder)


def certificates(path: str | Path) -> tuple[Certificate, ...]:
    """Return the certificates of a file."""
    return read_certificates(Path(path).read_bytes()).certificates


def mode(path: str | Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(Path(path).stat().st_mode)


def accepted(issued: IssuedLeaf, usage: Usage, stack: Stack) -> bool:
    """Say whether a peer that trusts the CA accepts the chain."""
    chain, anchors = certificates(issued.certificate_file), certificates(issued.authority.file)
    known = {anchor.fingerprint: anchor for anchor in (*chain, *anchors)}
    question = Question(
        chain=tuple(certificate.fingerprint for certificate in chain),
        bundle=tuple(anchor.fingerprint for anchor in anchors),
        instant=NOW,
        usage=usage,
        stack=stack,
    )
    return Verifier(known)(question).accepted


@pytest.mark.parametrize("role", LeafRole)
def test_usages_are_those_of_the_role(tmp_path: Path, role: LeafRole) -> None:
    """Both stacks accept the chain in what the role does, and in nothing else."""
    issued = issue(order(tmp_path, "n1.example.com", role=role), now=NOW)
    dials = role in {LeafRole.CLIENT, LeafRole.ROUTE, LeafRole.GATEWAY, LeafRole.LEAF}
    accepts = role is not LeafRole.CLIENT
    for stack in Stack:
        assert accepted(issued, Usage.SERVER, stack) is accepts
        assert accepted(issued, Usage.CLIENT, stack) is dials
    assert set(issued.extended_key_usages) == set(PROFILE_OF_ROLE[role].extended_key_usages)


@pytest.mark.parametrize("kind", [KeyKind.P256, KeyKind.P384, KeyKind.RSA_2048, KeyKind.ED25519])
def test_keys_of_every_kind_fit_their_certificate(tmp_path: Path, kind: KeyKind) -> None:
    """The key is of the kind asked for, private, and the leaf's."""
    wanted = LeafOrder(
        role=LeafRole.ROUTE,
        names=("n1",),
        authority=tmp_path / "ca",
        directory=tmp_path,
        key_kind=kind,
    )
    issued = issue(wanted, now=NOW)
    key = from_pem(Path(issued.key_file).read_bytes())
    assert key.kind == issued.key_kind == kind
    assert key.key_identity == certificates(issued.certificate_file)[0].key_identity
    assert mode(issued.key_file) == 0o600
    assert mode(issued.certificate_file) == 0o644


def test_all_names_are_subject_alternative_names_in_their_form(tmp_path: Path) -> None:
    """DNS names, wildcards, addresses, emails and URIs; the first is the common name too."""
    names = ("n1.example.com", "*.example.com", "10.0.0.1", "::1", "a@example.com",
             "spiffe://example.com/n1", "n1.example.com")  # fmt: skip
    (leaf,) = certificates(issue(order(tmp_path, *names), now=NOW).certificate_file)
    assert leaf.subject == "CN=n1.example.com"
    assert leaf.dns_names == ("n1.example.com", "*.example.com")
    assert leaf.ip_addresses == ("10.0.0.1", "::1")
    assert leaf.emails == ("a@example.com",)
    assert leaf.uris == ("spiffe://example.com/n1",)


def test_a_name_that_is_too_long_for_a_common_name_stands_among_the_alternatives(
    tmp_path: Path,
) -> None:
    """Both stacks accept such a certificate, whose subject is empty."""
    long = ".".join(["a" * 40] * 4)
    issued = issue(order(tmp_path, long), now=NOW)
    (leaf,) = certificates(issued.certificate_file)
    assert (leaf.subject, leaf.dns_names) == ("", (long,))
    assert all(accepted(issued, Usage.SERVER, stack) for stack in Stack)


@pytest.mark.parametrize(
    "names",
    [(), ("",), ("a b",), ("a..b",), ("münchen",), ("-x",), ("a/b",), ("x" * 300,),
     ("only@example.com",), ("*",), tuple(f"n{number}" for number in range(1001))],
    ids=str,
)  # fmt: skip
def test_names_that_no_dialer_could_use_are_refused_before_anything_is_written(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Not even a CA is made."""
    with pytest.raises(SpecError) as caught:
        issue(order(tmp_path, *names), now=NOW)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_user_goes_with_clients_only(tmp_path: Path) -> None:
    """No other certificate is mapped to one."""
    with pytest.raises(SpecError, match="maps to no user"):
        issue(order(tmp_path, "n1", user="a@example.com"), now=NOW)
    found = issue(order(tmp_path, role=LeafRole.CLIENT, user="a@example.com"), now=NOW)
    assert found.names == ("a@example.com",)


@pytest.mark.parametrize(
    ("names", "role", "stem"),
    [
        (("n1.example.com",), LeafRole.SERVER, "n1.example.com"),
        (("n1", "n2", "n3"), LeafRole.SERVER, "n1+2"),
        (("*.example.com",), LeafRole.ROUTE, "_wildcard.example.com-route"),
        (("::1",), LeafRole.SERVER, "__1"),
        (("a@example.com",), LeafRole.CLIENT, "a@example.com-client"),
        (("spiffe://e.com/../../x",), LeafRole.CLIENT, "spiffe___e.com_.._.._x-client"),
    ],
)
def test_files_are_named_after_what_they_are_for(
    tmp_path: Path, names: tuple[str, ...], role: LeafRole, stem: str
) -> None:
    """As mkcert names them; no name leads out of the directory."""
    issued = issue(order(tmp_path, *names, role=role), now=NOW)
    assert Path(issued.certificate_file) == tmp_path / f"{stem}.pem"
    assert Path(issued.key_file) == tmp_path / f"{stem}-key.pem"


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    """Key or certificate: either is enough to refuse, and then neither is changed."""
    issued = issue(order(tmp_path, "n1"), now=NOW)
    for kept, gone in (
        (issued.key_file, issued.certificate_file),
        (issued.certificate_file, issued.key_file),
    ):
        before = Path(kept).read_bytes()
        other = Path(gone).read_bytes()
        Path(gone).unlink()
        with pytest.raises(SpecError, match="there is a file already") as caught:
            issue(order(tmp_path, "n1"), now=NOW)
        assert kept in str(caught.value)
        assert Path(kept).read_bytes() == before
        assert not Path(gone).exists()
        Path(gone).write_bytes(other)


def test_force_writes_over_both(tmp_path: Path) -> None:
    """The new key is private even where the old one was not."""
    first = issue(order(tmp_path, "n1"), now=NOW)
    Path(first.key_file).chmod(0o644)
    again = LeafOrder(
        role=LeafRole.SERVER,
        names=("n1",),
        authority=tmp_path / "ca",
        directory=tmp_path,
        over=True,
    )
    second = issue(again, now=NOW)
    assert second.key_identity != first.key_identity
    key = from_pem(Path(second.key_file).read_bytes())
    assert key.key_identity == second.key_identity
    assert mode(second.key_file) == 0o600


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_directory_is_an_error_with_its_place(tmp_path: Path) -> None:
    """What the system says, and where."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(SpecError, match=str(closed)):
        issue(order(closed, "n1"), now=NOW)


def test_a_certificate_that_cannot_be_written_leaves_no_key_behind(tmp_path: Path) -> None:
    """Both files or none."""
    wanted = LeafOrder(
        role=LeafRole.SERVER,
        names=("n1",),
        authority=tmp_path / "ca",
        directory=tmp_path,
        certificate_file=tmp_path / "missing" / "n1.pem",
        key_file=tmp_path / "n1.key",
    )
    with pytest.raises(SpecError, match="missing"):
        issue(wanted, now=NOW)
    assert not (tmp_path / "n1.key").exists()


def test_the_ca_is_never_written_over(tmp_path: Path) -> None:
    """Neither by its name nor over a link, not even with `--force`."""
    made = issue(order(tmp_path, "n1.example.com"), now=NOW)
    folder = Path(made.authority.file).parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    link = tmp_path / "link.pem"
    link.symlink_to(folder / issue_for_role.AUTHORITY_KEY_FILE)
    forced = msgspec.structs.replace(order(tmp_path, "n2.example.com"), over=True)
    for fields in (
        {"key_file": folder / issue_for_role.AUTHORITY_KEY_FILE},
        {"certificate_file": folder / issue_for_role.AUTHORITY_CERTIFICATE_FILE},
        {"key_file": link},
        {"directory": folder, "names": ("ca",)},
    ):
        with pytest.raises(SpecError, match="belongs to the CA itself"):
            issue(msgspec.structs.replace(forced, **fields), now=NOW)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fe80::1%eth0", "no certificate can hold"),
        ("[fe80::1%eth0]", "no certificate can hold"),
        ("999.1.1.1", "neither an IP address nor a host name"),
        ("10.0.0.1.", "a dot at its end"),
        ("127.0.0.1:4222", "without port"),
        ("10.0.0.0/24", "path"),
    ],
)
def test_what_is_nearly_an_address_is_refused_with_the_remedy(
    tmp_path: Path, name: str, said: str
) -> None:
    """Nobody who dials the address would accept what stands in the certificate."""
    with pytest.raises(SpecError) as refused:
        issue(order(tmp_path, name), now=NOW)
    assert said in f"{refused.value} {refused.value.hint}"
    assert not list(tmp_path.iterdir())


def test_one_file_for_both_is_refused(tmp_path: Path) -> None:
    """A certificate is for everybody, a key for nobody else."""
    wanted = LeafOrder(
        role=LeafRole.SERVER,
        names=("n1",),
        authority=tmp_path / "ca",
        directory=tmp_path,
        certificate_file=tmp_path / "n1.pem",
        key_file=tmp_path / "ca" / ".." / "n1.pem",
    )
    with pytest.raises(SpecError, match="the same file"):
        issue(wanted, now=NOW)


def test_a_ca_is_made_once_and_is_private(tmp_path: Path) -> None:
    """Said when it is made; kept from then on."""
    first = issue(order(tmp_path, "n1"), now=NOW)
    second = issue(order(tmp_path, "n2"), now=NOW)
    assert (first.authority.made, second.authority.made) == (True, False)
    assert first.authority.fingerprint == second.authority.fingerprint
    assert mode(tmp_path / "ca") == 0o700
    assert mode(tmp_path / "ca/ca-key.pem") == 0o600
    assert "Rollover CA" in first.authority.subject


def test_two_at_once_make_one_ca(tmp_path: Path) -> None:
    """Whoever comes second takes what the first made."""
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda name: issue(order(tmp_path, name), now=NOW), ("a", "b", "c", "d"))
        )
    assert len({issued_leaf.authority.fingerprint for issued_leaf in found}) == 1
    assert sum(issued_leaf.authority.made for issued_leaf in found) == 1


def test_a_ca_that_somebody_holds_is_waited_for_within_a_limit(tmp_path: Path) -> None:
    """A process that does not end is named, not waited for."""
    directory = tmp_path / "ca"
    directory.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLD,
            directory,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match="in use"):
            issue_for_role.open_authority(directory, now=NOW, wait_seconds=0.1)
        holder.communicate(b"", timeout=600)


@pytest.mark.parametrize("gone", ["ca.pem", "ca-key.pem"])
def test_half_a_ca_is_an_error_and_is_not_replaced(tmp_path: Path, gone: str) -> None:
    """Nobody loses the other half by accident."""
    issue(order(tmp_path, "n1"), now=NOW)
    (tmp_path / "ca" / gone).unlink()
    with pytest.raises(SpecError, match=gone):
        issue(order(tmp_path, "n2"), now=NOW)
    assert len(list((tmp_path / "ca").iterdir())) == 1


def test_a_ca_with_anothers_key_or_out_of_its_dates_is_refused(tmp_path: Path) -> None:
    """Before anything is signed with it."""
    issued = issue(order(tmp_path, "n1"), now=NOW)
    with pytest.raises(SpecError, match="valid from"):
        issue(order(tmp_path, "n2"), now=NOW + issue_for_role.AUTHORITY_LIFETIME)
    (tmp_path / "ca/ca-key.pem").write_bytes(Path(issued.key_file).read_bytes())
    with pytest.raises(PemError, match="not that of"):
        issue(order(tmp_path, "n2"), now=NOW)


def test_an_intermediate_is_served_and_clips_what_it_signs(tmp_path: Path) -> None:
    """`ca.pem` with an intermediate and its root: the chain is complete, the root is not in it."""
    keys = generate(KeyKind.P256), generate(KeyKind.P256)
    root = issue_authority(
        common_name="root", key=keys[0], not_before=NOW, lifetime=timedelta(days=900)
    )
    shop = tmp_path / "ca"
    shop.mkdir()
    (shop / "ca.pem").write_bytes(write_certificates((_intermediate(root, keys), root)))
    (shop / "ca-key.pem").write_bytes(to_pem(keys[1]))
    issued = issue(order(tmp_path, "n1"), now=NOW + timedelta(days=1))
    served = certificates(issued.certificate_file)
    assert [certificate.subject for certificate in served] == ["CN=n1", "CN=middle"]
    assert issued.clipped
    assert issued.not_after == served[1].not_after
    assert issue_for_role.trusted_authority(shop) == root


def _intermediate(root: Certificate, keys: tuple[PrivateKey, PrivateKey]) -> Certificate:
    own = issue_authority(
        common_name="middle", key=keys[1], not_before=NOW, lifetime=timedelta(days=90)
    )
    return cross_sign(own, by=root, by_key=keys[0], not_before=NOW)


@pytest.mark.parametrize("folder", ["plain", 'quo"te', "back\\slash", "tab\tbell\x07", "ümlaut"])
def test_the_advice_is_sound_configuration_whatever_the_paths(tmp_path: Path, folder: str) -> None:
    """Every role's advice parses, and names the very files."""
    home = tmp_path / folder
    home.mkdir()
    for role in LeafRole:
        issued = issue(order(home, "n1.example.com", role=role), now=NOW)
        (tmp_path / "nats.conf").write_text(issued.nats_conf)
        config = read_config(tmp_path / "nats.conf", environment={})
        files = {
            file.path for block in read_server_config(config, cwd="/").tls for file in block.files
        }
        if role is not LeafRole.CLIENT:
            assert {issued.certificate_file, issued.key_file} <= files
        if role not in {LeafRole.SERVER, LeafRole.MONITORING}:
            assert issued.authority.file in files
