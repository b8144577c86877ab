"""Files delivered on this machine: all or none, private, kept until confirmed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from rigs.small_disk import mounted
from rollover.delivery.local import LocalDelivery
from rollover.engine.ports import DeliveredFile
from rollover.errors import AdapterError, Conflict, Denied, NotFound, Rejected
from rollover.fleet.secret import SecretBytes

OLD_CERTIFICATE, NEW_CERTIFICATE = b"old certificate", b"new certificate"
OLD_KEY, NEW_KEY = b"old key", SecretBytes(b"new key")


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """A directory with a certificate and its key, as a server has them."""
    return _server(tmp_path / "tls")


@pytest.fixture
def delivery(tmp_path: Path) -> LocalDelivery:
    """Delivery with a state directory of its own."""
    return LocalDelivery(state=tmp_path / "state")


def _server(directory: Path) -> Path:
    directory.mkdir()
    (directory / "server.pem").write_bytes(OLD_CERTIFICATE)
    (directory / "server.key").write_bytes(OLD_KEY)
    (directory / "server.key").chmod(0o600)
    return directory


def _files(directory: Path) -> tuple[DeliveredFile, ...]:
    return (
        DeliveredFile(path=str(directory / "server.pem"), content=NEW_CERTIFICATE),
        DeliveredFile(path=str(directory / "server.key"), content=NEW_KEY),
    )


def _contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


OLD = {"server.pem": OLD_CERTIFICATE, "server.key": OLD_KEY}
NEW = {"server.pem": NEW_CERTIFICATE, "server.key": b"new key"}
KEPT = {"server.pem.rollover-kept": OLD_CERTIFICATE, "server.key.rollover-kept": OLD_KEY}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_delivered_files_are_in_place_and_the_old_ones_kept(
    tls: Path, delivery: LocalDelivery
) -> None:
    """Until the change is confirmed both exist."""
    receipt = delivery.deliver("n1", _files(tls))

    assert _contents(tls) == NEW | KEPT
    assert [file.path for file in receipt.files] == [file.path for file in _files(tls)]


def test_confirming_drops_the_kept_files(tls: Path, delivery: LocalDelivery) -> None:
    """After it only the new files are left, and a restore does nothing."""
    receipt = delivery.deliver("n1", _files(tls))
    delivery.confirm(receipt)
    delivery.confirm(receipt)
    delivery.restore(receipt)

    assert _contents(tls) == NEW


def test_restoring_puts_back_the_very_files(tls: Path, delivery: LocalDelivery) -> None:
    """Content, mode and identity of the files are those from before; twice does no harm."""
    before = (tls / "server.key").stat()
    receipt = delivery.deliver("n1", _files(tls))
    delivery.restore(receipt)
    delivery.restore(receipt)

    after = (tls / "server.key").stat()
    assert _contents(tls) == OLD
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_new_file_is_removed_again_on_restore(tls: Path, delivery: LocalDelivery) -> None:
    """Where nothing was, nothing is afterwards."""
    receipt = delivery.deliver("n1", (DeliveredFile(path=str(tls / "ca.pem"), content=b"bundle"),))
    assert _contents(tls) == OLD | {"ca.pem": b"bundle"}

    delivery.restore(receipt)

    assert _contents(tls) == OLD


def test_keys_are_private_and_other_modes_stay(tls: Path, delivery: LocalDelivery) -> None:
    """0600 for keys whatever was there; certificates keep their mode, new ones get 0644."""
    (tls / "server.key").chmod(0o644)
    (tls / "server.pem").chmod(0o640)

    delivery.deliver(
        "n1", (*_files(tls), DeliveredFile(path=str(tls / "ca.pem"), content=b"bundle"))
    )

    modes = [_mode(tls / name) for name in ("server.key", "server.pem", "ca.pem")]
    assert modes == [0o600, 0o640, 0o644]


def test_a_mode_that_is_asked_for_is_set(tls: Path, delivery: LocalDelivery) -> None:
    """A server that reads its key through its group can have it so."""
    delivery.deliver(
        "n1", (DeliveredFile(path=str(tls / "server.key"), content=NEW_KEY, mode=0o640),)
    )

    assert _mode(tls / "server.key") == 0o640


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_key_that_others_could_read_is_refused(
    tls: Path, delivery: LocalDelivery, mode: int
) -> None:
    """No more than 0640, also on request."""
    with pytest.raises(Rejected, match="holds a private key"):
        delivery.deliver(
            "n1", (DeliveredFile(path=str(tls / "server.key"), content=NEW_KEY, mode=mode),)
        )
    assert _contents(tls) == OLD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_a_file_stays(tls: Path, delivery: LocalDelivery) -> None:
    """A server that runs as another user goes on reading its key."""
    os.chown(tls / "server.key", 65534, 65533)

    delivery.deliver("n1", _files(tls))

    status = (tls / "server.key").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65533, 0o600)


def test_a_link_stays_and_the_file_behind_it_changes(
    tmp_path: Path, tls: Path, delivery: LocalDelivery
) -> None:
    """Files that the configuration reaches through a link are written where they are."""
    link = tmp_path / "current.pem"
    link.symlink_to(tls / "server.pem")

    receipt = delivery.deliver("n1", (DeliveredFile(path=str(link), content=NEW_CERTIFICATE),))

    assert link.is_symlink()
    assert (tls / "server.pem").read_bytes() == NEW_CERTIFICATE
    delivery.restore(receipt)
    assert _contents(tls) == OLD


def test_a_volume_that_kubernetes_writes_is_refused(
    tmp_path: Path, delivery: LocalDelivery
) -> None:
    """The kubelet would undo the change; the remedy names what to change instead."""
    volume = tmp_path / "volume"
    (volume / "..2026_11_22").mkdir(parents=True)
    (volume / "..2026_11_22" / "tls.crt").write_bytes(OLD_CERTIFICATE)
    (volume / "..data").symlink_to("..2026_11_22")
    (volume / "tls.crt").symlink_to("..data/tls.crt")

    with pytest.raises(Rejected, match="Kubernetes") as refusal:
        delivery.deliver(
            "n1", (DeliveredFile(path=str(volume / "tls.crt"), content=NEW_CERTIFICATE),)
        )
    assert "Secret" in refusal.value.hint


def test_two_names_of_one_file_are_refused(tls: Path, delivery: LocalDelivery) -> None:
    """One of the two contents would be lost."""
    (tls.parent / "alias.pem").symlink_to(tls / "server.pem")
    files = (*_files(tls), DeliveredFile(path=str(tls.parent / "alias.pem"), content=b"other"))

    with pytest.raises(Rejected, match="are one file"):
        delivery.deliver("n1", files)
    assert _contents(tls) == OLD


@pytest.mark.parametrize(
    ("name", "kind", "cause"),
    [
        ("missing/ca.pem", Rejected, "directory does not exist"),
        ("server.pem/ca.pem", Rejected, "not a directory"),
        ("directory", Rejected, "not a plain file"),
        ("pipe", Rejected, "not a plain file"),
        ("x" * 250, Rejected, "name is too long"),
        ("/sys/kernel/ca.pem", Denied, "permi"),
        ("circle", Rejected, "not a plain file"),
    ],
)
def test_a_path_that_cannot_be_written_leaves_all_files_as_they_were(
    tls: Path, delivery: LocalDelivery, name: str, kind: type[AdapterError], cause: str
) -> None:
    """The second of three files fails: the error names it, and nothing has changed."""
    (tls / "directory").mkdir()
    os.mkfifo(tls / "pipe")
    (tls / "circle").symlink_to("circle")
    first, last = _files(tls)
    bad = DeliveredFile(path=str(tls / name), content=b"bundle")

    with pytest.raises(kind, match=cause) as refusal:
        delivery.deliver("n1", (first, bad, last))

    assert str(tls / name) in str(refusal.value)
    assert "`n1`" in str(refusal.value)
    assert refusal.value.hint
    names = {path.name for path in tls.iterdir()}
    assert names == {"server.pem", "server.key", "directory", "pipe", "circle"}
    assert (tls / "server.pem").read_bytes() == OLD_CERTIFICATE


@pytest.mark.parametrize("path", ["relative.pem", "", "/a\0b"])
def test_a_path_that_is_not_absolute_is_refused(delivery: LocalDelivery, path: str) -> None:
    """What it means would depend on where the program was started."""
    with pytest.raises(Rejected, match="not an absolute path"):
        delivery.deliver("n1", (DeliveredFile(path=path, content=b"x"),))


def test_a_full_disk_leaves_all_files_as_they_were(tmp_path: Path, delivery: LocalDelivery) -> None:
    """On a real disk without room: the remedy is told, no temporary file stays."""
    with mounted(tmp_path / "disk") as disk:
        tls = _server(disk.path / "tls")
        disk.fill()
        big = DeliveredFile(path=str(tls / "server.key"), content=SecretBytes(b"k" * 60_000))

        with pytest.raises(Rejected, match="disk is full") as refusal:
            delivery.deliver("n1", (_files(tls)[0], big))

        assert "room" in refusal.value.hint
        assert _contents(tls) == OLD


def test_a_full_disk_does_not_stop_the_restore(tmp_path: Path, delivery: LocalDelivery) -> None:
    """Putting back needs no room: the old files are still there."""
    with mounted(tmp_path / "disk") as disk:
        tls = _server(disk.path / "tls")
        receipt = delivery.deliver("n1", _files(tls))
        disk.fill()

        delivery.restore(receipt)

        assert _contents(tls) == OLD


def test_a_read_only_disk_is_told(tmp_path: Path, delivery: LocalDelivery) -> None:
    """A disk that went read-only keeps what it has."""
    with mounted(tmp_path / "disk") as disk:
        tls = _server(disk.path / "tls")
        disk.make_read_only()

        with pytest.raises(Denied, match="read-only") as refusal:
            delivery.deliver("n1", _files(tls))

        assert "writable" in refusal.value.hint
        assert _contents(tls) == OLD


def test_a_file_that_cannot_be_replaced_brings_back_those_that_were(
    tls: Path, delivery: LocalDelivery
) -> None:
    """The second rename fails: the first file, which is new by then, becomes old again."""
    if not _set_immutable(tls / "server.key", "+i"):
        pytest.skip("setting the immutable attribute needs root and a file system that has it")
    try:
        with pytest.raises(Denied, match=r"server\.key.*not permitted") as refusal:
            delivery.deliver("n1", _files(tls))
    finally:
        _set_immutable(tls / "server.key", "-i")

    assert "lsattr" in refusal.value.hint
    assert _contents(tls) == OLD
    assert delivery.recover("n1") == ()


def _set_immutable(path: Path, flag: str) -> bool:
    if shutil.which("chattr") is None:
        return False
    command = ["chattr", flag, str(path)]
    return subprocess.run(command, check=False, capture_output=True, timeout=300).returncode == 0


def test_a_full_disk_under_the_state_changes_nothing(tmp_path: Path, tls: Path) -> None:
    """Where the intent cannot be written down, nothing is begun."""
    with mounted(tmp_path / "disk") as disk:
        disk.fill()
        with pytest.raises(Rejected, match="disk is full"):
            LocalDelivery(state=disk.path / "state").deliver("n1", _files(tls))

    assert _contents(tls) == OLD


def test_the_same_delivery_again_gives_the_same_receipt(tls: Path, delivery: LocalDelivery) -> None:
    """A run that goes on after a crash delivers again and can still restore the first state."""
    first = delivery.deliver("n1", _files(tls))
    again = delivery.deliver("n1", _files(tls))
    delivery.restore(again)

    assert again == first
    assert _contents(tls) == OLD


def test_another_delivery_takes_the_unconfirmed_one_as_confirmed(
    tls: Path, delivery: LocalDelivery
) -> None:
    """Restoring goes back by one delivery, never by two."""
    first = delivery.deliver("n1", _files(tls))
    newer = DeliveredFile(path=str(tls / "server.pem"), content=b"newer certificate")
    second = delivery.deliver("n1", (newer,))

    delivery.restore(first)
    assert _contents(tls)["server.pem"] == b"newer certificate"
    delivery.restore(second)
    assert _contents(tls) == NEW


def test_a_failed_delivery_leaves_the_unconfirmed_one_to_be_restored(
    tls: Path, delivery: LocalDelivery
) -> None:
    """What was kept before stays kept when the next delivery does not come about."""
    first = delivery.deliver("n1", _files(tls))
    newer = DeliveredFile(path=str(tls / "server.pem"), content=b"newer certificate")
    with pytest.raises(Rejected):
        delivery.deliver("n1", (newer, DeliveredFile(path=str(tls / "missing/x"), content=b"")))

    assert delivery.recover("n1") == (first,)
    delivery.restore(first)
    assert _contents(tls) == OLD


def test_a_file_that_somebody_changed_meanwhile_is_not_overwritten(
    tls: Path, delivery: LocalDelivery
) -> None:
    """A restore puts back all files or, when one is somebody else's by now, none."""
    receipt = delivery.deliver("n1", _files(tls))
    (tls / "server.key").write_bytes(b"by hand")

    with pytest.raises(Conflict, match=r"server\.key.*somebody else") as refusal:
        delivery.restore(receipt)

    assert "server.key.rollover-kept" in refusal.value.hint
    assert _contents(tls) == NEW | KEPT | {"server.key": b"by hand"}


