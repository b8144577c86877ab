"""The operator's own `bosh create-env …` line: read from a script, taken apart, run again.

The script is read, never run: what only a shell could work out is refused, with its line.
Understood are comments, line continuations, quotes, `$NAME` and `${NAME}`, `~/`, assignments,
`export`, `cd`, `set`.
"""

from __future__ import annotations

import re
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

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_ITSELF = r"\"?\$(?:0|\{0\}|BASH_SOURCE|\{BASH_SOURCE(?:\[0\])?\})\"?"
_TO_ITS_OWN_DIRECTORY = re.compile(
    rf"cd[ \t]+(?:--[ \t]+)?(?:\"?\$\(dirname[ \t]+(?:--[ \t]+)?{_ITSELF}\)\"?"
    r"|\"?\$\{0%/\*\}\"?)[ \t]*(?=\n|\Z|#)"
)
"""How scripts go to where they are; the one substitution whose result is known."""
_NEEDS_A_SHELL = {
    "|": "a pipe",
    ";": "a second command",
    "&": "a second command, or one in the background",
    "<": "a redirection",
    ">": "a redirection",
    "(": "a subshell",
    ")": "a subshell",
    "`": "a command substitution",
    "*": "a file name pattern",
    "?": "a file name pattern",
    "{": "a brace expansion",
    "!": "a history expansion",
}
_BLANKS = " \t\r"
_IN_DOUBLE_QUOTES_ESCAPED = '$`"\\'


class ShellWord(NamedTuple):
    """One word as the command would get it; `plain` up to where its first quote or `$` was."""

    text: str
    plain: int


class ShellCommand(NamedTuple):
    """One simple command: what is set for it alone, its words, and the line it begins on."""

    line: int
    assignments: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


class ShellScript(NamedTuple):
    """What is left to run once a script's own settings are taken in."""

    commands: tuple[ShellCommand, ...]
    directory: Path
    environment: Mapping[str, str]


def read_script(text: str, *, path: Path, environment: Mapping[str, str]) -> ShellScript:
    """Return the commands of a script that is started in its own directory.

    `SpecError` with line and remedy for anything that a shell would have to be asked about.
    """
    shell = _Shell(path, environment)
    commands = tuple(shell.commands(text))
    return ShellScript(commands, shell.directory, shell.exported())


