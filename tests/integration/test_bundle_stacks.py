"""Bundles before real parties: nats-server (Go), OpenSSL and kubectl take what we write."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs import commands
from rigs.pki_forge import CA, forge
from rigs.probe_lab import Authority, server, write_material
from rollover.certificates import bundle_files
from rollover.codec import kubernetes
from rollover.errors import ExitCode
from rollover.fleet.certificate import Certificate
from rollover.pki.pem import read_certificates
from rollover.probe.target import Port

NOW = datetime.now(UTC)
EVIL = ("plain", "a: b", "-----BEGIN CERTIFICATE-----", "x\n\ny", "é" * 30, "#", "----- END -----")


def annotated() -> tuple[tuple[Certificate, ...], bytes]:
    """CAs with subjects that look like something else, and their annotated bundle."""
    several = tuple(forge(name, CA, now=NOW).certificate for name in EVIL)
    return several, bundle_files.render(several, annotate=True)


def test_go_loads_every_member_of_an_annotated_bundle(tmp_path: Path) -> None:
    """A real nats-server advertises all of them, whatever their subjects."""
    several, content = annotated()
    authority = Authority("Own CA")
    own = read_certificates(authority.pem).certificates
    write_material(
        tmp_path,
        server=authority.issue("n1"),
        trusted=bundle_files.render(own, annotate=True) + content,
    )
    with server(tmp_path) as running:
        url = f"nats://127.0.0.1:{running.ports[Port.CLIENT]}"
        ran = commands.run("inspect", url, "--output", "json")
        (source,) = ran.json["inspection"]["sources"]
    assert len(source["live"]["advertised"]) == len(several) + 1


def test_openssl_loads_every_member_of_an_annotated_bundle(tmp_path: Path) -> None:
    """Both its library in Python and its command."""
    several, content = annotated()
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    assert set(context.get_ca_certs(binary_form=True)) == {
        certificate.der for certificate in several
    }
    openssl = shutil.which("openssl")
    assert openssl is not None
    shown = subprocess.run(
        [openssl, "storeutl", "-noout", "-certs", str(path)],
        check=True, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert f"Total found: {len(several)}" in shown.stdout


def test_a_port_is_a_source_of_the_cas_that_it_serves(tmp_path: Path) -> None:
    """With the root in its chain that goes in, without it the remedy is told."""
    authority = Authority("Served CA")
    out = tmp_path / "out.pem"
    for with_root in (True, False):
        pair = authority.issue("n1", with_root=with_root)
        write_material(tmp_path, server=pair, trusted=authority.pem)
        with server(tmp_path) as running:
            url = f"nats-route://127.0.0.1:{running.ports[Port.ROUTE]}"
            ran = commands.run("bundle", "build", url, "-o", out)
        if with_root:
            assert ran.code == ExitCode.DONE, ran.talk
            assert read_certificates(out.read_bytes()).certificates[0].subject == "CN=Served CA"
        else:
            assert ran.code == ExitCode.USAGE
            assert "`CN=Served CA`" in ran.talk
    closed = commands.run("bundle", "build", url, "-o", out)
    assert closed.code == ExitCode.STOPPED


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine")
@pytest.mark.parametrize("kind", ["configmap", "secret"])
def test_what_kubectl_writes_is_a_source_and_the_same_object(tmp_path: Path, kind: str) -> None:
    """What kubectl makes of a file we make too, value by value; no cluster is asked."""
    path = tmp_path / "ca.crt"
    path.write_bytes(bundle_files.render([forge("root", CA, now=NOW).certificate]))
    kubectl = shutil.which("kubectl")
    assert kubectl is not None
    words = ["create", *(["secret", "generic"] if kind == "secret" else [kind]), "nats-ca"]
    made = subprocess.run(
        [kubectl, *words, "--namespace=nats", f"--from-file={path}",
         f"--from-file=cabundle.pem={path}", "--dry-run=client", "-o", "yaml"],
        check=True, capture_output=True, timeout=600,
        env={"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)},
    )  # fmt: skip
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_bytes(made.stdout)
    ran = commands.run("bundle", "build", path, "--kubernetes", kind, "--name", "nats-ca",
                       "--namespace", "nats", "-o", ours)  # fmt: skip
    assert ran.code == ExitCode.DONE, ran.talk
    (one,), (other,) = (
        kubernetes.read_manifests(entry.read_bytes(), place="m") for entry in (theirs, ours)
    )
    assert (one.ref, dict(one.data)) == (other.ref, dict(other.data))
    again = tmp_path / "again.pem"
    assert commands.run("bundle", "build", theirs, "-o", again).code == ExitCode.DONE
    assert again.read_bytes() == path.read_bytes()