def test_a_kept_file_that_is_gone_is_told(tls: Path, delivery: LocalDelivery) -> None:
    """A restore never claims to have put back what it could not."""
    receipt = delivery.deliver("n1", _files(tls))
    (tls / "server.key.rollover-kept").unlink()

    with pytest.raises(Conflict, match="is gone"):
        delivery.restore(receipt)
    assert (tls / "server.pem").read_bytes() == NEW_CERTIFICATE


def test_files_are_read_back(tls: Path, delivery: LocalDelivery) -> None:
    """What the instance has now, by the paths that were asked."""
    path = str(tls / "server.pem")

    assert delivery.read("n1", (path,)) == {path: OLD_CERTIFICATE}


def test_reading_what_is_not_there_or_too_large_is_refused(
    tls: Path, delivery: LocalDelivery
) -> None:
    """A missing file, a directory and a file beyond the limit are errors with the path."""
    (tls / "large").write_bytes(bytes(1024 * 1024 + 1))

    with pytest.raises(NotFound, match=r"missing\.pem"):
        delivery.read("n1", (str(tls / "missing.pem"),))
    with pytest.raises(Rejected, match="not a plain file"):
        delivery.read("n1", (str(tls),))
    with pytest.raises(Rejected, match="more than 1048576 bytes"):
        delivery.read("n1", (str(tls / "large"),))


