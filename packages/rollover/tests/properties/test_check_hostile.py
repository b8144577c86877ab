"""Whatever somebody hands to `check`: findings with places, or an error, soon, and no trace."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.commands import run
from rigs.config_scenes import LEAF, Desk, Tls, named
from rigs.examples_budget import examples
from rigs.pki_forge import CA, forge
from rollover.errors import ExitCode
from rollover.pki.pem import write_certificates
from rollover.platforms.nats.rules.report import check_configs

SECONDS = 60.0
ROOT = forge("root", CA)
GOOD = forge("n1", LEAF._replace(names=named("n1.example")), by=ROOT)
PEM = write_certificates((GOOD.certificate, ROOT.certificate))
CONFIG = (
    b"server_name: n1\nport: 4222\n"
    b"tls { cert_file: 'a.pem', key_file: 'a.key', ca_file: 'a.pem', verify: true }\n"
    b"cluster { name: c, port: 6222, routes: ['nats-route://n2.example:6222'] }\n"
)


def checked(folder: Path, config: bytes) -> None:
    """Check a configuration: a report or an error with a place, in time."""
    path = folder / "n.conf"
    path.write_bytes(config)
    began = time.process_time()
    ran = run("check", path, "--working-directory", folder)
    assert time.process_time() - began < SECONDS
    assert "Traceback" not in ran.talk
    assert ran.code in {ExitCode.DONE, ExitCode.REFUSED, ExitCode.EVIDENCE_MISSING}, ran.talk
    assert "n.conf" in ran.out


def refused(folder: Path, config: str, *, place: str) -> None:
    """Check a configuration that is refused at a place."""
    checked(folder, config.encode())
    assert f"{folder}/{place}" in run("check", folder / "n.conf").out


def test_an_include_loop_is_refused_with_its_place(tmp_path: Path) -> None:
    """A file that includes itself ends soon."""
    refused(tmp_path, "port: 4222\ninclude ./n.conf\n", place="n.conf:2:")


def test_a_loop_over_two_files_is_refused(tmp_path: Path) -> None:
    """So do two that include each other."""
    (tmp_path / "b.conf").write_text("include ./n.conf\n")
    checked(tmp_path, b"include ./b.conf\n")


def test_an_unknown_variable_is_refused_with_its_place(tmp_path: Path) -> None:
    """The variable is named where it is used."""
    refused(tmp_path, "port: 4222\ntls { timeout: $ROLLOVER_NONE }\n", place="n.conf:2:")


@pytest.mark.parametrize("text", ["a {" * 5_000, "a [" * 5_000, "a: [" + "[" * 100_000])
def test_deep_nesting_is_refused(tmp_path: Path, text: str) -> None:
    """Depth is limited before the interpreter's stack is."""
    checked(tmp_path, text.encode())


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """Size is limited before memory is."""
    checked(tmp_path, b"# " + b"x" * (64 << 20))


def test_a_huge_certificate_file_is_a_finding(tmp_path: Path) -> None:
    """A bundle of many megabytes is read up to a limit."""
    (tmp_path / "a.pem").write_bytes(PEM + b"#" * (16 << 20))
    (tmp_path / "a.key").write_bytes(GOOD.key_pem())
    checked(tmp_path, CONFIG)


def test_thousands_of_names_are_read(tmp_path: Path) -> None:
    """A certificate with 5,000 names is a certificate."""
    names = named(*(f"n{at}.example" for at in range(5_000)))
    made = forge("n1", LEAF._replace(names=names), by=ROOT)
    (tmp_path / "a.pem").write_bytes(write_certificates((made.certificate, ROOT.certificate)))
    (tmp_path / "a.key").write_bytes(made.key_pem())
    checked(tmp_path, CONFIG)


def test_many_authorities_of_one_name_end_soon(tmp_path: Path) -> None:
    """Issuers that only their signatures tell apart are tried up to a limit."""
    desk = Desk(tmp_path)
    many = [forge("root", CA._replace(subject_key_id=False)) for _ in range(400)]
    desk.server(top=Tls((desk.leaf(),), (desk.root, *many), "verify: true"))
    began = time.process_time()
    check_configs(desk.scene())
    assert time.process_time() - began < SECONDS


