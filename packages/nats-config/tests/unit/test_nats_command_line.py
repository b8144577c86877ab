"""How systemd units start nats-server."""

from __future__ import annotations

import pytest

from nats_config.errors import NatsConfigError
from nats_config.systemd_unit import read_unit


@pytest.mark.parametrize(
    ("line", "config", "flags"),
    [
        ("/usr/bin/nats-server -c /etc/nats.conf", "/etc/nats.conf", ()),
        ("-/usr/bin/nats-server --config=a.conf -m 8222", "a.conf", ()),
        ("nats-server -p 4222 --tls --tlscert x.pem", "", ("--tls", "--tlscert")),
        ("nats-server -config 'a b.conf' -tlsverify=true", "a b.conf", ("--tlsverify",)),
        ("nats-server -c a.conf --tls=false", "a.conf", ()),
        ("/usr/bin/env -i nats-server -c a.conf", "a.conf", ()),
        ("nats-server -c", "", ()),
    ],
)
def test_flags_are_read_as_go_reads_them(line: str, config: str, flags: tuple[str, ...]) -> None:
    """One dash or two, `=` or a space, behind whatever stands before the server."""
    (started,) = read_unit(f"[Service]\nExecStart={line}\n", name="nats.service")
    assert (started.config, started.tls_flags) == (config, flags)


def test_the_place_the_directory_and_long_lines() -> None:
    """A line goes on behind a backslash, comments within it do not count; `/` unless it is said."""
    text = (
        "[Service]\n# ExecStart=nats-server\nExecStart=nats-server \\\n"
        "  # all of them\n  -c n.conf\nWorkingDirectory=/srv\n"
    )
    (started,) = read_unit(text, name="n.service")
    assert str(started.place) == "n.service:3:1"
    assert (started.directory, started.config) == ("/srv", "n.conf")
    (other,) = read_unit("ExecStart=nats-server -c n.conf", name="n.service")
    assert other.directory == "/"


def test_an_empty_line_takes_back_what_stood_before() -> None:
    """As in a drop-in: `ExecStart=` alone, then the new one."""
    text = "ExecStart=nats-server --tls\nExecStart=\nExecStart=nats-server -c a.conf\n"
    (started,) = read_unit(text, name="n.service")
    assert started.config == "a.conf"
    assert not started.tls_flags


@pytest.mark.parametrize("text", ["", "[Service]\nExecStart=/bin/true\n", "ExecStart='open\n"])
def test_what_starts_no_server_is_an_error_with_its_place(text: str) -> None:
    """A check of another unit must not look like one that found nothing."""
    with pytest.raises(NatsConfigError) as caught:
        read_unit(text, name="n.service")
    assert caught.value.place.startswith("n.service:")
