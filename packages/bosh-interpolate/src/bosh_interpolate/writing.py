"""Writes YAML byte for byte as gopkg.in/yaml.v2 does: sorted keys, lists not indented."""

from __future__ import annotations

from bosh_interpolate.ordering import ordered
from bosh_interpolate.styles import INDENT, WIDTH, Style, render, render_key, style
from bosh_interpolate.values import Key, Tree, float_text, key_value

_PLAIN = Style("plain", fits_key=True)


def emit(value: Tree) -> str:
    """Return a document that holds the value, its last line ended."""
    writer = _Writer()
    writer.document(value)
    return "".join(writer.out)


class _Writer:
    """Collects the parts of the text of one document."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._styles: dict[str, Style] = {}

    def document(self, value: Tree) -> None:
        """Write the root."""
        if isinstance(value, dict | list) and value:
            self._collection(value, 0, "")
        else:
            self.out.append(self._scalar(value, 0, INDENT))

    def _collection(self, value: dict[Key, Tree] | list[Tree], indent: int, lead: str) -> None:
        if isinstance(value, dict):
            self._map(value, indent, lead)
        else:
            self._list(value, indent, lead)

    def _map(self, value: dict[Key, Tree], indent: int, lead: str) -> None:
        pad = " " * indent
        for key in ordered(value):
            scalar = key_value(key)
            found = self._style(scalar) if isinstance(scalar, str) else _PLAIN
            if found.fits_key:
                text = render_key(scalar if isinstance(scalar, str) else _word(scalar), found.form)
                self._after_key(value[key], indent, f"{lead}{text}:", indent + len(text) + 1)
            else:
                text = self._scalar(scalar, indent + INDENT, indent + INDENT)
                self.out.append(f"{lead}? {text}")
                self._inline(value[key], indent, pad + ":")
            lead = pad

    def _after_key(self, value: Tree, indent: int, start: str, column: int) -> None:
        if isinstance(value, dict) and value:
            self.out.append(start + "\n")
            self._map(value, indent + INDENT, " " * (indent + INDENT))
        elif isinstance(value, list) and value:
            self.out.append(start + "\n")
            self._list(value, indent, " " * indent)
        else:
            self.out.append(f"{start} {self._scalar(value, column + 1, indent + INDENT)}")

    def _list(self, value: list[Tree], indent: int, lead: str) -> None:
        pad = " " * indent
        for item in value:
            self._inline(item, indent, lead + "-")
            lead = pad

    def _inline(self, value: Tree, indent: int, start: str) -> None:
        """Write a value on the line of a mark (`-`, or the `:` after a long key)."""
        if isinstance(value, dict | list) and value:
            self._collection(value, indent + INDENT, start + " ")
        else:
            self.out.append(f"{start} {self._scalar(value, indent + INDENT, indent + INDENT)}")

    def _style(self, text: str) -> Style:
        found = self._styles.get(text)
        if found is None:
            found = self._styles[text] = style(text)
        return found

    def _scalar(self, value: Tree, column: int, indent: int) -> str:
        """Return a scalar or an empty collection, and the end of its line."""
        if not isinstance(value, str):
            return _word(value) + "\n"
        form = self._style(value).form
        if form == "plain" and column + len(value) <= WIDTH:
            return value + "\n"
        return render(value, form, column=column, indent=indent)


def _word(value: Tree) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case list():
            return "[]"
        case dict():
            return "{}"
        case _:
            return str(value)