def test_authorities_that_certify_each_other_end(tmp_path: Path) -> None:
    """A loop of cross-certificates has no root, and the search for one ends."""
    desk = Desk(tmp_path)
    first, second = forge("a", CA), forge("b", CA)
    one = forge("a", CA, by=second, key=first.key)
    other = forge("b", CA, by=first, key=second.key)
    desk.server(top=Tls((desk.leaf(by=first), one, other), (one, other), "verify: true"))
    desk.server("n2", cluster=Tls((desk.leaf(by=first), one, other)))
    assert check_configs(desk.scene()).checked


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/mem", "."])
def test_a_file_that_is_none_is_a_finding(tmp_path: Path, target: str) -> None:
    """Devices and directories are not read."""
    for name in ("a.pem", "a.key"):
        (tmp_path / name).symlink_to(target)
    checked(tmp_path, CONFIG)


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", ".", "loop"])
@pytest.mark.parametrize("option", ["", "--unit", "--client", "--running", "include"])
def test_what_is_no_file_is_refused_wherever_it_is_named(
    tmp_path: Path, option: str, target: str
) -> None:
    """Devices, pipes nobody writes into, directories and loops of links: an error with its name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    config, odd = tmp_path / "n.conf", tmp_path / "odd"
    odd.symlink_to(target)
    config.write_text("include odd\n" if option == "include" else "port: 4222\n")
    words: dict[str, tuple[str | Path, ...]] = {
        "": (odd,),
        "--running": (config, "--running", f"{config}={odd}"),
        "include": (config,),
    }
    ran = run("check", *words.get(option, (config, option, odd)))
    code = ExitCode.REFUSED if option == "include" else ExitCode.USAGE
    assert ran.code == code, ran.talk
    assert "Traceback" not in ran.talk
    assert str(odd) in ran.out + ran.talk


def test_a_report_is_not_written_into_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """`--sarif PIPE` ends at once."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "n.conf").write_text("port: 4222\n")
    ran = run("check", tmp_path / "n.conf", "--sarif", tmp_path / "pipe")
    assert ran.code == ExitCode.USAGE
    assert "pipe: cannot be written" in ran.talk


@pytest.mark.parametrize(
    "text", ["x" * 3_000_000, f"{'x' * 3_000_000}: 1", f"a: {'x' * 3_000_000}", "port: 1\0\n"]
)
def test_what_is_said_of_long_names_is_short(tmp_path: Path, text: str) -> None:
    """A name may be as long as the file; what is said of it is not."""
    checked(tmp_path, text.encode())
    assert len(run("check", tmp_path / "n.conf").out) < 20_000


def test_includes_that_multiply_end_soon(tmp_path: Path) -> None:
    """Sixty files that each include the next one twice are 2⁶⁰ reads, and an error."""
    for at in range(60):
        (tmp_path / f"b{at}.conf").write_text(f"include b{at + 1}.conf\n" * 2)
    checked(tmp_path, b"include b0.conf\n")
    assert "includes or variables inside each other" in run("check", tmp_path / "n.conf").out


@pytest.mark.parametrize("value", ["abc", "{ a: b }", "'x", "$ROLLOVER_ODD", "1kbb", "\x7f"])
def test_any_value_of_a_variable_is_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The text of a variable is parsed like the file, and fails like it."""
    monkeypatch.setenv("ROLLOVER_ODD", value)
    checked(tmp_path, b"max_payload: $ROLLOVER_ODD\n")


def test_a_name_that_is_no_utf_8_is_a_report(tmp_path: Path) -> None:
    """Names of files are octets."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.conf"))
    path.write_text("port: 4222\ntls { cert_file: 'a.pem', key_file: 'a.key' }\n")
    ran = run("check", path, "--sarif", tmp_path / "out.sarif")
    assert ran.code == ExitCode.REFUSED, ran.talk
    assert json.loads((tmp_path / "out.sarif").read_bytes())["runs"]


def test_a_random_file_is_no_certificate_though_it_is_named_as_key_too(tmp_path: Path) -> None:
    """One file may hold both, so it has to hold a certificate."""
    (tmp_path / "a.pem").write_bytes(bytes(range(256)) * 64)
    config = CONFIG.replace(b"a.key", b"a.pem")
    checked(tmp_path, config)
    ran = run("check", tmp_path / "n.conf", "--working-directory", tmp_path)
    assert "`rollover explain file-without-certificates`" in ran.out


@examples(25)
@given(st.binary(max_size=200))
def test_any_unit_is_an_error_or_read(text: bytes) -> None:
    """A unit of any octets ends with a documented exit code, and no trace."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "n.conf").write_text("port: 4222\n")
        (folder / "n.service").write_bytes(b"[Service]\nExecStart=nats-server " + text)
        ran = run("check", folder / "n.conf", "--unit", folder / "n.service")
        assert ran.code in {ExitCode.DONE, ExitCode.REFUSED, ExitCode.USAGE}, ran.talk
        assert "Traceback" not in ran.talk


@examples(40)
@given(st.integers(0, len(GOOD.certificate.der) - 1), st.binary(min_size=1, max_size=8))
def test_damaged_der_is_a_finding(at: int, patch: bytes) -> None:
    """A certificate with some octets changed never falls over."""
    der = GOOD.certificate.der[:at] + patch + GOOD.certificate.der[at + len(patch) :]
    text = base64.encodebytes(der)
    pem = b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.pem").write_bytes(pem + PEM)
        (folder / "a.key").write_bytes(GOOD.key_pem())
        checked(folder, CONFIG)


@examples(40)
@given(st.integers(0, len(CONFIG)), st.integers(0, 30), st.binary(max_size=12))
def test_a_damaged_configuration_is_a_finding(at: int, cut: int, patch: bytes) -> None:
    """Whatever stands in it, the reader or a rule says where."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.pem").write_bytes(PEM)
        (folder / "a.key").write_bytes(GOOD.key_pem())
        checked(folder, CONFIG[:at] + patch + CONFIG[at + cut :])
