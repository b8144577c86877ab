"""A configuration in its files: reads it with all that it includes, changes a value in place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from nats_config.digest import compute_digest
from nats_config.errors import NatsConfigError
from nats_config.lexer import SourceText, Token, TokenKind, tokens
from nats_config.parser import MAX_TEXT, parse_text
from nats_config.tree import ConfigRemark, Position, Table, Tree


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was read."""

    path: str
    tree: Tree
    files: tuple[str, ...]
    """Every file that was read, in the order of reading."""
    digest: str
    """What `nats-server -t` prints for it, and a running server in `/varz`: `sha256:...`."""

    @property
    def root(self) -> Table:
        """The top-level map."""
        return self.tree.root

    @property
    def remarks(self) -> tuple[ConfigRemark, ...]:
        """What nats-server accepts silently and a person should know."""
        return self.tree.remarks


def read_config(
    path: str | os.PathLike[str],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Config:
    """Read the file at `path` as nats-server would, started in `cwd` with `environment`.

    Both default to those of this process. Raises NatsConfigError with file, line and column.
    """
    files: list[str] = []
    base = Path(cwd) if cwd is not None else Path()

    def load(name: str, place: Position | None = None) -> bytes:
        files.append(name)
        return _content(base / name, place=str(place or name))

    name = os.fspath(path)
    tree = parse_text(
        load(name),
        place=name,
        include=load,
        environment=os.environ if environment is None else environment,
    )
    return Config(path=name, tree=tree, files=tuple(files), digest=compute_digest(tree))


def _content(path: Path, *, place: str) -> bytes:
    try:
        # To open a pipe without a writer would wait for ever.
        if path.exists() and not path.is_file():
            raise NatsConfigError(
                f"`{path}` is not a file", place=place, hint="name a regular file"
            )
        with path.open("rb") as file:
            # One byte more tells a file that is too large, whatever its size was said to be.
            content = file.read(MAX_TEXT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NatsConfigError(
            f"`{path}` cannot be read: {reason}",
            place=place,
            hint="check the path and its permissions; included paths are relative to their file, "
            "also those that begin with `/`",
        ) from error
    if len(content) > MAX_TEXT:
        raise NatsConfigError(
            f"`{path}` is larger than {MAX_TEXT} bytes",
            place=place,
            hint="this is no configuration; check the path",
        )
    return content


# Changing a value in place.

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def replace_string(text: bytes, key: Position, value: str) -> bytes:
    """Return a configuration text in which the key at a place has this string as its value.

    Every other byte stays as it is. A variable that stood there is no longer used there. KeyError
    when no key with a string or a variable begins at that place; NatsConfigError as for reading.
    """
    source = SourceText(text, name=key.file)
    token = _value_token(source, key)
    changed = f"{source.text[: token.offset]}{quote(value)}{source.text[token.end :]}"
    return changed.encode("utf-8", "surrogateescape")


def quote(value: str) -> str:
    """Return a string as it is written in a configuration."""
    return f'"{value.translate(_ESCAPES)}"'


def _value_token(source: SourceText, key: Position) -> Token:
    found = False
    for token in tokens(source):
        if found and token.kind in (TokenKind.STRING, TokenKind.VARIABLE):
            return token
        found = token.kind is TokenKind.KEY and source.place(token.offset) == key
    raise KeyError(str(key))
