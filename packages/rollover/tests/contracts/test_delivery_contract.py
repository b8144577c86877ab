"""The contract of file delivery, on every form of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rollover.delivery.command import OperatorCommandDelivery, Verb
from rollover.delivery.local import LocalDelivery
from rollover.engine.ports import DeliveredFile, Delivery
from rollover.errors import NotFound, Rejected
from rollover.fleet.secret import SecretBytes

CARRIER = """
import json, shutil, sys
from pathlib import Path
verb, instance, directory = sys.argv[1], sys.argv[2], Path(sys.argv[3])
files = json.loads((directory / "manifest.json").read_text())["files"]
def kept(file): return Path(file["path"] + ".rollover-kept")
if verb == "deliver":
    if not all(Path(f["path"]).parent.is_dir() for f in files): sys.exit("no such directory")
    for f in files:
        if not kept(f).exists(): shutil.copy(f["path"], kept(f))
        shutil.copy(directory / f["file"], f["path"])
for f in files:
    if verb == "restore" and kept(f).exists(): kept(f).replace(f["path"])
    if verb == "confirm": kept(f).unlink(missing_ok=True)
    if verb == "read" and Path(f["path"]).exists(): shutil.copy(f["path"], directory / f["file"])
"""


@pytest.fixture(params=["local", "command"])
def delivery(request: pytest.FixtureRequest, tmp_path: Path) -> Delivery:
    """One delivery of each form."""
    if request.param == "local":
        return LocalDelivery(state=tmp_path / "state")
    (tmp_path / "carrier.py").write_text(CARRIER)
    return OperatorCommandDelivery(
        (sys.executable, str(tmp_path / "carrier.py")),
        state=tmp_path / "state",
        environment=dict(os.environ),
        verbs=frozenset(Verb),
    )


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    """A certificate and a key that hold `old`."""
    for name in ("server.pem", "server.key"):
        (tmp_path / name).write_bytes(b"old")
    return (str(tmp_path / "server.pem"), str(tmp_path / "server.key"))


def _files(paths: tuple[str, str]) -> tuple[DeliveredFile, ...]:
    return (
        DeliveredFile(path=paths[0], content=b"new"),
        DeliveredFile(path=paths[1], content=SecretBytes(b"new")),
    )


def _has(delivery: Delivery, paths: tuple[str, str], content: bytes) -> bool:
    return delivery.read("n1", paths) == dict.fromkeys(paths, content)


def test_what_is_delivered_is_there(delivery: Delivery, paths: tuple[str, str]) -> None:
    """Both files are new, and the receipt names them with their digests."""
    receipt = delivery.deliver("n1", _files(paths))

    assert _has(delivery, paths, b"new")
    assert (receipt.instance, tuple(file.path for file in receipt.files)) == ("n1", paths)
    assert len({file.after for file in receipt.files}) == 1


def test_restore_puts_back_what_was_there(delivery: Delivery, paths: tuple[str, str]) -> None:
    """All files are old again; asking twice does no harm."""
    receipt = delivery.deliver("n1", _files(paths))
    delivery.restore(receipt)
    delivery.restore(receipt)

    assert _has(delivery, paths, b"old")


def test_after_confirm_nothing_is_put_back(delivery: Delivery, paths: tuple[str, str]) -> None:
    """A confirmed delivery stays; asking twice does no harm."""
    receipt = delivery.deliver("n1", _files(paths))
    delivery.confirm(receipt)
    delivery.confirm(receipt)
    delivery.restore(receipt)

    assert _has(delivery, paths, b"new")


def test_a_delivery_that_fails_leaves_all_as_it_was(
    delivery: Delivery, paths: tuple[str, str]
) -> None:
    """A missing directory refuses the files that could have been written too."""
    missing = DeliveredFile(path=f"{paths[0]}.d/ca.pem", content=b"new")

    with pytest.raises(Rejected, match="n1") as refusal:
        delivery.deliver("n1", (*_files(paths), missing))
    assert refusal.value.hint
    assert _has(delivery, paths, b"old")


def test_delivering_twice_ends_as_once(delivery: Delivery, paths: tuple[str, str]) -> None:
    """The same files again can still be restored to what was there at first."""
    delivery.deliver("n1", _files(paths))
    receipt = delivery.deliver("n1", _files(paths))
    assert _has(delivery, paths, b"new")

    delivery.restore(receipt)

    assert _has(delivery, paths, b"old")


def test_reading_what_is_not_there_is_not_found(delivery: Delivery, paths: tuple[str, str]) -> None:
    """The error names the path."""
    with pytest.raises(NotFound, match=r"nothing\.pem"):
        delivery.read("n1", (f"{Path(paths[0]).parent}/nothing.pem",))
