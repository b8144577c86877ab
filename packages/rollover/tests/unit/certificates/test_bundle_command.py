"""`rollover bundle` as it is typed: sources, manifests, refusals and exit codes."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs import commands
from rigs.config_scenes import Desk, Tls
from rigs.pki_forge import CA, LEAF, Forged, forge
from rollover.errors import ExitCode
from rollover.pki.pem import read_certificates, write_certificates

NOW = datetime.now(UTC)


def ca(name: str) -> Forged:
    """A CA that is valid now."""
    return forge(name, CA, now=NOW)


def write(path: Path, *several: Forged, text: bytes = b"") -> Path:
    """Write a PEM file, with text before it."""
    path.write_bytes(text + write_certificates([pair.certificate for pair in several]))
    return path


def subjects(path: Path) -> list[str]:
    """The subjects of a bundle, in order."""
    found = read_certificates(path.read_bytes()).certificates
    return [certificate.subject for certificate in found]


def test_every_kind_of_source_goes_into_one_bundle(tmp_path: Path) -> None:
    """Files, a directory, a manifest and a configuration, in the order given; no key, no text."""
    a, b, c, d, e = (ca(name) for name in "abcde")
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.pem", b, text=b"password: hunter2\n" + a.key_pem())
    (folder / "README").write_text("nothing")
    write(tmp_path / "a.pem", a)
    write(tmp_path / "d.pem", d)
    desk = Desk(tmp_path, now=NOW)
    leaf = forge("n1", LEAF, by=e, now=NOW)
    config = desk.server(cluster=Tls((leaf,), (e,)))
    made = commands.run(
        "bundle", "build", tmp_path / "d.pem", "--kubernetes", "secret", "--name", "x",
        "-o", tmp_path / "d.yaml",
    )  # fmt: skip
    assert made.code == ExitCode.DONE, made.talk
    out = tmp_path / "out.pem"
    arguments = ("bundle", "build", tmp_path / "a.pem", folder, tmp_path / "d.yaml", config,
                 "--wider", write(tmp_path / "c.pem", c), "-o", out)  # fmt: skip
    ran = commands.run(*arguments)
    assert ran.code == ExitCode.DONE, ran.talk
    assert subjects(out) == ["CN=a", "CN=b", "CN=d", "CN=e", "CN=c"]
    assert b"hunter2" not in out.read_bytes()
    assert b"PRIVATE" not in out.read_bytes()
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    before = out.stat().st_mtime_ns
    assert "no change" in commands.run(*arguments).talk
    assert out.stat().st_mtime_ns == before


def test_a_secret_has_the_four_keys_and_is_private(tmp_path: Path) -> None:
    """`tls.crt`, `tls.key`, `ca.crt`, `cabundle.pem`; its own leaf is no source of trust."""
    root = ca("root")
    leaf = forge("n1", LEAF, by=root, now=NOW)
    write(tmp_path / "ca.pem", root)
    write(tmp_path / "leaf.pem", leaf)
    key = tmp_path / "leaf.key"
    key.write_bytes(leaf.key_pem())
    out = tmp_path / "secret.yaml"
    common = ("bundle", "build", tmp_path / "ca.pem", "--name", "nats-tls", "-o", out,
              "--cert-file", tmp_path / "leaf.pem", "--key-file", key)  # fmt: skip
    ran = commands.run(*common, "--kubernetes", "secret", "--namespace", "nats")
    assert ran.code == ExitCode.DONE, ran.talk
    text = out.read_text()
    for name in ("tls.crt", "tls.key", "ca.crt", "cabundle.pem", "kubernetes.io/tls"):
        assert name in text
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = tmp_path / "again.pem"
    assert commands.run("bundle", "build", out, "-o", again).code == ExitCode.DONE
    assert subjects(again) == ["CN=root"]
    assert commands.run(*common, "--kubernetes", "configmap").code == ExitCode.USAGE
    assert commands.run(*common).code == ExitCode.USAGE
    other = forge("n2", LEAF, by=root, now=NOW)
    key.write_bytes(other.key_pem())
    mismatch = commands.run(*common, "--kubernetes", "secret")
    assert "the key is not that of `CN=n1`" in mismatch.talk


def test_todays_trust_then_wider(tmp_path: Path) -> None:
    """What a configuration trusts, and one root more behind it."""
    desk = Desk(tmp_path, now=NOW)
    config = desk.server(gateway=Tls((desk.leaf(),), (desk.root,)))
    out = tmp_path / "out.pem"
    ran = commands.run("bundle", "build", "--today", config, "-o", out, "--output", "json")
    assert ran.code == ExitCode.DONE, ran.talk
    assert [member["wider"] for member in ran.json["bundle"]["members"]] == [False]
    wider = write(tmp_path / "wider.pem", ca("X1"))
    commands.run("bundle", "build", "--today", config, "--wider", wider, "-o", out)
    assert subjects(out) == ["CN=Acme Root", "CN=X1"]


def test_roles_choose_blocks_of_a_configuration(tmp_path: Path) -> None:
    """Without one there is nothing to choose from."""
    out = tmp_path / "ca.pem"
    for said, words in (
        ("name it with `--today`", (write(tmp_path / "a.pem", ca("A")), "--roles", "gateway")),
        ("there is no role `gate`", ("--today", tmp_path / "n.conf", "--roles", "gate")),
    ):
        ran = commands.run("bundle", "build", *words, "-o", out)
        assert ran.code == ExitCode.USAGE
        assert said in ran.talk
    assert not out.exists()


def test_add_remove_and_diff_by_configurations(tmp_path: Path) -> None:
    """What breaks a peer is refused with code 3, unless somebody answers for it."""
    desk = Desk(tmp_path, now=NOW)
    old, new = desk.authority("Old"), desk.authority("New")
    config = desk.server(cluster=Tls((desk.leaf(by=old),), (old,)))
    bundle = tmp_path / "n1-cluster-ca.pem"
    ran = commands.run("bundle", "add", bundle, write(tmp_path / "new.pem", new))
    assert ran.code == ExitCode.DONE, ran.talk
    assert subjects(bundle) == ["CN=Old", "CN=New"]
    diff = commands.run("bundle", "diff", bundle, tmp_path / "new.pem", "--config", config)
    assert diff.code == ExitCode.REFUSED, diff.talk
    assert "- " in diff.out
    assert "would stop to work" in diff.out
    refused = commands.run("bundle", "remove", bundle, "Old", "--config", config)
    assert refused.code == ExitCode.REFUSED
    assert subjects(bundle) == ["CN=Old", "CN=New"]
    fine = commands.run("bundle", "remove", bundle, "New", "--config", config)
    assert fine.code == ExitCode.DONE, fine.talk
    commands.run("bundle", "add", bundle, tmp_path / "new.pem")
    assert commands.run("bundle", "remove", bundle, "Old", "--force", " ").code == ExitCode.USAGE
    forced = commands.run("bundle", "remove", bundle, "Old", "--config", config, "--force", "gone")
    assert forced.code == ExitCode.DONE
    assert "forced: gone" in forced.talk
    assert subjects(bundle) == ["CN=New"]
    nobody = commands.run("bundle", "diff", write(tmp_path / "x.pem", ca("X")), bundle,
                          "--config", config)  # fmt: skip
    assert nobody.code == ExitCode.EVIDENCE_MISSING
    assert commands.run("bundle", "diff", bundle, tmp_path / "x.pem").code == ExitCode.DONE


def test_check_says_on_which_stacks_a_bundle_fails(tmp_path: Path) -> None:
    """Joined blocks and a leaf are code 3; an expired member alone is not."""
    good, other = ca("good"), ca("other")
    path = write(tmp_path / "b.pem", good)
    assert commands.run("bundle", "check", path).code == ExitCode.DONE
    joined = write_certificates((good.certificate,)).rstrip() + write_certificates(
        (other.certificate,)
    )
    path.write_bytes(joined)
    ran = commands.run("bundle", "check", path)
    assert ran.code == ExitCode.REFUSED
    assert "fails on go, openssl" in ran.out
    expired = forge("late", CA._replace(days=(-9, -1)), now=NOW)
    ran = commands.run("bundle", "check", write(path, good, expired), "--output", "json")
    assert ran.code == ExitCode.DONE
    assert [remark["kind"] for remark in ran.json["bundle"]["remarks"]] == ["expired"]
    leaf = forge("n1", LEAF, by=good, now=NOW)
    assert commands.run("bundle", "check", write(path, good, leaf)).code == ExitCode.REFUSED


@pytest.mark.parametrize("command", ["build", "check", "add", "remove", "diff"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 1000, b"-----BEGIN CERTIFICATE-----\nAAAA", b"rubbish", os.urandom(64),
     b"apiVersion: v1\na: " + b"[" * 999, b"-----BEGIN CERTIFICATE-----\n" * 2000],
    ids=["empty", "zeros", "cut", "rubbish", "random", "deep", "many"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["x.pem", "x.yaml"])
def test_bad_input_is_an_error_with_its_place(
    tmp_path: Path, command: str, content: bytes, name: str
) -> None:
    """Whatever stands in a file: code 1, the file's name, nothing written, no trace."""
    path = tmp_path / name
    path.write_bytes(content)
    good = write(tmp_path / "good.pem", ca("good"))
    rest: dict[str, tuple[str | Path, ...]] = {
        "build": (path, "-o", tmp_path / "out.pem"),
        "check": (path,),
        "add": (good, path),
        "remove": (path, "12345678"),
        "diff": (good, path),
    }
    before = good.read_bytes()
    ran = commands.run("bundle", command, *rest[command])
    assert ran.code == ExitCode.USAGE, ran.talk
    assert name in ran.talk
    assert "hint:" in ran.talk
    assert "Traceback" not in ran.talk
    assert not (tmp_path / "out.pem").exists()
    assert good.read_bytes() == before


