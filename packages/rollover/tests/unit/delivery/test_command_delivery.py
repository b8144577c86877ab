"""Delivery by an operator's command: what it is given, what its end means, what it may not see."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rigs.patience import Patience
from rigs.stored import leaf
from rollover.delivery.command import OperatorCommandDelivery, Verb
from rollover.engine.ports import DeliveredFile
from rollover.errors import AdapterError, Denied, NotFound, Rejected, TimedOut
from rollover.fleet.secret import SecretBytes

FILES = (
    DeliveredFile(path="/etc/nats/server.pem", content=leaf().chain),
    DeliveredFile(path="/etc/nats/server.key", content=leaf().key),
)

EVERY_VERB = frozenset(Verb)


def _delivery(
    tmp_path: Path,
    body: str,
    *,
    verbs: frozenset[Verb] = frozenset({Verb.DELIVER, Verb.RESTORE}),
    timeout_seconds: float = 600.0,
    environment: dict[str, str] | None = None,
) -> OperatorCommandDelivery:
    """Return a delivery by a Python script, which has `verb`, `instance`, `directory`, `log`."""
    script = tmp_path / "carry.py"
    script.write_text(
        "import json, os, shutil, stat, subprocess, sys, time\nfrom pathlib import Path\n"
        "verb, instance, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])\n"
        f"remote = Path({str(tmp_path)!r}) / 'remote'\nremote.mkdir(exist_ok=True)\n"
        "manifest = json.loads((directory / 'manifest.json').read_text())\n"
        "with (remote / 'log').open('a') as log: print(verb, instance, file=log)\n" + body
    )
    return OperatorCommandDelivery(
        (sys.executable, str(script)),
        state=tmp_path / "state",
        environment=dict(os.environ) if environment is None else environment,
        timeout_seconds=timeout_seconds,
        verbs=verbs,
    )


def _log(tmp_path: Path) -> list[str]:
    return (tmp_path / "remote" / "log").read_text().splitlines()


def _left_in_state(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "state").rglob("*") if path.name != "lock"]


def test_the_command_finds_files_and_manifest(tmp_path: Path) -> None:
    """The manifest says what each file is and where it goes; the directory is private."""
    delivery = _delivery(
        tmp_path,
        "modes = [oct(directory.stat().st_mode & 0o777)]\n"
        "modes += [oct(p.stat().st_mode & 0o777) for p in directory.iterdir()]\n"
        "(remote / 'modes').write_text(' '.join(modes))\n"
        "shutil.copytree(directory, remote / 'copy')\n",
    )

    receipt = delivery.deliver("n1", FILES)

    copy = tmp_path / "remote" / "copy"
    manifest = json.loads((copy / "manifest.json").read_text())
    assert (manifest["version"], manifest["verb"], manifest["instance"]) == (1, "deliver", "n1")
    assert manifest["delivery"] == receipt.delivery
    assert [(f["path"], f["mode"], f["secret"]) for f in manifest["files"]] == [
        ("/etc/nats/server.pem", "", False),
        ("/etc/nats/server.key", "0600", True),
    ]
    contents = [(copy / file["file"]).read_bytes() for file in manifest["files"]]
    assert contents == [leaf().chain, leaf().key.reveal()]
    assert [file["sha256"] for file in manifest["files"]] == [f.after for f in receipt.files]
    assert (tmp_path / "remote" / "modes").read_text() == "0o700 0o600 0o600 0o600"


def test_nothing_of_the_delivery_stays_behind(tmp_path: Path) -> None:
    """The directory with the keys is gone after the command, whether it succeeded or not."""
    _delivery(tmp_path, "").deliver("n1", FILES)
    with pytest.raises(Rejected):
        _delivery(tmp_path, "sys.exit(verb == 'deliver')").deliver("n1", FILES)

    assert _left_in_state(tmp_path) == ["n1.d"]


def test_a_file_that_the_command_linked_is_not_shredded(tmp_path: Path) -> None:
    """Overwriting goes through every name of a file: one that got another name is left whole."""
    delivery = _delivery(
        tmp_path, "os.link(directory / manifest['files'][0]['file'], remote / 'server.pem')\n"
    )

    delivery.deliver("n1", FILES)

    assert (tmp_path / "remote" / "server.pem").read_bytes() == leaf().chain


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """The next delivery, or a recovery, shreds what a killed process left."""
    delivery = _delivery(tmp_path, "")
    delivery.recover("n1")
    parcel = tmp_path / "state" / "n1.d" / "parcel-0123"
    (parcel / "deep").mkdir(parents=True)
    (parcel / "deep" / "00-server.key").write_bytes(b"a key")

    assert delivery.recover("n1") == ()
    assert _left_in_state(tmp_path) == ["n1.d"]


def test_neither_arguments_nor_environment_hold_secrets(tmp_path: Path) -> None:
    """The name and the directory are told; our own variables, the sealing key's too, are not."""
    delivery = _delivery(
        tmp_path,
        "(remote / 'seen').write_text(json.dumps([sys.argv, dict(os.environ)]))\n",
        environment={"PATH": "/usr/bin:/bin", "ROLLOVER_SEALING_KEY": "c2VjcmV0"},
    )

    delivery.deliver("n1", FILES)

    text = (tmp_path / "remote" / "seen").read_text()
    arguments, environment = json.loads(text)
    assert arguments[1:3] == ["deliver", "n1"]
    assert environment["ROLLOVER_VERB"] == "deliver"
    assert environment["ROLLOVER_INSTANCE"] == "n1"
    assert environment["ROLLOVER_DIRECTORY"] == arguments[3]
    assert "c2VjcmV0" not in text
    assert "PRIVATE KEY" not in text


