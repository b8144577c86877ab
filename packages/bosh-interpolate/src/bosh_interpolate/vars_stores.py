"""A vars store: in memory, or a file that is written whole or not at all, 0600, by one at a time.

The file is what `bosh --vars-store` reads and writes. After each new variable it is written to a
temporary name beside it, flushed to the disk and renamed, so that whoever reads it, at whatever
moment, and after whatever crash, finds a complete store. Writers take turns by a lock on a file
beside it, and read the store anew when it is their turn, so none overwrites what another added.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.reading import load_variables
from bosh_interpolate.values import Key, Tree, Variables, octets
from bosh_interpolate.writing import emit


class VarsStore(Protocol):
    """A flat map of variables by name.

    `variables` returns what is stored, and may be called often. `add` stores what `make` returns
    and returns it; where the name is already there, because somebody else was faster, it returns
    what is there and calls nothing. What was added stays, also when a later variable fails.
    """

    def variables(self) -> Variables:
        """Return everything by name."""

    def add(self, name: str, make: Callable[[], Tree]) -> Tree:
        """Store a new variable, or return the one that is there."""


class MemoryStore:
    """A store that ends with the process."""

    def __init__(self, variables: Variables | None = None) -> None:
        self._variables = dict(variables or {})

    def variables(self) -> Variables:
        """Return everything by name."""
        return self._variables

    def add(self, name: str, make: Callable[[], Tree]) -> Tree:
        """Store a new variable, or return the one that is there."""
        if name not in self._variables:
            self._variables[name] = make()
        return self._variables[name]


LOCK_TIMEOUT_SECONDS = 300.0
"""Others hold the lock while they generate one variable: an RSA key of 4096 bits at most."""
_POLL_SECONDS = 0.05
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


class FileStore:
    """The vars store of one path; the file need not be there yet."""

    def __init__(self, path: Path, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        # The file behind a symbolic link is the one that is replaced, the link stays.
        self._path = Path(os.path.realpath(path))
        self._lock_timeout_seconds = lock_timeout_seconds
        self._variables: dict[str, Tree] = {}
        self._version: tuple[int, int, int] | None = None

    def variables(self) -> Variables:
        """Return what the file holds; it is read again only when it changed."""
        try:
            self._refresh()
        except OSError as error:
            raise self._trouble("Reading variables from file store", error) from None
        return self._variables

    def add(self, name: str, make: Callable[[], Tree]) -> Tree:
        """Store a new variable, or return the one that somebody else stored meanwhile."""
        try:
            with self._alone():
                return self._add(name, make)
        except OSError as error:
            raise self._trouble("Writing variables to file store", error) from None

    def _add(self, name: str, make: Callable[[], Tree]) -> Tree:
        self._refresh()
        if name not in self._variables:
            value = make()
            self._write({**self._variables, name: value})
        return self._variables[name]

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._variables, self._version = {}, None
            return
        # Writers put a new file in place: the inode tells of what the clock is too coarse for.
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._version:
            self._variables = self._parsed(self._path.read_bytes())
            self._version = version

    def _parsed(self, data: bytes) -> dict[str, Tree]:
        try:
            return dict(load_variables(data))
        except ManifestError as error:
            raise ManifestError(
                f"Deserializing variables file store '{self._path}'", cause=error
            ) from None

    def _write(self, variables: dict[str, Tree]) -> None:
        tree: dict[Key, Tree] = {}
        tree.update(variables.items())
        data = octets(emit(tree))
        # One name is enough under the lock; what a killed writer left there is thrown away.
        temporary = self._path.with_name(f".{self._path.name}.new")
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._sync_directory()
        self._variables = variables

    def _sync_directory(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock; its file stays, for two writers must mean the same file."""
        self._path.parent.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        lock = os.open(
            self._path.with_name(f".{self._path.name}.lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            _PRIVATE_FILE,
        )
        try:
            self._wait_for(lock)
            yield
        finally:
            os.close(lock)

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + self._lock_timeout_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ManifestError(
                        f"another process has written to '{self._path}' for "
                        f"{self._lock_timeout_seconds:.0f} s"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _trouble(self, what: str, error: OSError) -> ManifestError:
        reason = ManifestError(error.strerror or str(error))
        return ManifestError(f"{what} '{self._path}'", cause=reason)


def _private(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_CLOEXEC, _PRIVATE_FILE)
    os.fchmod(handle, _PRIVATE_FILE)  # whatever the umask is
    return handle