class _Shell:
    """The state of a script while it is read."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        self._variables = dict(environment)
        self._exported = set(environment)
        self.directory = path.parent

    def exported(self) -> dict[str, str]:
        return {name: self._variables[name] for name in self._exported & self._variables.keys()}

    def commands(self, text: str) -> Iterator[ShellCommand]:
        """Yield the commands in order; settings take effect as they are met."""
        place = 0
        while place < len(text):
            found = _TO_ITS_OWN_DIRECTORY.match(text, _after_blanks(text, place))
            if found:
                self.directory = self._path.parent
                place = _end_of_line(text, found.end()) + 1
                continue
            lexer = _Lexer(text, place, self)
            line = lexer.line
            words = list(lexer.words())
            place = lexer.place
            yield from self._taken_in(words, line)

    def _taken_in(self, words: list[ShellWord], line: int) -> Iterator[ShellCommand]:
        own: list[tuple[str, str]] = []
        while words and (found := _assignment(words[0])):
            own.append(found)
            words.pop(0)
        texts = [word.text for word in words]
        # It only replaces the shell: the command is the same.
        if texts[:1] == ["exec"]:
            texts = texts[1:]
        match texts:
            case []:
                self._variables.update(own)
            case ["set", *_]:
                pass
            case ["export", *rest]:
                self._export(rest)
            case ["cd", directory]:
                self.directory = self.directory / directory
            case _:
                yield ShellCommand(line, tuple(own), tuple(texts))

    def _export(self, words: list[str]) -> None:
        for word in words:
            name, equals, value = word.partition("=")
            self._exported.add(name)
            if equals:
                self._variables[name] = value

    def value(self, name: str, line: int) -> str:
        if name not in self._variables:
            raise self.refusal(
                f"`${name}` is not set here",
                line,
                hint=f"`export {name}=…` before you start Rollover, or write the value instead",
            )
        return self._variables[name]

    def home(self, line: int) -> str:
        return self.value("HOME", line)

    def refusal(self, message: str, line: int, *, hint: str) -> SpecError:
        return SpecError(message, place=f"{self._path}:{line}", hint=hint)


class _Lexer:
    """Reads one logical line."""

    def __init__(self, text: str, place: int, shell: _Shell) -> None:
        self._text = text
        self._shell = shell
        self.place = place
        self.line = text.count("\n", 0, _after_blanks(text, place)) + 1

    def words(self) -> Iterator[ShellWord]:
        """Yield the words up to the end of the line, which is passed."""
        while self.place < len(self._text):
            sign = self._text[self.place]
            if sign == "\n":
                self.place += 1
                return
            if sign in _BLANKS:
                self.place += 1
            elif self._text.startswith("\\\n", self.place):
                self.place += 2
            elif sign == "#":
                self.place = _end_of_line(self._text, self.place)
            else:
                word = self._word()
                if word is not None:
                    yield word

    def _word(self) -> ShellWord | None:
        """Return the next word; None for one that vanishes, as an unset `$@` does."""
        parts: list[str] = []
        plain: int | None = None
        vanishes = True
        if self._text[self.place] == "~":
            parts.append(self._tilde())
            plain, vanishes = 0, False
        while self.place < len(self._text) and self._text[self.place] not in f"{_BLANKS}\n":
            sign = self._text[self.place]
            if plain is None and sign in "'\"\\$":
                plain = sum(map(len, parts))
            part = self._part(sign)
            vanishes = vanishes and part is None
            parts.append(part or "")
        text = "".join(parts)
        return None if vanishes else ShellWord(text, len(text) if plain is None else plain)

    def _part(self, sign: str) -> str | None:
        if sign == "'":
            return self._single_quoted()
        if sign == '"':
            return self._double_quoted()
        if sign == "\\":
            return self._escaped()
        if sign == "$":
            value = self._expansion()
            # A shell would split such a value, match it against file names, or drop the word.
            if value is not None and (not value or re.search(r"[\s*?\[]", value)):
                raise self._refusal(
                    "an unquoted variable that is empty or that a shell would split",
                    hint="put double quotes around it",
                )
            return value
        if sign in _NEEDS_A_SHELL:
            raise self._refusal(f"`{sign}` ({_NEEDS_A_SHELL[sign]}) needs a real shell")
        self.place += 1
        return sign

    def _tilde(self) -> str:
        following = self._text[self.place + 1 : self.place + 2]
        if following and following not in f"/{_BLANKS}\n":
            raise self._refusal("`~user` needs a real shell", hint="write the directory instead")
        self.place += 1
        return self._shell.home(self._line())

    def _single_quoted(self) -> str:
        end = self._text.find("'", self.place + 1)
        if end < 0:
            raise self._refusal("a quote that does not end", hint="end it with `'`")
        found = self._text[self.place + 1 : end]
        self.place = end + 1
        return found

    def _double_quoted(self) -> str | None:
        self.place += 1
        parts: list[str] = []
        whole = self._text.startswith('$@"', self.place)
        while self.place < len(self._text):
            sign = self._text[self.place]
            if sign == '"':
                self.place += 1
                return None if whole else "".join(parts)
            if sign == "\\":
                parts.append(self._escaped_in_quotes())
            elif sign == "$":
                parts.append(self._expansion() or "")
            elif sign == "`":
                raise self._refusal("a command substitution needs a real shell")
            else:
                parts.append(sign)
                self.place += 1
        raise self._refusal("a quote that does not end", hint='end it with `"`')

    def _escaped(self) -> str:
        following = self._text[self.place + 1 : self.place + 2]
        self.place += 2
        return "" if following == "\n" else following

    def _escaped_in_quotes(self) -> str:
        following = self._text[self.place + 1 : self.place + 2]
        self.place += 2
        if following == "\n":
            return ""
        return following if following in _IN_DOUBLE_QUOTES_ESCAPED else f"\\{following}"

    def _expansion(self) -> str | None:
        """Return the value of `$NAME`; None for the script's own arguments: there are none."""
        rest = self._text[self.place + 1 : self.place + 2]
        if rest in ("@", "*") and rest:
            self.place += 2
            return None
        braced = rest == "{"
        found = _VARIABLE_NAME.match(self._text, self.place + 1 + braced)
        end = found.end() if found else 0
        if found and (not braced or self._text[end : end + 1] == "}"):
            self.place = end + braced
            return self._shell.value(found[0], self._line())
        if rest == "(":
            raise self._refusal("a command substitution `$(…)` needs a real shell")
        if not rest or rest in f"{_BLANKS}\n\"'":
            self.place += 1
            return "$"
        raise self._refusal(
            f"`{self._text[self.place : self.place + 12].splitlines()[0]}` needs a real shell",
            hint="only `$NAME` and `${NAME}` are understood",
        )

    def _line(self) -> int:
        return self._text.count("\n", 0, self.place) + 1

    def _refusal(
        self,
        message: str,
        *,
        hint: str = "write the result into the file instead, or quote it when it is meant as it is",
    ) -> SpecError:
        return self._shell.refusal(message, self._line(), hint=hint)