def test_a_subject_moves_no_cursor(tmp_path: Path) -> None:
    """Escapes and line ends in a subject are shown as what they are, in results and errors."""
    evil = ca("a\x1b[2Jb\nc")
    leaf = forge("d\x1b[2J", LEAF, by=evil, now=NOW)
    out = tmp_path / "out.pem"
    good, bad = write(tmp_path / "e.pem", evil), write(tmp_path / "l.pem", leaf)
    for arguments in (("build", good, "-o", out), ("check", good), ("build", bad, "-o", out),
                      ("remove", good, "nobody"), ("diff", good, out)):  # fmt: skip
        ran = commands.run("bundle", *arguments)
        assert "\x1b" not in ran.out + ran.talk
        assert "\\u001b" in ran.out + ran.talk or arguments[0] == "diff"


def test_a_crowd_of_places_and_notes_is_counted(tmp_path: Path) -> None:
    """Talk stays readable with two hundred servers; JSON has them all."""
    root = write(tmp_path / "root.pem", ca("Root"))
    configs: list[str | Path] = []
    for number in range(30):
        config = tmp_path / f"n{number}.conf"
        config.write_text(
            f"server_name: n{number}\n"
            f'tls {{ ca_file: "{root}", cert_file: "{root}", key_file: k, verify: true }}\n'
            f'mqtt {{ port: -1, tls {{ cert_file: "{root}", key_file: k, verify: true }} }}\n',
            encoding="utf-8",
        )
        configs += ["--today", config]
    out = tmp_path / "ca.pem"
    ran = commands.run("bundle", "build", *configs, "-o", out)
    assert ran.code == ExitCode.DONE
    assert "    and in 24 more places\n" in ran.talk
    assert "more remarks" in ran.talk
    assert len(ran.talk.splitlines()) < 40
    made = commands.run("bundle", "build", *configs, "-o", out, "--output", "json").json["bundle"]
    assert len(made["members"][0]["again"]) == 29
    assert len(made["notes"]) >= 30


def test_a_bundle_needs_a_file(tmp_path: Path) -> None:
    """No file of the name `-` appears."""
    ran = commands.run("bundle", "build", write(tmp_path / "a.pem", ca("A")), "--out", "-")
    assert ran.code == ExitCode.USAGE
    assert "--out ca.pem" in ran.talk
    assert not Path("-").exists()
