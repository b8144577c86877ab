"""The vars store on disk: whole at every moment, private, one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

from bosh_interpolate import FileStore, ManifestError, load
from rigs.patience import Patience

WAIT_SECONDS = 60
NAMES = 12
WRITERS = 4

WRITER = """
import json, sys
from pathlib import Path
from bosh_interpolate import FileStore
store = FileStore(Path(sys.argv[1]))
sys.stdin.readline()
names = [f"v{number}" for number in range(int(sys.argv[3]))]
found = {name: store.add(name, lambda: f"made by {sys.argv[2]}") for name in names}
print(json.dumps(found))
"""

ENDLESS = """
import itertools, sys
from pathlib import Path
from bosh_interpolate import FileStore
store = FileStore(Path(sys.argv[1]))
for number in itertools.count(len(store.variables())):
    store.add(f"v{number}", lambda: "x" * 20000)
"""


def test_a_new_store_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """0600, in a directory that is made for it."""
    path = tmp_path / "deep" / "creds.yml"
    before = os.umask(0)
    try:
        FileStore(path).add("a", lambda: {"b": "c"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_text() == "a:\n  b: c\n"


def test_an_open_store_is_closed_to_others_when_it_is_written(tmp_path: Path) -> None:
    """`bosh` leaves 0644; the first new variable ends that."""
    path = tmp_path / "creds.yml"
    path.write_text("a: 1\n")
    path.chmod(0o644)
    FileStore(path).add("b", lambda: "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "a: 1\nb: two\n"


def test_what_is_stored_is_never_made_again(tmp_path: Path) -> None:
    """Also when somebody else stored it after the first look; nothing is written then."""
    path = tmp_path / "creds.yml"
    store = FileStore(path)
    assert store.variables() == {}
    path.write_text("a: theirs\n")
    version = path.stat().st_mtime_ns
    assert store.add("a", lambda: pytest.fail("made again")) == "theirs"
    assert path.stat().st_mtime_ns == version


def test_what_another_process_adds_is_seen(tmp_path: Path) -> None:
    """The file is read anew when it changed."""
    path = tmp_path / "creds.yml"
    ours, theirs = FileStore(path), FileStore(path)
    theirs.add("a", lambda: 1)
    assert ours.variables() == {"a": 1}
    ours.add("b", lambda: 2)
    assert theirs.variables() == {"a": 1, "b": 2}


def test_a_value_that_cannot_be_made_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """Earlier values stay, no temporary file does."""
    path = tmp_path / "creds.yml"
    store = FileStore(path)
    store.add("a", lambda: 1)

    def fail() -> str:
        raise ManifestError("no")

    with pytest.raises(ManifestError, match="no"):
        store.add("b", fail)
    assert path.read_text() == "a: 1\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == [".creds.yml.lock", "creds.yml"]


def test_the_file_behind_a_link_is_written(tmp_path: Path) -> None:
    """The link stays a link."""
    real, link = tmp_path / "real.yml", tmp_path / "creds.yml"
    real.write_text("a: 1\n")
    link.symlink_to(real)
    FileStore(link).add("b", lambda: 2)
    assert link.is_symlink()
    assert real.read_text() == "a: 1\nb: 2\n"


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Damaged or out of reach: the path and the reason, never its content."""
    path = tmp_path / "creds.yml"
    path.write_text("a: [secret")
    with pytest.raises(ManifestError, match=r"file store '.*creds.yml': yaml: line 1: did not"):
        FileStore(path).variables()
    with pytest.raises(ManifestError, match="Reading variables from file store"):
        FileStore(path / "below").variables()


def test_a_lock_that_is_never_given_back_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """The wait has an end, and the message names the store."""
    path = tmp_path / "creds.yml"
    waiting = FileStore(path, lock_timeout_seconds=0.1)

    def meanwhile() -> int:
        with pytest.raises(ManifestError, match="another process"):
            waiting.add("b", lambda: 2)
        return 1

    FileStore(path).add("a", meanwhile)
    assert path.read_text() == "a: 1\n"


def test_writers_at_the_same_time_agree_on_every_value(tmp_path: Path) -> None:
    """Each variable is made by one of them, and all of them get that value."""
    path = tmp_path / "creds.yml"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), str(NAMES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    answers = [json.loads(writer.communicate(timeout=WAIT_SECONDS)[0]) for writer in writers]
    assert answers == [load(path.read_bytes())] * WRITERS
    assert len(answers[0]) == NAMES


def test_killed_at_any_moment_the_store_is_whole(tmp_path: Path) -> None:
    """After `kill -9` the file holds every variable that was stored before, complete."""
    path = tmp_path / "creds.yml"
    stored = 0
    for delay_seconds in (0.0, 0.003, 0.011, 0.023):
        writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)])
        patience = Patience(WAIT_SECONDS)
        while len(FileStore(path).variables()) <= stored + 1:
            assert patience.lasts()
            sleep(0.005)
        sleep(delay_seconds)
        writer.send_signal(signal.SIGKILL)
        writer.wait(WAIT_SECONDS)
        found = load(path.read_bytes())
        assert isinstance(found, dict)
        assert len(found) > stored
        assert found == {f"v{number}": "x" * 20000 for number in range(len(found))}
        stored = len(found)
