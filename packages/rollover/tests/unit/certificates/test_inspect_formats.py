"""What `inspect` reads: every format, each certificate with its place, keys without themselves."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from rigs.pki_forge import CA, INTERMEDIATE, LEAF, Forged, forge
from rollover.certificates.inspect_findings import (
    Inspected,
    InspectedSource,
    InspectionProblem,
    SourceKind,
)
from rollover.certificates.inspect_targets import Ways, read_targets
from rollover.fleet.secret import SecretBytes, holds_private_key
from rollover.pki.pem import write_certificates

ROOT = forge("root", CA)
MIDDLE = forge("middle", INTERMEDIATE, by=ROOT)
NODE = forge("node", LEAF, by=MIDDLE)


def pem(*forged: Forged) -> bytes:
    """Return certificates as PEM."""
    return write_certificates(pair.certificate for pair in forged)


def read(path: Path, *, password: bytes = b"") -> tuple[Inspected, ...]:
    """Return what one target holds."""
    return tuple(read_targets([str(path)], Ways({}, path.parent, password=SecretBytes(password))))


def source(path: Path, *, password: bytes = b"") -> InspectedSource:
    """Return the one source that a target is."""
    (found,) = read(path, password=password)
    assert isinstance(found, InspectedSource), found
    return found


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """Write a file."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def subjects(found: InspectedSource) -> list[str]:
    """Return the subjects in the order of the source."""
    return [certificate.certificate.subject for certificate in found.certificates]


def archive(password: bytes | None) -> bytes:
    """Return a PKCS#12 file with the node's chain and key."""
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    others = [x509.load_der_x509_certificate(pair.certificate.der) for pair in (MIDDLE, ROOT)]
    leaf = x509.load_der_x509_certificate(NODE.certificate.der)
    return pkcs12.serialize_key_and_certificates(b"n", NODE.key, leaf, others, encryption)


def message(*forged: Forged, encoding: Encoding) -> bytes:
    """Return a PKCS#7 message with these certificates."""
    found = [x509.load_der_x509_certificate(pair.certificate.der) for pair in forged]
    return pkcs7.serialize_certificates(found, encoding)


def test_a_pem_file_shows_all_of_it_with_its_lines(tmp_path: Path) -> None:
    """Certificates in the order of the file, and the key by the identity of its certificate."""
    path = write(tmp_path, "node.pem", b"# mine\n" + pem(NODE, MIDDLE) + NODE.key_pem())
    found = source(path)
    assert found.kind is SourceKind.PEM
    assert subjects(found) == ["CN=node", "CN=middle"]
    assert found.certificates[0].place == f"{path}:2"
    (key,) = found.keys
    assert key.key_identity == NODE.certificate.key_identity
    assert key.kind == "p-256"


class Form(NamedTuple):
    """A file of some format, and what is in it."""

    name: str
    content: bytes
    kind: SourceKind
    certificates: int
    keys: int