def _assignment(word: ShellWord) -> tuple[str, str] | None:
    found = _ASSIGNMENT.match(word.text)
    if found is None or word.plain < found.end():
        return None
    return found[1], word.text[found.end() :]


def _after_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANKS:
        place += 1
    return place


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


# The line that was found.


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


class CreateEnvFlag(NamedTuple):
    """A flag by its long name, its value, and where in the words it begins and ends."""

    name: str
    value: str
    begins: int
    ends: int


class CreateEnvLine:
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
        return f"CreateEnvLine({self.shell_text()!r})"

    @property
    def manifest(self) -> Path:
        """The director's manifest."""
        return self.located(self._manifest)

    @property
    def ops_files(self) -> tuple[Path, ...]:
        """The ops files, in their order."""
        return tuple(self.located(value) for value in self._values("--ops-file"))

    @property
    def assignments(self) -> tuple[str, ...]:
        """The values of `-v`. They may be secrets."""
        return tuple(self._values("--var"))

    @property
    def contents(self) -> tuple[str, ...]:
        """The values of `--var-file`, `name=path`, with the path made absolute."""
        split = (value.partition("=") for value in self._values("--var-file"))
        return tuple(f"{name}{equals}{self.located(path)}" for name, equals, path in split)

    @property
    def vars_files(self) -> tuple[Path, ...]:
        """The files of `-l`."""
        return tuple(self.located(value) for value in self._values("--vars-file"))

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

    def shell_text(self, ops_file: Path | None = None) -> str:
        """Return the command for a shell. Values of `-v` are not in it: see `placeholder`."""
        tokens = [shlex.quote(word) for word in self.words]
        added = [] if ops_file is None else ["-o", shlex.quote(str(ops_file))]
        tokens[self._end : self._end] = added
        for flag in reversed(self._flags):
            if flag.name in _SECRET_VALUES:
                name, equals, _ = flag.value.partition("=")
                hidden = variable_placeholder(
                    name if equals else flag.name.strip("-"), named=bool(equals)
                )
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
        found = ", ".join(f"`{leftover}`" for leftover in self.leftovers())
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


def read_command_line(path: Path, *, environment: Mapping[str, str]) -> CreateEnvLine:
    """Return the one `create-env` line of a file; `SpecError` with place and remedy else."""
    script = read_script(_read_text(path), path=path.absolute(), environment=environment)
    found = [command for command in script.commands if VERB in command.words]
    for command in script.commands:
        if VERB not in command.words or command is not found[0]:
            raise SpecError(
                "there is more than one `create-env`"
                if VERB in command.words
                else f"`{command.words[0]}` is another command than `create-env`",
                place=f"{path}:{command.line}",
                hint="keep one `create-env` line alone in this file",
            )
    if not found:
        raise SpecError(
            f"there is no `{VERB}` in it",
            place=str(path),
            hint="write the line into it with which you deploy the director: `bosh create-env …`",
        )
    return CreateEnvLine(
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
    return isinstance(operation, Replace) and _value_brings_tls(operation.value, keys)


def _value_brings_tls(value: Tree, keys: tuple[str, ...]) -> bool:
    """Say whether a value brings `nats.tls` along, put where these keys lead."""
    match value:
        case dict():
            if keys[-1:] == TLS_PATH[:1] and TLS_PATH[1] in value:
                return True
            return any(_value_brings_tls(item, (*keys, str(key))) for key, item in value.items())
        case list():
            return any(_value_brings_tls(item, keys) for item in value)
        case _:
            return False


def variable_placeholder(name: str, *, named: bool = True) -> str:
    """Return what stands for the value of a variable in a command that people may run.

    The shell refuses the command as long as nobody has set it; so no command with a value left out
    is ever run by accident.
    """
    return f'"{f"{name}=" if named else ""}${{{placeholder_variable(name)}:?}}"'


def placeholder_variable(name: str) -> str:
    """Return the shell variable that a placeholder asks for."""
    return "VAR_" + "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name)


def _read_text(path: Path) -> str:
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


def _parsed(words: tuple[str, ...], place: str) -> tuple[list[CreateEnvFlag], list[str]]:
    """Return the flags, and the words behind the verb that are none."""
    program = words.index(VERB)
    flags: list[CreateEnvFlag] = []
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


def _flag(words: tuple[str, ...], at: int, place: str) -> CreateEnvFlag:
    word = words[at]
    if word in _ALONE:
        return CreateEnvFlag(word, "", at, at + 1)
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
        return CreateEnvFlag(name, value, at, at + 1)
    if at + 1 == len(words):
        raise SpecError(f"the flag `{name}` has no value", place=place, hint="write its value")
    return CreateEnvFlag(name, words[at + 1], at, at + 2)


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
