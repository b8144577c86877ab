"""What must not stop `inspect`: pipes, devices, loops of links, crowds of everything."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from rigs.pki_forge import CA, INTERMEDIATE, LEAF, NOW, Forged, ec_key, forge
from rollover.certificates import inspect_findings, inspect_pem, inspect_verdicts
from rollover.certificates.inspect_findings import (
    FoundCertificate,
    Inspected,
    InspectedSource,
    InspectionDeadline,
    InspectionProblem,
    SourceKind,
)
from rollover.certificates.inspect_report import SourceView, report_on
from rollover.certificates.inspect_targets import Ways, read_targets, target_of
from rollover.certificates.inspect_verdicts import ChainVerdict
from rollover.errors import SpecError
from rollover.pki.pem import write_certificates

SOON_SECONDS = 60.0
ROOT = forge("root", CA)


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """Fail when a test of this module takes long: nothing here may make anybody wait."""
    started = time.process_time()
    yield
    assert time.process_time() - started < SOON_SECONDS


def read(*targets: Path | str) -> tuple[Inspected, ...]:
    """Return what the targets hold."""
    return tuple(read_targets([str(target) for target in targets], Ways({}, Path())))


def trouble(target: Path | str) -> InspectionProblem:
    """Return the one problem that a target is."""
    (found,) = read(target)
    assert isinstance(found, InspectionProblem), found
    return found


def shown(*forged: Forged) -> SourceView:
    """Return the report on a file of these certificates."""
    placed = tuple(FoundCertificate(pair.certificate, "x") for pair in forged)
    source = InspectedSource(name="x", kind=SourceKind.PEM, certificates=placed)
    (view,) = report_on((source,), now=NOW).sources
    return view


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    """Nobody writes into the pipe, the device never ends."""
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe)
    for target in (pipe, "/dev/zero", "/dev/null"):
        assert trouble(target).message == f"{target}: is not a regular file"


def test_a_directory_of_pipes_and_loops_of_links_is_walked_once(tmp_path: Path) -> None:
    """Links to directories are not followed, circles and broken links are passed over."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "up").symlink_to(tmp_path)
    (inner / "self").symlink_to(inner / "self")
    (inner / "gone.pem").symlink_to(tmp_path / "nowhere")
    os.mkfifo(inner / "pipe.pem")
    (tmp_path / "root.pem").write_bytes(write_certificates((ROOT.certificate,)))
    (inner / "again.pem").symlink_to(tmp_path / "root.pem")
    (found,) = read(tmp_path)
    assert isinstance(found, InspectedSource)
    assert found.certificates[0].certificate == ROOT.certificate


def test_a_volume_of_kubernetes_is_read_through_its_links(tmp_path: Path) -> None:
    """The files of a mounted Secret are links into a directory with a time as its name."""
    version = tmp_path / "..2026_06_01"
    version.mkdir()
    (version / "tls.crt").write_bytes(write_certificates((ROOT.certificate,)))
    (tmp_path / "..data").symlink_to(version)
    (tmp_path / "tls.crt").symlink_to(tmp_path / "..data/tls.crt")
    (found,) = read(tmp_path)
    assert isinstance(found, InspectedSource)
    assert found.name == str(tmp_path / "tls.crt")


def test_ten_thousand_files_are_looked_through(tmp_path: Path) -> None:
    """The one certificate among them is found; a limit ends larger crowds with an error."""
    for number in range(10_000):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "root.pem").write_bytes(write_certificates((ROOT.certificate,)))
    (found,) = read(tmp_path)
    assert isinstance(found, InspectedSource)


def test_directories_deep_inside_each_other_end_the_walk_with_an_error(tmp_path: Path) -> None:
    """The place where it ended is named."""
    inner = tmp_path.joinpath(*["d"] * (inspect_findings.MOST_DEPTH + 3))
    inner.mkdir(parents=True)
    found = list(inspect_findings.walk(tmp_path))
    (error,) = found
    assert isinstance(error, SpecError)
    assert error.place == str(tmp_path.joinpath(*["d"] * inspect_findings.MOST_DEPTH))


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    """A sparse file of a terabyte is not read."""
    path = tmp_path / "x.pem"
    path.touch()
    os.truncate(path, 1 << 40)
    assert "more than" in trouble(path).message


def test_input_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    """Standard input that stays open and silent ends with an error."""
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(SpecError, match="nothing more came"):
            inspect_findings.read_stream(
                read_end, deadline=InspectionDeadline(timedelta(seconds=0.2))
            )
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_configuration_that_includes_itself_is_refused_with_its_place(tmp_path: Path) -> None:
    """So is one with an unknown variable, and one that nests without end."""
    path = tmp_path / "n.conf"
    for text, line in (
        ("include n.conf\n", 1),
        ("port: 1\nhost: $nowhere_to_be_found\n", 2),
        ("a {" * 500, 1),
    ):
        path.write_text(text)
        found = trouble(path)
        assert found.message.startswith((f"{path}:{line}:", f"{tmp_path}/"))
        assert found.code == "config"


