"""Splits a small shell script into the words of its commands; what needs a real shell is refused.

Understood: comments, line continuations, quotes, `$NAME` and `${NAME}`, `~/`, assignments,
`export`, `cd`, `set`. Nothing is ever run to find out what a word is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rollover.errors import SpecError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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


class Word(NamedTuple):
    """One word as the command would get it; `plain` up to where its first quote or `$` was."""

    text: str
    plain: int


class Command(NamedTuple):
    """One simple command: what is set for it alone, its words, and the line it begins on."""

    line: int
    assignments: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


class Script(NamedTuple):
    """What is left to run once a script's own settings are taken in."""

    commands: tuple[Command, ...]
    directory: Path
    environment: Mapping[str, str]


def read(text: str, *, path: Path, environment: Mapping[str, str]) -> Script:
    """Return the commands of a script that is started in its own directory.

    `SpecError` with line and remedy for anything that a shell would have to be asked about.
    """
    shell = _Shell(path, environment)
    commands = tuple(shell.commands(text))
    return Script(commands, shell.directory, shell.exported())


class _Shell:
    """The state of a script while it is read."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        self._variables = dict(environment)
        self._exported = set(environment)
        self.directory = path.parent

    def exported(self) -> dict[str, str]:
        return {name: self._variables[name] for name in self._exported & self._variables.keys()}

    def commands(self, text: str) -> Iterator[Command]:
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

    def _taken_in(self, words: list[Word], line: int) -> Iterator[Command]:
        own: list[tuple[str, str]] = []
        while words and (found := _assignment(words[0])):
            own.append(found)
            words.pop(0)
        texts = [each.text for each in words]
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
                yield Command(line, tuple(own), tuple(texts))

    def _export(self, words: list[str]) -> None:
        for each in words:
            name, equals, value = each.partition("=")
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

    def words(self) -> Iterator[Word]:
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

    def _word(self) -> Word | None:
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
        return None if vanishes else Word(text, len(text) if plain is None else plain)

    def _part(self, sign: str) -> str | None:
        if sign == "'":
            return self._single_quoted()
        if sign == '"':
            return self._double_quoted()
        if sign == "\\":
            return self._escaped()
        if sign == "$":
            value = self._expansion()
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
        found = _NAME.match(self._text, self.place + 1 + braced)
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


def _assignment(word: Word) -> tuple[str, str] | None:
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
