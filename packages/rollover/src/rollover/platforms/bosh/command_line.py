"""The operator's own `bosh create-env …` line: read from a file, taken apart, run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bosh_interpolate import arguments
from bosh_interpolate.ops_files import Demand, Described, Operation, Replace
from bosh_interpolate.paths import MapKey
from bosh_interpolate.values import Tree
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.files import read_start
from rollover.fleet.secret import redacted
from rollover.platforms.bosh import shell_words

VERB = "create-env"
FILE_LIMIT = 256 * 1024
TLS_PATH = ("nats", "tls")

_TAKES_VALUE = {
    "-o": "--ops-file",
    "-v": "--var",
    "-l": "--vars-file",
    "-e": "--environment",
    "-d": "--deployment",
}
_WITH_VALUE = frozenset(
    (
        *_TAKES_VALUE.values(),
        *("--var-file", "--vars-env", "--vars-store", "--state", "--package-dir"),
        *("--config", "--ca-cert", "--parallel", "--client", "--client-secret", "--column"),
    )
)
_ALONE = frozenset(
    (
        *("--skip-drain", "--recreate", "--recreate-persistent-disks", "--help", "-h"),
        *("--sha2", "--json", "--tty", "--no-color", "--non-interactive", "-n"),
    )
)
"""The flags of the bosh CLI that matter here (cmd/opts/opts.go)."""
_SECRET_VALUES = frozenset(("--var", "--client-secret"))


class Flag(NamedTuple):
    """A flag by its long name, its value, and where in the words it begins and ends."""

    name: str
    value: str
    begins: int
    ends: int


class CommandLine:
    """A `create-env` line: everything that it names, and the words to run it again.

    Relative paths begin at `directory`. Values of variables never show.
    """

    def __init__(
        self,
        words: tuple[str, ...],
        *,
        place: str,
        directory: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.words = words
        self.place = place
        self.directory = directory
        self.environment = environment
        """Of the command: that of the process, and what the file sets."""
        flags, positional = _parsed(words, place)
        self._flags = flags
        self._manifest = _only_manifest(positional, place)

    def __repr__(self) -> str:
        return f"CommandLine({self.shown()!r})"

    @property
    def manifest(self) -> Path:
        """The director's manifest."""
        return self.located(self._manifest)

    @property
    def ops_files(self) -> tuple[Path, ...]:
        """The ops files, in their order."""
        return tuple(self.located(each) for each in self._values("--ops-file"))

    @property
    def assignments(self) -> tuple[str, ...]:
        """The values of `-v`. They may be secrets."""
        return tuple(self._values("--var"))

    @property
    def contents(self) -> tuple[str, ...]:
        """The values of `--var-file`, `name=path`, with the path made absolute."""
        split = (each.partition("=") for each in self._values("--var-file"))
        return tuple(f"{name}{equals}{self.located(path)}" for name, equals, path in split)

    @property
    def vars_files(self) -> tuple[Path, ...]:
        """The files of `-l`."""
        return tuple(self.located(each) for each in self._values("--vars-file"))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The values of `--vars-env`."""
        return tuple(self._values("--vars-env"))

    @property
    def vars_store(self) -> Path | None:
        """Where variables are generated into; the last flag counts. None: nowhere."""
        found = [*self._values("--vars-store")]
        return self.located(found[-1]) if found else None

    @property
    def state(self) -> Path:
        """What `create-env` remembers; by default beside the manifest, `bosh-state.json`."""
        found = [*self._values("--state")]
        if found and found[-1]:
            return self.located(found[-1])
        return self.manifest.with_name(f"{self.manifest.stem}-state.json")

    def located(self, path: str) -> Path:
        """Return an absolute path; a `~` that the shell has left is the CLI's to expand."""
        home = self.environment.get("HOME", "")
        expanded = home + path[1:] if home and (path == "~" or path.startswith("~/")) else path
        return self.directory / expanded

    def with_ops_file(self, ops_file: Path | None) -> tuple[str, ...]:
        """Return the words to run, that ops file last of all; None: as the operator runs it."""
        added = () if ops_file is None else ("-o", str(ops_file))
        return (*self.words[: self._end], *added, *self.words[self._end :])

    @property
    def _end(self) -> int:
        """Where flags end."""
        return self.words.index("--") if "--" in self.words else len(self.words)

    def shown(self, ops_file: Path | None = None) -> str:
        """Return the command for a shell. Values of `-v` are not in it: see `placeholder`."""
        tokens = [shlex.quote(word) for word in self.words]
        added = [] if ops_file is None else ["-o", shlex.quote(str(ops_file))]
        tokens[self._end : self._end] = added
        for flag in reversed(self._flags):
            if flag.name in _SECRET_VALUES:
                name, equals, _ = flag.value.partition("=")
                hidden = placeholder(name if equals else flag.name.strip("-"), named=bool(equals))
                tokens[flag.begins : flag.ends] = [flag.name, hidden]
        return redacted(" ".join(tokens))

    @manifest_errors()
    def leftovers(self) -> tuple[Path, ...]:
        """Return the ops files that set `nats.tls` themselves: those of an earlier rotation (H7).

        `SpecError` when one of them cannot be read.
        """
        return tuple(
            path
            for path in self.ops_files
            if any(map(touches_nats_tls, arguments.read_operations([str(path)])))
        )

    def refuse_leftovers(self) -> None:
        """Raise `SpecError` with their names when ops files on the line set `nats.tls`."""
        found = ", ".join(f"`{each}`" for each in self.leftovers())
        if found:
            raise SpecError(
                f"{found} on the command line sets `nats.tls`, as ops files of an earlier "
                "rotation do",
                place=self.place,
                hint="take it off the line once its values are in the manifest or the vars "
                "store; Rollover adds the one that it needs by itself",
            )

    def _values(self, name: str) -> Iterator[str]:
        return (flag.value for flag in self._flags if flag.name == name)