def test_broken_der_is_an_error_with_its_place(tmp_path: Path) -> None:
    """Cut short, with a length beyond its end, or with bytes changed inside."""
    der = ROOT.certificate.der
    for name, data in {
        "cut": der[:100],
        "length": b"\x30\x84\xff\xff\xff\xff" + der[4:],
        "changed": der[:30] + b"\xff" * 8 + der[38:],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        found = trouble(path)
        assert found.message.startswith(f"{path}: ")
        assert found.code == "pem"


def test_a_critical_extension_that_nobody_knows_is_shown_and_refused() -> None:
    """The chain is refused, and the certificate says why."""
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    leaf = forge("odd", LEAF._replace(extra=((odd, True),)), by=ROOT)
    view = shown(leaf, ROOT)
    assert view.certificates[1].not_understood == ("1.2.3.4",)
    assert {chain.answer for chain in view.chains} == {ChainVerdict.REFUSED}


def test_thousands_of_names_against_thousands_of_constraints_are_not_compared() -> None:
    """The work would grow with the product; Go gives up as well."""
    names = tuple(x509.DNSName(f"h{number}.example.com") for number in range(3000))
    limits = [x509.DNSName(f"d{number}.example.org") for number in range(3000)]
    constraints = x509.NameConstraints(permitted_subtrees=limits, excluded_subtrees=None)
    authority = forge("limited", CA._replace(extra=((constraints, True),)))
    view = shown(forge("many", LEAF._replace(names=names), by=authority), authority)
    assert len(view.certificates[1].dns_names) == len(names)
    assert {chain.answer for chain in view.chains} == {ChainVerdict.REFUSED}
    assert "comparisons" in view.chains[0].faults[0].detail


def test_crowds_of_one_name_are_counted_not_judged() -> None:
    """Neither hundreds of anchors of one name, nor of intermediates, nor endless chains."""
    key = ec_key()
    anchors = [forge("same", CA, key=key) for _ in range(inspect_verdicts.MOST_NAMESAKES + 1)]
    assert shown(forge("leaf", LEAF, by=anchors[0]), *anchors).chains_not_judged == 1
    between = [forge("same", INTERMEDIATE, by=ROOT, key=key) for _ in range(50)]
    assert shown(forge("leaf", LEAF, by=between[0]), *between, ROOT).chains_not_judged == 1
    chain = [ROOT]
    for number in range(400):
        chain.append(forge(f"ca {number}", INTERMEDIATE, by=chain[-1]))
    view = shown(forge("leaf", LEAF, by=chain[-1]), *chain)
    assert view.chains_not_judged == 1
    assert view.certificates[-1].depth == len(chain)


def test_many_leaves_are_judged_up_to_a_limit() -> None:
    """The others are counted."""
    leaves = [forge("leaf", LEAF, by=ROOT) for _ in range(inspect_verdicts.MOST_CHAINS + 3)]
    view = shown(ROOT, *leaves)
    assert view.chains_not_judged == len(leaves) - inspect_verdicts.MOST_CHAINS
    assert {chain.answer for chain in view.chains} == {ChainVerdict.ACCEPTED}


def test_thousands_of_broken_blocks_are_told_up_to_a_limit(tmp_path: Path) -> None:
    """The first ones with their lines, the others as a number."""
    path = tmp_path / "x.pem"
    path.write_bytes(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n" * 4000)
    found = read(path)
    assert len(found) == inspect_pem.MOST_PROBLEMS + 1
    assert isinstance(found[-1], InspectionProblem)
    assert "3,900 more blocks" in found[-1].message


@pytest.mark.parametrize(
    "url",
    [
        "gopher://host:1",
        "tls://host",
        "nats://",
        "nats://host:99999",
        "nats://host:x",
        "nats://[::1",
        "nats://h\x1b[31mst:1",
        "nats://" + "a" * 5000,
        "nats://münchen.example:1",
        "://",
    ],
)
def test_urls_that_name_no_port_are_refused(url: str) -> None:
    """With a message that shows no password and no control character."""
    with pytest.raises(SpecError) as caught:
        target_of(url)
    assert str(caught.value).isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("nats://user:pass@n1.example:4223/x?y", "n1.example:4223", "n1.example"),
        ("nats://n1.example", "n1.example:4222", "n1.example"),
        ("nats-route://[::1]:6222", "[::1]:6222", ""),
        ("https://10.0.0.1", "10.0.0.1:443", ""),
    ],
)
def test_urls_name_their_ports(url: str, address: str, name: str) -> None:
    """Scheme, host and port are enough; an address is never sent as a server name."""
    found = target_of(url)
    assert (found.address, found.server_name) == (address, name)


def test_a_host_name_that_cannot_exist_is_no_answer() -> None:
    """What the resolver of the system refuses is a port that does not answer."""
    found = trouble(f"nats://{'a' * 70}.invalid:1")
    assert found.transient
