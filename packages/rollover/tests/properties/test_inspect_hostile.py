"""Whatever somebody hands to `inspect`: findings or an error with its place, soon, and no key."""

from __future__ import annotations

import base64
import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rigs import commands
from rigs.examples_budget import examples
from rigs.pki_forge import CA, LEAF, NOW, forge
from rollover.certificates.inspect_findings import InspectionProblem
from rollover.certificates.inspect_report import report_on
from rollover.certificates.inspect_targets import Ways, read_targets
from rollover.fleet.certificate import KeyKind
from rollover.fleet.secret import holds_private_key
from rollover.pki.keys import generate, to_pem
from rollover.pki.pem import write_certificates

ROOT = forge("root", CA)
CHAIN = (forge("leaf", LEAF, by=ROOT).certificate, ROOT.certificate)
PEM = write_certificates(CHAIN)
DER = CHAIN[0].der
KEY = to_pem(generate(KeyKind.P256))
SECRET = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "nats"},
        "data": {
            "tls.crt": base64.b64encode(PEM).decode(),
            "tls.key": base64.b64encode(KEY).decode(),
        },
    }
).encode()
CONFIGURATION = b'cluster { port: 6222, tls { cert_file: "a.pem", key_file: "a.key" } }\n'
NAMES = st.sampled_from(["x.pem", "x.der", "x.p12", "x.yml", "x.json", "x.conf", "x", "x.key"])
SEEDS = st.sampled_from([PEM, DER, PEM + KEY, SECRET, CONFIGURATION, KEY])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw something sound with parts of it cut out, repeated or replaced."""
    data = draw(SEEDS)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        data = data[:start] + draw(st.binary(max_size=20)) + data[end:]
    return data


def survives(name: str, data: bytes) -> None:
    """Inspect the data as a file of this name and check what comes back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        found = tuple(read_targets([str(path)], Ways({}, Path(folder))))
        assert found
        for source in found:
            if isinstance(source, InspectionProblem):
                assert source.message.startswith(folder)
        result = report_on(found, trusted=(ROOT.certificate,), now=NOW + timedelta(days=1))
        shown = commands.run("inspect", path, "--output", "json")
        assert not holds_private_key(repr(result) + shown.out + shown.talk)
        assert "Traceback" not in shown.talk


@examples(60)
@given(name=NAMES, data=st.one_of(damaged(), st.binary(min_size=1, max_size=300)))
@example("x", b"[" * 50_000)
@example("x.yml", b"[" * 50_000)
@example("x.json", b'{"a":' * 50_000)
@example("x.conf", b"a {" * 5_000)
@example("x.conf", b"a: $a\n")
@example("x.conf", b"include x.conf\n")
@example("x.yml", b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" * 2)
@example("x.pem", b"-----BEGIN CERTIFICATE-----\n" * 20_000)
@example("x.der", b"0\x84\xff\xff\xff\xff" + b"0\x82\x01\x00" * 5_000)
@example("x.p12", b"0\x82\x10\x00\x02\x01\x030\x82")
@example("x.yml", b"---\n" * 50_000)
@example("x.yml", b"--- a\n" * 50_000)
def test_no_input_makes_it_fail_in_a_way_of_its_own(name: str, data: bytes) -> None:
    """Broken files of every format end in findings or an error that names the file."""
    survives(name, data)


@pytest.mark.parametrize("data", [PEM + KEY, SECRET, KEY], ids=["pem", "secret", "key"])
@pytest.mark.parametrize("name", ["x", "x.yml", "x.pem", "x.conf"])
def test_a_sound_key_under_any_name_is_not_shown(name: str, data: bytes) -> None:
    """A wrong ending does not make a key appear in a message."""
    survives(name, data)
