"""How a discovered description is shown, compared with the file that is there, and written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from rollover import replacing
from rollover.cli.printer import Printer
from rollover.errors import SpecError
from rollover.fleet.description import FleetDescription


class RemarkView(Protocol):
    """Something that a person should look at."""

    @property
    def subject(self) -> str:
        """What it is about."""
        ...

    @property
    def message(self) -> str:
        """What there is to know."""
        ...


class Found(Protocol):
    """What a platform found: a description, and remarks on it."""

    @property
    def description(self) -> FleetDescription:
        """For the fleet file."""
        ...

    @property
    def remarks(self) -> Iterable[RemarkView]:
        """What is left to a person."""
        ...


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a discovery came to. `difference`: lines of a unified diff against the file there.

    `reading`: what a director said of its world; None for servers.
    """

    file: str
    written: bool
    difference: tuple[str, ...]
    remarks: tuple[str, ...]
    description: FleetDescription
    reading: msgspec.Struct | None = None


def deliver(
    printer: Printer,
    found: Found,
    *,
    out: Path | None,
    write: bool,
    reading: msgspec.Struct | None = None,
) -> None:
    """Print the description, or write it; a file that is there is changed only with `write`."""
    from rollover.codec.fleet_file import write_fleet  # noqa: PLC0415 - imports YAML

    remarks = tuple(f"{each.subject}: {each.message}" for each in found.remarks)
    for remark in remarks:
        printer.say(f"! {remark}", "warn")
    content = write_fleet(found.description)
    present = _present(out)
    difference = tuple(_difference(present, content, out)) if present is not None else ()
    written = out is not None and (present is None or (write and present != content))
    if out is not None and written:
        _write(out, content)
    if printer.json:
        result = Discovered(
            file=str(out or ""),
            written=written,
            difference=difference,
            remarks=remarks,
            description=found.description,
            reading=reading,
        )
        printer.data("discovery", result)
    elif out is None:
        printer.text(content.decode().rstrip("\n"))
    else:
        _tell(printer, out, difference=difference, written=written)


def _tell(printer: Printer, out: Path, *, difference: tuple[str, ...], written: bool) -> None:
    for line in difference:
        style = {"+": "good", "-": "bad"}.get(line[:1], "")
        printer.line(line, style)
    if written:
        printer.say(f"{out} is written; next: `rollover topology --fleet {out}`", "good")
    elif difference:
        printer.say(f"{out} is left as it is; `--write` changes it", "warn")
    else:
        printer.say(f"{out} says the same already", "good")


def _present(out: Path | None) -> bytes | None:
    if out is None:
        return None
    try:
        return out.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(out, error) from None


def _difference(present: bytes, wanted: bytes, out: Path | None) -> Iterator[str]:
    yield from difflib.unified_diff(
        present.decode(errors="replace").splitlines(),
        wanted.decode().splitlines(),
        fromfile=f"{out} as it is",
        tofile=f"{out} as discovered",
        lineterm="",
    )


def _write(out: Path, content: bytes) -> None:
    """Replace a file as a whole: a full disk leaves the one that was there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replacing.replace(out, content, mode=_mode(out), durable=True)
    except OSError as error:
        raise _unusable(out, error) from None


def _mode(out: Path) -> int:
    """Return the mode that the file has, or that of a new file of this process."""
    try:
        return out.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def _unusable(out: Path, error: OSError) -> SpecError:
    return SpecError(
        f"cannot be written: {error.strerror}", place=str(out), hint="name another file with `-o`"
    )
