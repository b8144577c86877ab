"""Where results go: data, talk, colour, tables."""

from __future__ import annotations

import io
import json

import pytest

from rollover.cli.printer import Printer
from rollover.errors import PemError, RolloverError


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_data_and_talk_are_apart() -> None:
    """A pipe gets data only."""
    out, talk = io.StringIO(), io.StringIO()
    printer = Printer(out=out, talk=talk)
    printer.line("data")
    printer.say("talk")
    assert (out.getvalue(), talk.getvalue()) == ("data\n", "talk\n")


@pytest.mark.parametrize(("quiet", "output"), [(True, "text"), (False, "json")])
def test_talk_is_left_out_when_nobody_asked_for_it(quiet: bool, output: str) -> None:  # noqa: FBT001 - a column of the table
    """`--quiet`, and machine output."""
    talk = io.StringIO()
    Printer(out=io.StringIO(), talk=talk, quiet=quiet, output=output).say("talk")
    assert talk.getvalue() == ""


EVIL = "CN=\x1b[2J\x9bA\u202eevil\nerror: none\x07"
TAME = "CN=\\u001b[2J\\u009bA\\u202eevil"


def test_no_text_moves_the_cursor_or_passes_for_another_line() -> None:
    """Subjects, names of files and what servers say are chosen by strangers."""
    out, talk = io.StringIO(), io.StringIO()
    printer = Printer(out=out, talk=talk, color=True)
    printer.line(EVIL)
    printer.say(EVIL, "bad")
    printer.error(RolloverError(EVIL, hint=EVIL))
    lines = f"{TAME}\n  │ error: none\\u0007"
    assert out.getvalue() == f"{lines}\n"
    assert talk.getvalue() == (
        f"\x1b[31m{lines}\x1b[0m\n\x1b[31merror: \x1b[0m{lines}\n\nhint: {lines}\n"
    )


def test_cells_of_a_table_stay_on_their_line() -> None:
    """What is escaped counts for the width, too."""
    out = io.StringIO()
    Printer(out=out).table(("name", "x"), [(EVIL, "1"), ("\U000e0001", "2")])
    widths = {line.rindex(" ") for line in out.getvalue().splitlines()}
    assert len(widths) == 1
    assert f"{TAME}\\u000aerror: none\\u0007  1" in out.getvalue()
    assert "\\U000e0001" in out.getvalue()


def test_text_of_several_lines_is_data_as_it_is() -> None:
    """A file that is shown is no message."""
    out = io.StringIO()
    Printer(out=out).text("a: 1\nb: \x1b\n")
    assert out.getvalue() == "a: 1\nb: \\u001b\n\n"


def test_errors_are_told_even_when_quiet() -> None:
    """Message, an empty line, the hint."""
    talk = io.StringIO()
    error = PemError("no certificate in it", place="a.pem:3", hint="write it again")
    Printer(out=io.StringIO(), talk=talk, quiet=True).error(error)
    assert talk.getvalue() == "error: a.pem:3: no certificate in it\n\nhint: write it again\n"


def test_an_error_without_hint_has_no_empty_hint() -> None:
    """Nothing is said where there is nothing to say."""
    talk = io.StringIO()
    Printer(out=io.StringIO(), talk=talk).error(RolloverError("so it is"))
    assert talk.getvalue() == "error: so it is\n"


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe has none, `NO_COLOR` forbids it, `--color` and `--no-color` decide."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Printer(out=_Terminal()).color
    assert not Printer(out=io.StringIO()).color
    assert Printer(out=io.StringIO(), color=True).color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Printer(out=_Terminal()).color
    assert not Printer(out=_Terminal(), color=False).color


def test_machine_output_is_never_coloured() -> None:
    """Also where colour was asked for."""
    assert not Printer(out=_Terminal(), output="json", color=True).color


def test_json_has_schema_and_version() -> None:
    """The value stands under the schema's own name."""
    out = io.StringIO()
    Printer(out=out, output="json").data("thing", {"a": (1, 2)})
    assert json.loads(out.getvalue()) == {"schema": "rollover.thing/1", "thing": {"a": [1, 2]}}


def test_a_table_is_aligned_by_its_content_alone() -> None:
    """Columns are as wide as their widest cell, no line ends with spaces."""
    out = io.StringIO()
    Printer(out=out).table(("a", "name"), [("1", "x"), ("100", "long name"), ("2", "")])
    assert out.getvalue() == "a    name\n1    x\n100  long name\n2\n"


def test_a_table_without_rows_is_its_header() -> None:
    """Nothing breaks where there is nothing."""
    out = io.StringIO()
    Printer(out=out).table(("a", "b"), [])
    assert out.getvalue() == "a  b\n"
