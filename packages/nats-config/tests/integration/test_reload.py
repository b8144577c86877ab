"""The table of reloadable options agrees with what a running nats-server does."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nats_config import ReloadEffect, find_changes, read_config
from rigs.nats_oracle import binary, write_pem
from rigs.patience import Patience

BASE = """
server_name: n
listen: 127.0.0.1:-1
max_payload: 1000
system_account: S
accounts { S {} }
no_fast_producer_stall: false
lame_duck_duration: 40s
jetstream { store_dir: js, max_mem: 1MB }
tls { cert_file: server.pem, key_file: server-key.pem, timeout: 3, verify: off }
cluster { name: c, listen: 127.0.0.1:-1, pool_size: 3, routes: ['nats://127.0.0.1:9']
  tls { cert_file: server.pem, key_file: server-key.pem, ca_file: ca.pem, timeout: 4 } }
gateway { name: c, listen: 127.0.0.1:-1, connect_retries: 1
  tls { cert_file: server.pem, key_file: server-key.pem, ca_file: ca.pem, timeout: 5 }
  gateways [{name: d, url: "nats://127.0.0.1:1", tls { ca_file: ca.pem, timeout: 6 }}] }
leafnodes { listen: 127.0.0.1:-1, compression: off
  tls { cert_file: server.pem, key_file: server-key.pem, timeout: 7 }
  remotes [{url: "tls://127.0.0.1:2", tls { ca_file: ca.pem, timeout: 8 }}] }
websocket { listen: 127.0.0.1:-1, compression: false
  tls { cert_file: server.pem, key_file: server-key.pem, timeout: 9 } }
mqtt { listen: 127.0.0.1:-1, max_ack_pending: 10
  tls { cert_file: server.pem, key_file: server-key.pem, timeout: 11 } }
"""
SECTIONS = {
    "top": "timeout: 3",
    "cluster": "timeout: 4",
    "gateway": "timeout: 5",
    "gateway remote": "timeout: 6",
    "leafnodes": "timeout: 7",
    "leaf remote": "timeout: 8",
    "websocket": "timeout: 9",
    "mqtt": "timeout: 11",
}
PIN = f"pinned_certs: ['{'a' * 64}']"
TLS_EDITS = {
    "timeout": "timeout: 12",
    "verify_and_map": "verify_and_map: true",
    "pinned_certs": PIN,
    "min_version": "min_version: '1.3'",
    "handshake_first": "handshake_first: true",
    "connection_rate_limit": "connection_rate_limit: 5",
    "insecure": "insecure: true",
    "ocsp_peer": "ocsp_peer: false",
}
OTHER_EDITS = (
    ("max_payload: 1000", "max_payload: 1001"),
    ("max_payload: 1000", ""),
    ("no_fast_producer_stall: false", "no_fast_producer_stall: true"),
    ("lame_duck_duration: 40s", "lame_duck_duration: 41s"),
    ("pool_size: 3", "pool_size: 4"),
    ("127.0.0.1:9", "127.0.0.1:3"),
    ("connect_retries: 1", "connect_retries: 2"),
    ("compression: off", "compression: s2_fast"),
    ("compression: false", "compression: true"),
    ("max_ack_pending: 10", "max_ack_pending: 11"),
    ("remotes [{", "remotes [{url: 'nats://127.0.0.1:4'}, {"),
    ("remotes [{", "remotes [{hub: true, "),
    ("name: d", "name: e"),
    ("server_name: n", "server_name: m"),
    ("server_name: n", "server_name: n\nserver_tags: [a]\nclient_advertise: 'a:1'"),
    ("server_name: n", "server_name: n\nauthorization { user: a, password: b }"),
    ("S {}", "S {}, A { users [{user: a, password: b}] }"),
    ("server_name: n", "server_name: n\nmax_pending: 10000000"),
    ("server_name: n", "server_name: n\nallow_non_tls: true"),
    ("server_name: n", "server_name: n\nhttp: 127.0.0.1:-1"),
    ("server_name: n", "server_name: n\nping_interval: '1m'\nwrite_deadline: '3s'"),
)
DEADLINE_SECONDS = 60


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run nats-server in a folder until the block ends."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary(), "-c", "n.conf"], cwd=folder, stderr=log, stdout=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE_SECONDS)


def said(folder: Path, *, once: int, words: tuple[str, ...]) -> str:
    """Wait until the log holds one of the words beyond an offset, and return what follows it."""
    patience = Patience(DEADLINE_SECONDS)
    while patience.lasts():
        text = (folder / "log").read_text()[once:]
        if any(word in text for word in words):
            return text
        time.sleep(0.01)
    raise AssertionError((folder / "log").read_text())


def refuses(folder: Path, process: subprocess.Popen[bytes], text: str) -> bool:
    """Reload with a text and say whether the server refused it."""
    once = len((folder / "log").read_text())
    (folder / "n.conf").write_text(text)
    process.send_signal(signal.SIGHUP)
    answers = ("Reloaded server configuration", "Failed to reload server configuration")
    answer = said(folder, once=once, words=answers)
    assert ("not supported" in answer) == ("Failed to reload" in answer), answer
    return "Failed to reload" in answer


def expected(folder: Path, text: str) -> bool:
    """Return whether the table says that a reload with this text is refused."""
    (folder / "new.conf").write_text(text)
    (folder / "old.conf").write_text(BASE)
    before, after = (
        read_config(name, environment={}, cwd=folder).tree for name in ("old.conf", "new.conf")
    )
    found = find_changes(before, after)
    assert found
    return any(change.effect is ReloadEffect.REFUSED for change in found)


def edits() -> dict[str, str]:
    """Return every edited text under a name."""
    tls = {
        f"{section}: {option}": BASE.replace(
            anchor, written if option == "timeout" else f"{anchor}, {written}"
        )
        for section, anchor in SECTIONS.items()
        for option, written in TLS_EDITS.items()
    }
    removed = {
        f"{section}: no tls": re.sub(rf"tls {{ [^}}]*{anchor}[^}}]*}}", "", BASE)
        for section, anchor in SECTIONS.items()
        # nats-server refuses websocket without TLS, unless told so.
        if section != "websocket"
    }
    return (
        tls | removed | {f"{old} -> {new}": BASE.replace(old, new, 1) for old, new in OTHER_EDITS}
    )


def test_the_table_agrees_with_a_running_server(tmp_path: Path) -> None:
    """An edit is refused by the server exactly when the table says so; after each one, back."""
    write_pem(tmp_path)
    (tmp_path / "n.conf").write_text(BASE)
    wrong = []
    for name, text in edits().items():
        with running(tmp_path) as process:
            said(tmp_path, once=0, words=("Server is ready",))
            refused = refuses(tmp_path, process, text)
        (tmp_path / "n.conf").write_text(BASE)
        if refused != expected(tmp_path, text):
            wrong.append(f"{name}: server {'refuses' if refused else 'reloads'}")
    assert "\n".join(wrong) == ""