def test_a_name_is_never_a_shell_word(tmp_path: Path) -> None:
    """What looks like shell is an ordinary name."""
    name = "n1; touch /tmp/x $(id) `id` *"

    _delivery(tmp_path, "").deliver(name, FILES)

    assert _log(tmp_path) == [f"deliver {name}"]


def test_what_the_command_says_is_in_the_receipt(tmp_path: Path) -> None:
    """Both streams, in order of their writing."""
    receipt = _delivery(
        tmp_path, "print('copied', flush=True)\nprint('reloaded', file=sys.stderr)\n"
    ).deliver("n1", FILES)

    assert receipt.output == "copied\nreloaded\n"


def test_an_exit_code_refuses_the_delivery_and_restores(tmp_path: Path) -> None:
    """The error tells code and last words; the old files are asked for at once."""
    delivery = _delivery(
        tmp_path, "if verb == 'deliver':\n  print('no route to n1')\n  sys.exit(7)\n"
    )

    with pytest.raises(Rejected, match=r"ended with 7 and said:\nno route to n1") as refusal:
        delivery.deliver("n1", FILES)
    assert "`n1`" in str(refusal.value)
    assert _log(tmp_path) == ["deliver n1", "restore n1"]


def test_a_restore_that_fails_as_well_is_told(tmp_path: Path) -> None:
    """Both failures are in the error, and that the files may be mixed."""
    delivery = _delivery(tmp_path, "print('broken at', verb)\nsys.exit(9)\n")

    with pytest.raises(Rejected, match=r"(?s)broken at deliver.*and then.*broken at restore") as e:
        delivery.deliver("n1", FILES)
    assert "partly new" in e.value.hint


@pytest.mark.parametrize(
    "saying",
    [
        "print(key)",
        "print(key[:-50])",
        "print(key.splitlines()[1])",
        "print('x' * 70000 + key)",
        "print('\\n'.join('x' * 99 for _ in range(700)) + key)",
        "print(key + 'x' * 65400)",
        "print('\\n'.join(l.strip().rjust(90) for l in key.splitlines()))",
    ],
)
def test_a_command_that_prints_the_key_does_not_leak_it(tmp_path: Path, saying: str) -> None:
    """Whole, cut, indented, at the edge of what is kept: no line of the key comes back."""
    delivery = _delivery(
        tmp_path,
        "if verb == 'restore': sys.exit()\n"
        f"key = (directory / manifest['files'][1]['file']).read_text()\n{saying}\nsys.exit(1)\n",
    )

    with pytest.raises(Rejected) as refusal:
        delivery.deliver("n1", FILES)

    body = leaf().key.reveal().decode().splitlines()[1]
    shown = f"{refusal.value}{refusal.value.hint}"
    assert not any(body[at : at + 20] in shown for at in range(len(body) - 20))


def test_endless_output_is_bounded_to_its_end(tmp_path: Path) -> None:
    """Megabytes are read and dropped; the last 64 KiB stay."""
    receipt = _delivery(tmp_path, "for n in range(200_000): print('line', n)\n").deliver(
        "n1", FILES
    )

    assert len(receipt.output) < 66_000
    assert receipt.output.startswith("[earlier output left out]\nline ")
    assert receipt.output.endswith("line 199999\n")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """After the time limit nothing of it runs any more, and the old files are asked for."""
    delivery = _delivery(
        tmp_path,
        "if verb == 'deliver':\n"
        "  child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "  (remote / 'pid').write_text(str(child.pid))\n"
        "  time.sleep(600)\n",
        timeout_seconds=3.0,
    )

    with pytest.raises(TimedOut, match=r"did not end within 3 s"):
        delivery.deliver("n1", FILES)

    assert _log(tmp_path) == ["deliver n1", "restore n1"]
    child = int((tmp_path / "remote" / "pid").read_text())
    assert _ends(child)


