"""One value of a configuration is changed where it stands; every other byte stays."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nats_config import Position, TlsContext, parse_text, read_server_config
from nats_config.config import Config, quote, replace_string
from nats_config.server import ServerConfig


def read(text: bytes) -> ServerConfig:
    """What a text makes of a server that runs in `/srv`."""
    tree = parse_text(text, place="n.conf", include=lambda *_: b"", environment={})
    config = Config(path="n.conf", tree=tree, files=("n.conf",), digest="")
    return read_server_config(config, cwd=PurePath("/srv"))


def place(text: bytes, context: TlsContext = TlsContext.TOP) -> Position:
    """Where `ca_file` of a block stands."""
    block = read(text).block(context)
    assert block is not None
    assert block.ca_file is not None
    return block.ca_file.place


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"tls { ca_file: old.pem }", b'tls { ca_file: "new.pem" }'),
        (b"tls { ca_file: old.pem, verify: true }", b'tls { ca_file: "new.pem", verify: true }'),
        (b'tls { ca_file = "old.pem" }', b'tls { ca_file = "new.pem" }'),
        (b"tls {\r\n\tca_file 'old.pem' # why\r\n}", b'tls {\r\n\tca_file "new.pem" # why\r\n}'),
        (b'tls { "CA_File" : old.pem; }', b'tls { "CA_File" : "new.pem"; }'),
        (
            b"name: old.pem\ntls { ca_file: $name }\n",
            b'name: old.pem\ntls { ca_file: "new.pem" }\n',
        ),
        (
            b"# \xff old.pem\ntls { ca_file: old.pem } # old.pem",
            b'# \xff old.pem\ntls { ca_file: "new.pem" } # old.pem',
        ),
    ],
)
def test_only_the_value_is_replaced(before: bytes, after: bytes) -> None:
    """Quotes, separators, comments, line ends, even bytes that are no text: as they were."""
    assert replace_string(before, place(before), "new.pem") == after


def test_the_block_that_is_meant_is_the_one_that_changes() -> None:
    """Several blocks may say the same."""
    text = b"tls { ca_file: ca.pem }\ngateway { name: a, port: 1, tls { ca_file: ca.pem } }\n"
    changed = replace_string(text, place(text, TlsContext.GATEWAY), "new.pem")
    blocks = read(changed)
    assert place(changed) == place(text)
    top, gateway = blocks.block(TlsContext.TOP), blocks.block(TlsContext.GATEWAY)
    assert top is not None
    assert gateway is not None
    assert (top.ca_file and top.ca_file.written) == "ca.pem"
    assert (gateway.ca_file and gateway.ca_file.written) == "new.pem"


def test_a_place_without_a_key_is_an_error() -> None:
    """Nothing is changed where the text is not what it was."""
    with pytest.raises(KeyError):
        replace_string(b"tls { ca_file: ca.pem }", Position("n.conf", 1, 2), "new.pem")


@given(
    some.text(some.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)
)
def test_every_path_is_read_as_it_was_written(path: str) -> None:
    """Quotes, backslashes, line breaks and brackets among them."""
    text = b"tls { ca_file: ca.pem, verify: true }"
    changed = read(replace_string(text, place(text), path)).block(TlsContext.TOP)
    assert changed is not None
    assert changed.ca_file is not None
    assert changed.ca_file.written == path
    assert changed.verify
    assert quote(path).startswith('"')
