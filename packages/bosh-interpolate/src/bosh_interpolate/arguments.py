"""The arguments of `bosh interpolate`, read from the disk and the environment they name.

Each error says which flag it belongs to, as `bosh` does.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from bosh_interpolate.errors import ManifestError
from bosh_interpolate.ops_files import Operation, read_ops_file
from bosh_interpolate.paths import Pointer, parse_pointer
from bosh_interpolate.reading import MOST_BYTES
from bosh_interpolate.values import Variables
from bosh_interpolate.variables import (
    merge_variables,
    split_file_assignment,
    variable_from_assignment,
    variable_from_content,
    variables_from_environment,
    variables_from_file,
)
from bosh_interpolate.vars_stores import FileStore

_T = TypeVar("_T")


class Flag(NamedTuple):
    """A flag by its names, and the type that error texts say it expects."""

    names: str
    expects: str

    def read_all(self, parse: Callable[[str], _T], values: Iterable[str]) -> list[_T]:
        """Return what every value of the flag means."""
        return [self.read(parse, value) for value in values]

    def read(self, parse: Callable[[str], _T], value: str) -> _T:
        """Return what a value of the flag means."""
        try:
            return parse(value)
        except ManifestError as error:
            raise ManifestError(
                f"invalid argument for flag `{self.names}' (expected {self.expects}): {error}"
            ) from None


OPS_FILE = Flag("-o, --ops-file", "[]opts.OpsFileArg")
VAR = Flag("-v, --var", "[]template.VarKV")
VAR_FILE = Flag("--var-file", "[]template.VarFileArg")
VARS_FILE = Flag("-l, --vars-file", "[]template.VarsFileArg")
VARS_ENV = Flag("--vars-env", "[]template.VarsEnvArg")
VARS_STORE = Flag("--vars-store", "opts.VarsFSStore")
PATH = Flag("--path", "patch.Pointer")


def read_template(name: str) -> bytes:
    """Return the manifest: a file, or what comes on stdin for `-`."""
    _not_empty(name)
    if name == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    return _content(_absolute(name))


def read_operations(names: Iterable[str]) -> list[Operation]:
    """Return the operations of all ops files, in their order."""
    ops_files = OPS_FILE.read_all(_read_ops_file, names)
    return [operation for operations in ops_files for operation in operations]


def read_variables(
    *,
    assignments: Iterable[str] = (),
    contents: Iterable[str] = (),
    files: Iterable[str] = (),
    prefixes: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Variables:
    """Return the variables of `-v`, `--var-file`, `-l` and `--vars-env`; the former win."""
    return merge_variables(
        environments=VARS_ENV.read_all(
            lambda prefix: variables_from_environment(prefix, environment), prefixes
        ),
        files=VARS_FILE.read_all(_read_vars_file, files),
        contents=VAR_FILE.read_all(_read_var_file, contents),
        assignments=VAR.read_all(variable_from_assignment, assignments),
    )


def open_store(path: str | None) -> FileStore | None:
    """Return the vars store, where one is named."""
    return None if path is None else VARS_STORE.read(_open_store, path)


def parse_path(text: str | None) -> Pointer | None:
    """Return the path of `--path`, where it is given."""
    return None if text is None else PATH.read(parse_pointer, text)


def _read_ops_file(name: str) -> tuple[Operation, ...]:
    _not_empty(name)
    return read_ops_file(_read_for(name, f"Reading ops file '{name}'"), name=name)


def _read_vars_file(name: str) -> Variables:
    _not_empty(name)
    return variables_from_file(_read_for(name, f"Reading variables file '{name}'"), name=name)


def _read_var_file(text: str) -> Variables:
    name, file = split_file_assignment(text)
    absolute = _absolute(file)
    return variable_from_content(
        name, _read_for(absolute, f"Reading variable from file '{absolute}'")
    )


def _open_store(name: str) -> FileStore:
    _not_empty(name)
    return FileStore(Path(_absolute(name)))


def _not_empty(name: str) -> None:
    if not name:
        raise ManifestError("Expected file path to be non-empty")


def _absolute(name: str) -> str:
    return os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111 - texts, as shown


def _read_for(name: str, purpose: str) -> bytes:
    try:
        return _content(name)
    except ManifestError as error:
        raise ManifestError(purpose, cause=error) from None


def _content(name: str) -> bytes:
    doing, verb = f"Opening file {name}", "open"
    try:
        with Path(name).open("rb", buffering=0) as file:
            doing, verb = f"Reading file content {name}", "read"
            data = b""
            # A pipe gives a part at a time, `--vars-file <(…)` for one.
            while part := file.read(MOST_BYTES + 1 - len(data)):
                data += part
            return data
    except OSError as error:
        if error.errno == errno.EISDIR:  # Go opens a directory, and cannot read it.
            doing, verb = f"Reading file content {name}", "read"
        reason = (error.strerror or str(error)).lower()
        raise ManifestError(doing, cause=ManifestError(f"{verb} {name}: {reason}")) from None
