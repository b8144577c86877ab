"""Reading a configuration from the file system, with everything that it includes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rollover.nats_config.digest import digest
from rollover.nats_config.errors import NatsConfigError
from rollover.nats_config.parse import MAX_TEXT, parse_text
from rollover.nats_config.position import Place, Remark
from rollover.nats_config.tree import Table, Tree


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
    def remarks(self) -> tuple[Remark, ...]:
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

    def load(name: str, place: Place | None = None) -> bytes:
        files.append(name)
        return _content(base / name, place=str(place or name))

    name = os.fspath(path)
    tree = parse_text(
        load(name),
        place=name,
        include=load,
        environment=os.environ if environment is None else environment,
    )
    return Config(path=name, tree=tree, files=tuple(files), digest=digest(tree))


def _content(path: Path, *, place: str) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise NatsConfigError(
                f"`{path}` is not a file", place=place, hint="name a regular file"
            )
        with path.open("rb") as file:
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