def test_instances_are_kept_apart_whatever_their_names(tls: Path, delivery: LocalDelivery) -> None:
    """A name with slashes or dots stays inside the state directory."""
    receipt = delivery.deliver("../../etc/n1", _files(tls))

    assert delivery.recover("..") == ()
    assert delivery.recover("../../etc/n1") == (receipt,)
    assert {path.name for path in (tls.parent / "state").iterdir()} == {
        "...d",
        "..%2F..%2Fetc%2Fn1.d",
    }


def test_the_state_holds_no_key_and_is_private(tls: Path, delivery: LocalDelivery) -> None:
    """Records name files and digests only."""
    delivery.deliver("n1", _files(tls))

    state = tls.parent / "state"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert not any(b"new key" in path.read_bytes() for path in files)
    assert {_mode(path) for path in files} == {0o600}
    assert {_mode(state), _mode(state / "n1.d")} == {0o700}


def test_a_damaged_record_is_told(tls: Path, delivery: LocalDelivery) -> None:
    """The remedy says what to look at before it is removed."""
    delivery.deliver("n1", _files(tls))
    record = next((tls.parent / "state" / "n1.d").glob("*.json"))
    record.write_bytes(b"{")

    with pytest.raises(Rejected, match="is damaged") as refusal:
        delivery.recover("n1")
    assert "rollover-kept" in refusal.value.hint