FORMS = (
    Form("a.der", NODE.certificate.der, SourceKind.DER, 1, 0),
    Form("no-ending", NODE.certificate.der, SourceKind.DER, 1, 0),
    Form("a.p7b", message(ROOT, MIDDLE, encoding=Encoding.DER), SourceKind.PKCS7, 2, 0),
    Form("p.p7b", message(ROOT, MIDDLE, encoding=Encoding.PEM), SourceKind.PEM, 2, 0),
    Form("a.p12", archive(None), SourceKind.PKCS12, 3, 1),
    Form("key.pem", NODE.key_pem(), SourceKind.PEM, 0, 1),
    Form(
        "key.der",
        NODE.key.private_bytes(
            Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        SourceKind.DER,
        0,
        1,
    ),
    Form(
        "trusted.pem",
        pem(ROOT).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        SourceKind.PEM,
        1,
        0,
    ),
    Form("text", b"Issuer: x\n" + pem(ROOT) + b"\ntrailing\n" + pem(MIDDLE), SourceKind.PEM, 2, 0),
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_format_is_recognised(tmp_path: Path, form: Form) -> None:
    """By its content where the name says nothing."""
    found = source(write(tmp_path, form.name, form.content))
    assert found.kind is form.kind
    assert len(found.certificates) == form.certificates
    assert len(found.keys) == form.keys
    assert all(key.key_identity == NODE.certificate.key_identity for key in found.keys)


def test_pkcs12_opens_with_its_password_only(tmp_path: Path) -> None:
    """The password is asked for, a wrong one is said, the right one opens."""
    path = write(tmp_path, "a.pfx", archive(b"hunter2"))
    (asked,) = read(path)
    assert isinstance(asked, InspectionProblem)
    assert "needs a password" in asked.message
    assert "--password-file" in asked.hint
    (wrong,) = read(path, password=b"hunter3")
    assert isinstance(wrong, InspectionProblem)
    assert "hunter3" not in wrong.message
    found = source(path, password=b"hunter2")
    assert subjects(found)[0] == "CN=node"
    assert found.keys[0].key_identity == NODE.certificate.key_identity


def test_an_encrypted_key_is_said_to_be_one(tmp_path: Path) -> None:
    """It is there, and nothing more can be said."""
    content = NODE.key.private_bytes(
        Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    (key,) = source(write(tmp_path, "key.pem", content)).keys
    assert key.problem == "it is encrypted"
    assert key.key_identity == ""


def in_base64(data: bytes) -> str:
    """Return the data as Kubernetes carries it."""
    return base64.b64encode(data).decode()


def test_kubernetes_objects_are_shown_each_with_its_fields(tmp_path: Path) -> None:
    """Secrets and ConfigMaps, plain and in base64, several documents, lists of objects."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tls", "namespace": "nats"},
        "data": {
            "tls.crt": in_base64(pem(NODE, MIDDLE)),
            "tls.key": in_base64(NODE.key_pem()),
            "ca.der": in_base64(ROOT.certificate.der),
        },
        "stringData": {"ca.crt": pem(ROOT).decode()},
    }
    bundle = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "trust"},
        "data": {"cabundle.pem": pem(ROOT).decode(), "note": "no certificate"},
    }
    listed = {"apiVersion": "v1", "kind": "List", "items": [bundle]}
    text = yaml.safe_dump_all([secret, bundle, listed])
    path = write(tmp_path, "objects.yaml", text)
    found = [
        inspected_source
        for inspected_source in read(path)
        if isinstance(inspected_source, InspectedSource)
    ]
    assert [inspected_source.name for inspected_source in found] == [
        f"{path}: Secret nats/tls",
        f"{path}: ConfigMap trust",
        f"{path}: ConfigMap trust",
    ]
    assert {inspected_source.kind for inspected_source in found} == {SourceKind.KUBERNETES}
    assert sorted(subjects(found[0])) == ["CN=middle", "CN=node", "CN=root", "CN=root"]
    assert found[0].keys[0].key_identity == NODE.certificate.key_identity
    line = text[: text.index("cabundle.pem")].count("\n") + 1
    assert found[1].certificates[0].place.startswith(f"{path}:{line}:")
    assert found[1].certificates[0].place.endswith(": data.cabundle.pem")
    assert found[2].certificates[0].place.endswith(": items[0].data.cabundle.pem")


def test_a_vars_store_is_shown_by_the_names_of_its_variables(tmp_path: Path) -> None:
    """BOSH's own file: certificate, key and CA of each variable."""
    store = {
        "nats_ca": {"certificate": pem(ROOT).decode(), "ca": pem(ROOT).decode()},
        "nats_tls": {
            "ca": pem(ROOT).decode(),
            "certificate": pem(NODE).decode(),
            "private_key": NODE.key_pem().decode(),
        },
        "password": "irrelevant",
    }
    found = source(write(tmp_path, "creds.yml", yaml.safe_dump(store)))
    assert found.kind is SourceKind.YAML
    fields = {certificate.place.rpartition(": ")[2] for certificate in found.certificates}
    assert fields == {"nats_ca.certificate", "nats_ca.ca", "nats_tls.ca", "nats_tls.certificate"}
    assert found.keys[0].place.endswith(": nats_tls.private_key")


def test_json_with_written_out_line_ends_is_read(tmp_path: Path) -> None:
    """As environment variables and some exports have it."""
    escaped = pem(NODE).decode().replace("\n", "\\n")
    content = json.dumps({"credentials": [{"value": {"certificate": escaped}}]})
    assert subjects(source(write(tmp_path, "export.json", content))) == ["CN=node"]


@pytest.mark.parametrize("name", ["template", "manifest.yml"])
def test_yaml_that_is_refused_still_shows_its_blocks(tmp_path: Path, name: str) -> None:
    """Tags and merges are not understood; the PEM between them is, and that is said."""
    indented = pem(NODE).decode().replace("\n", "\n  ")
    path = write(tmp_path, name, f"a: !unknown\n  {indented}\nb: <<\n")
    found = source(path)
    assert subjects(found) == ["CN=node"]
    assert any("as YAML it is refused" in remark for remark in found.remarks)


def test_a_fleet_file_leads_to_the_files_of_its_endpoints(tmp_path: Path) -> None:
    """Each endpoint with what it presents and trusts."""
    write(tmp_path, "n.pem", pem(NODE, MIDDLE))
    write(tmp_path, "n.key", NODE.key_pem())
    write(tmp_path, "ca.pem", pem(ROOT))
    endpoint = {"name": "route", "role": "route", "certificate": "n.pem", "key": "n.key",
                "ca": "ca.pem"}  # fmt: skip
    fleet = {
        "version": 1,
        "name": "f",
        "groups": [
            {
                "name": "g",
                "platform": "nats",
                "instances": [{"name": "n1", "endpoints": [endpoint]}],
            }
        ],
    }
    path = write(tmp_path, "fleet.yml", yaml.safe_dump(fleet))
    found = source(path)
    assert found.name == f"{path}: n1/route"
    assert [certificate.subject for certificate in found.chain] == ["CN=node", "CN=middle"]
    assert [trust.subject for trust in found.trusts] == ["CN=root"]
    assert len(found.usages) == len(("server", "client"))


def test_a_file_that_a_configuration_names_and_is_not_there_is_told_with_its_place(
    tmp_path: Path,
) -> None:
    """The place is that in the configuration."""
    write(tmp_path, "n.pem", pem(NODE))
    text = 'port: 1\ntls {\n  cert_file: "n.pem"\n  key_file: "gone.key"\n}\n'
    path = write(tmp_path, "nats.conf", text)
    found = read(path)
    (trouble,) = (
        inspected_source
        for inspected_source in found
        if isinstance(inspected_source, InspectionProblem)
    )
    assert trouble.message.startswith(f"{path}:2:")
    assert "gone.key" in trouble.message
    assert [
        inspected_source
        for inspected_source in found
        if isinstance(inspected_source, InspectedSource)
    ]


def test_a_directory_shows_what_is_ours_and_passes_over_the_rest(tmp_path: Path) -> None:
    """Readme files and pictures are no errors; a broken certificate is."""
    write(tmp_path, "README.md", "hello\n")
    write(tmp_path, "logo.png", b"\x89PNG\r\n\x1a\n\x00")
    write(tmp_path, "values.yml", "a: 1\n")
    write(tmp_path, "good.pem", pem(ROOT))
    write(tmp_path, "bad.pem", pem(NODE)[:200])
    found = read(tmp_path)
    assert [type(entry) for entry in found] == [InspectionProblem, InspectedSource]
    assert isinstance(found[0], InspectionProblem)
    assert "bad.pem:1" in found[0].message


def test_nothing_that_is_read_keeps_a_key(tmp_path: Path) -> None:
    """Sources hold that a key is there, and whose it is; the key is gone."""
    write(tmp_path, "all.pem", pem(NODE, ROOT) + NODE.key_pem())
    write(tmp_path, "all.yml", yaml.safe_dump({"k": NODE.key_pem().decode()}))
    body = NODE.key_pem().decode().splitlines()[1]
    for inspected_source in read(tmp_path):
        assert not holds_private_key(repr(inspected_source))
        assert body not in repr(inspected_source)


def test_remarks_tell_what_stacks_make_of_a_file(tmp_path: Path) -> None:
    """What Go skips and OpenSSL refuses is said with its line."""
    joined = pem(ROOT).rstrip() + pem(MIDDLE)
    found = source(write(tmp_path, "joined.pem", joined))
    assert any("a newline between them" in remark for remark in found.remarks)
