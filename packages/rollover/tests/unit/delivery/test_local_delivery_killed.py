"""A delivery killed with SIGKILL at every single system call ends wholly old or wholly new."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

DYING = '''
"""Runs VERB in forked children, each killed at one file operation later than the last."""
import json, os, signal, sys
from pathlib import Path
from rollover.delivery.local import LocalDelivery
from rollover.engine.ports import DeliveredFile
from rollover.fleet.secret import SecretBytes

WATCHED = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "os.chown"}
base, verb = Path(sys.argv[1]), sys.argv[2]

def files(tls):
    return (
        DeliveredFile(path=str(tls / "server.pem"), content=b"new"),
        DeliveredFile(path=str(tls / "server.key"), content=SecretBytes(b"new")),
        DeliveredFile(path=str(tls / "added.pem"), content=b"new"),
    )

def die_at(number):
    left = [number]
    def hook(event, arguments):
        if event in WATCHED:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def in_child(action, number):
    pid = os.fork()
    if pid == 0:
        die_at(number)
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def seen(tls, delivery):
    receipts = delivery.recover("n1")
    found = {path.name: path.read_bytes().decode() for path in tls.iterdir()}
    return {"files": found, "receipts": len(receipts)}

told = []
for number in range(1, 400):
    tls = base / str(number)
    tls.mkdir()
    for name in ("server.pem", "server.key"):
        (tls / name).write_bytes(b"old")
    delivery = LocalDelivery(state=base / f"state-{number}")
    if verb == "deliver":
        code = in_child(lambda: delivery.deliver("n1", files(tls)), number)
    elif verb == "recover":
        # Dies between the renames of a delivery first, then while that is mended.
        in_child(lambda: delivery.deliver("n1", files(tls)), int(sys.argv[3]))
        code = in_child(lambda: delivery.recover("n1"), number)
    else:
        receipt = delivery.deliver("n1", files(tls))
        code = in_child(lambda: getattr(delivery, verb)(receipt), number)
    mixed = {path.name: path.read_bytes().decode() for path in tls.iterdir()}
    told.append({"before": mixed, **seen(tls, delivery)})
    if code == 0:
        break
print(json.dumps(told))
'''

OLD = {"server.pem": "old", "server.key": "old"}
NEW = {"server.pem": "new", "server.key": "new", "added.pem": "new"}
WAITING = NEW | {"server.pem.rollover-kept": "old", "server.key.rollover-kept": "old"}


class Death(NamedTuple):
    """What one killed process left behind, and what was there after mending."""

    before: dict[str, str]
    files: dict[str, str]
    receipts: int


def _deaths(tmp_path: Path, *arguments: str) -> list[Death]:
    base = tmp_path / "-".join(arguments)
    base.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", DYING, str(base), *arguments],
        check=True,
        capture_output=True,
        timeout=1200,
    )
    return [Death(**told) for told in json.loads(ended.stdout)]


def _is_mixed(files: dict[str, str]) -> bool:
    return len({files.get(name) for name in NEW}) > 1 and files.get("server.pem") == "new"


def test_a_killed_delivery_is_wholly_old_or_wholly_new_after_mending(tmp_path: Path) -> None:
    """Old without a trace, or new with the old kept and a receipt to decide about."""
    deaths = _deaths(tmp_path, "deliver")

    assert all((death.files, death.receipts) in ((OLD, 0), (WAITING, 1)) for death in deaths), (
        deaths
    )
    assert len(deaths) > 20
    assert any(_is_mixed(death.before) for death in deaths), "no kill fell between the renames"
    assert deaths[0].files == OLD
    assert deaths[-1].files == WAITING


def test_a_killed_restore_is_finished(tmp_path: Path) -> None:
    """New as before the restore began, or old once it has."""
    deaths = _deaths(tmp_path, "restore")

    assert all((death.files, death.receipts) in ((OLD, 0), (WAITING, 1)) for death in deaths), (
        deaths
    )
    assert len(deaths) > 10
    assert deaths[-1].files == OLD


def test_a_killed_confirmation_is_finished(tmp_path: Path) -> None:
    """The new files stay in any case; old keys do not lie about afterwards."""
    deaths = _deaths(tmp_path, "confirm")

    assert all((death.files, death.receipts) in ((NEW, 0), (WAITING, 1)) for death in deaths), (
        deaths
    )
    assert deaths[-1].files == NEW


def test_mending_can_be_killed_itself(tmp_path: Path) -> None:
    """A second kill, at any point of the mending, changes nothing about the end."""
    at = next(
        number
        for number, death in enumerate(_deaths(tmp_path, "deliver"), start=1)
        if _is_mixed(death.before)
    )
    deaths = _deaths(tmp_path, "recover", str(at))

    assert [death.files for death in deaths] == [OLD] * len(deaths)
    assert len(deaths) > 5


@pytest.mark.parametrize("verb", ["deliver", "restore"])
def test_no_temporary_file_outlives_the_mending(tmp_path: Path, verb: str) -> None:
    """Staged keys are removed with the rest."""
    names = {name for death in _deaths(tmp_path, verb) for name in death.files}

    assert not any(name.endswith(".rollover-new") for name in names)