def read(path: Path, *, environment: Mapping[str, str]) -> CommandLine:
    """Return the one `create-env` line of a file; `SpecError` with place and remedy else."""
    script = shell_words.read(_text(path), path=path.absolute(), environment=environment)
    found = [each for each in script.commands if VERB in each.words]
    for each in script.commands:
        if VERB not in each.words or each is not found[0]:
            raise SpecError(
                "there is more than one `create-env`"
                if VERB in each.words
                else f"`{each.words[0]}` is another command than `create-env`",
                place=f"{path}:{each.line}",
                hint="keep one `create-env` line alone in this file",
            )
    if not found:
        raise SpecError(
            f"there is no `{VERB}` in it",
            place=str(path),
            hint="write the line into it with which you deploy the director: `bosh create-env …`",
        )
    return CommandLine(
        found[0].words,
        place=f"{path}:{found[0].line}",
        directory=script.directory,
        environment={**script.environment, **dict(found[0].assignments)},
    )


def touches_nats_tls(operation: Operation) -> bool:
    """Say whether an operation changes something below `nats.tls`."""
    if isinstance(operation, Described):
        return touches_nats_tls(operation.operation)
    if isinstance(operation, Demand):
        return False
    keys = tuple(token.key for token in operation.path if isinstance(token, MapKey))
    if any(keys[at : at + 2] == TLS_PATH for at in range(len(keys))):
        return True
    return isinstance(operation, Replace) and _brings(operation.value, keys)


def _brings(value: Tree, keys: tuple[str, ...]) -> bool:
    """Say whether a value brings `nats.tls` along, put where these keys lead."""
    match value:
        case dict():
            if keys[-1:] == TLS_PATH[:1] and TLS_PATH[1] in value:
                return True
            return any(_brings(each, (*keys, str(key))) for key, each in value.items())
        case list():
            return any(_brings(each, keys) for each in value)
        case _:
            return False


def placeholder(name: str, *, named: bool = True) -> str:
    """Return what stands for the value of a variable in a command that people may run.

    The shell refuses the command as long as nobody has set it; so no command with a value left out
    is ever run by accident.
    """
    return f'"{f"{name}=" if named else ""}${{{variable(name)}:?}}"'


def variable(name: str) -> str:
    """Return the shell variable that a placeholder asks for."""
    return "VAR_" + "".join(each if each.isascii() and each.isalnum() else "_" for each in name)


def _text(path: Path) -> str:
    try:
        data = read_start(path, size=FILE_LIMIT + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            hint="name the file with your `bosh create-env` line in `director.create_env`",
        ) from None
    if len(data) > FILE_LIMIT or b"\0" in data:
        raise SpecError("this is no script", place=str(path), hint="name a text file")
    return data.decode("utf-8", "surrogateescape")


def _parsed(words: tuple[str, ...], place: str) -> tuple[list[Flag], list[str]]:
    """Return the flags, and the words behind the verb that are none."""
    program = words.index(VERB)
    flags: list[Flag] = []
    positional: list[str] = []
    at = program + 1
    while at < len(words):
        word = words[at]
        if word == "--":
            return flags, [*positional, *words[at + 1 :]]
        if not word.startswith("-") or word == "-":
            positional.append(word)
            at += 1
            continue
        flag = _flag(words, at, place)
        at = flag.ends
        flags.append(flag)
    return flags, positional


def _flag(words: tuple[str, ...], at: int, place: str) -> Flag:
    word = words[at]
    if word in _ALONE:
        return Flag(word, "", at, at + 1)
    name, equals, value = word.partition("=")
    if not word.startswith("--"):
        name, value = _TAKES_VALUE.get(word[:2], word[:2]), word[2:].removeprefix("=")
        equals = value
    if name not in _WITH_VALUE:
        raise SpecError(
            f"the flag `{name}` of `{VERB}` is not known",
            place=place,
            hint="write long flags with their value as `--flag=value`, or leave it out",
        )
    if equals:
        return Flag(name, value, at, at + 1)
    if at + 1 == len(words):
        raise SpecError(f"the flag `{name}` has no value", place=place, hint="write its value")
    return Flag(name, words[at + 1], at, at + 2)


def _only_manifest(positional: list[str], place: str) -> str:
    if len(positional) == 1 and positional[0] != "-":
        return positional[0]
    raise SpecError(
        f"one manifest belongs behind `{VERB}`, not {len(positional)}"
        if len(positional) != 1
        else "a manifest from stdin cannot be read again",
        place=place,
        hint="name the director's manifest, a file",
    )