def test_a_command_that_leaves_something_running_does_not_hold_us_up(tmp_path: Path) -> None:
    """A background process that keeps the output open is not waited for."""
    delivery = _delivery(
        tmp_path,
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "(remote / 'pid').write_text(str(child.pid))\n"
        "print('done', flush=True)\n",
        timeout_seconds=60.0,
    )

    assert delivery.deliver("n1", FILES).output == "done\n"
    child = int((tmp_path / "remote" / "pid").read_text())
    assert _state(child) in {"R", "S", "D"}
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("argv", "kind"), [(("/nowhere/carry",), Rejected), (("/etc/passwd",), Denied)]
)
def test_a_command_that_cannot_be_started_is_named(
    tmp_path: Path, argv: tuple[str, ...], kind: type[AdapterError]
) -> None:
    """Missing or not executable, with the command in the error."""
    delivery = OperatorCommandDelivery(
        argv, state=tmp_path / "state", environment={}, verbs=EVERY_VERB
    )

    with pytest.raises(kind, match=argv[0]):
        delivery.deliver("n1", FILES)


def test_restore_and_confirm_name_the_delivery_and_carry_no_contents(tmp_path: Path) -> None:
    """The command is told which delivery and paths; it has kept the files itself."""
    delivery = _delivery(
        tmp_path,
        "(remote / verb).write_text(json.dumps([manifest, sorted(os.listdir(directory))]))\n",
        verbs=EVERY_VERB,
    )
    receipt = delivery.deliver("n1", FILES)
    delivery.restore(receipt)
    delivery.confirm(receipt)

    for verb in ("restore", "confirm"):
        manifest, names = json.loads((tmp_path / "remote" / verb).read_text())
        assert manifest["delivery"] == receipt.delivery
        assert [file["path"] for file in manifest["files"]] == [file.path for file in FILES]
        assert names == ["manifest.json"]


def test_verbs_that_the_command_does_not_know_are_not_asked_of_it(tmp_path: Path) -> None:
    """Confirm is then nothing to do; restore and read are refused with the remedy."""
    delivery = _delivery(tmp_path, "", verbs=frozenset({Verb.DELIVER}))
    receipt = delivery.deliver("n1", FILES)

    delivery.confirm(receipt)
    with pytest.raises(Rejected, match="cannot put files back"):
        delivery.restore(receipt)
    with pytest.raises(Rejected, match="cannot read files back"):
        delivery.read("n1", ("/etc/nats/server.pem",))
    assert _log(tmp_path) == ["deliver n1"]


def test_files_are_read_back_by_the_command(tmp_path: Path) -> None:
    """It writes each file of the manifest into the directory."""
    delivery = _delivery(
        tmp_path,
        "for f in manifest['files']: (directory / f['file']).write_text('at ' + f['path'])\n",
        verbs=EVERY_VERB,
    )

    assert delivery.read("n1", ("/a/x.pem", "/b/x.pem")) == {
        "/a/x.pem": b"at /a/x.pem",
        "/b/x.pem": b"at /b/x.pem",
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("pass", NotFound),
        ("(directory / manifest['files'][0]['file']).symlink_to('/etc/hostname')", Rejected),
        ("(directory / manifest['files'][0]['file']).write_bytes(bytes(1048577))", Rejected),
        ("(directory / manifest['files'][0]['file']).mkdir()", Rejected),
        ("sys.exit(3)", Rejected),
    ],
    ids=["missing", "link", "too large", "directory", "failed"],
)
def test_what_the_command_reads_back_is_not_trusted(
    tmp_path: Path, body: str, kind: type[AdapterError]
) -> None:
    """Missing files, links, huge files and directories are errors with the path."""
    delivery = _delivery(tmp_path, body, verbs=EVERY_VERB)

    with pytest.raises(kind):
        delivery.read("n1", ("/etc/nats/server.pem",))


def test_a_key_that_others_could_read_is_refused_before_the_command_runs(tmp_path: Path) -> None:
    """The rule on modes is the same in both forms of delivery."""
    file = DeliveredFile(path="/etc/nats/server.key", content=SecretBytes(b"k"), mode=0o644)

    with pytest.raises(Rejected, match="holds a private key"):
        _delivery(tmp_path, "").deliver("n1", (file,))
    assert not (tmp_path / "remote").exists()


def _ends(pid: int, *, seconds: float = 60.0) -> bool:
    """Wait until a process that is not our child has ended."""
    patience = Patience(seconds)
    while patience.lasts():
        if _state(pid) in {"", "Z"}:
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> str:
    """Return the kernel's letter for what a process does; empty: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
