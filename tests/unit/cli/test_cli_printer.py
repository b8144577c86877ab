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
