"""Makes a site of the Markdown in this directory: `make docs-site`.

The pages are written for a code host: their links lead to files, also outside of this directory.
Here each link is turned to what the site has in that place: the page that includes the file, the
file itself to be read, or, for a directory, its name.
"""

# ruff: noqa: INP001 - a script of Sphinx

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = "Rollover"
author = "the authors of Rollover"
project_copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "README.md"]
highlight_language = "text"

html_theme = "furo"
html_title = "Rollover"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

# Anchors as a code host makes them.
myst_heading_anchors = 6

# Docstrings name code in single backticks.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# As they are written: the value of `os.environ` is that of whoever builds the site.
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
# With every name of a library in the navigation of every page a build takes twice as long.
toc_object_entries = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Pages that list others, and the file with the list: their order is that of the site.
LISTS = {"index": DOCS / "README.md", "decisions/README": DOCS / "decisions" / "README.md"}
FIRST_CAPTION = "Begin here"

_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_INCLUDED = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)


def including_pages() -> dict[Path, Path]:
    """Return which page shows a file whole that stands elsewhere."""
    pages = {DOCS / "README.md": DOCS / "index.md"}
    for page in sorted(DOCS.rglob("*.md")):
        if "_build" not in page.parts:
            for included in _INCLUDED.findall(page.read_text(encoding="utf-8")):
                pages[(page.parent / included).resolve()] = page
    return pages


_PAGES = including_pages()


def turn_links(text: str, *, origin: Path, page: Path) -> str:
    """Return the text of a file as a page of the site has it, with links that lead somewhere."""

    def turned(link: re.Match[str]) -> str:
        return _turn_link(link, origin=origin, page=page)

    done, parts = 0, []
    for code in _CODE.finditer(text):
        # A link may have code for its text, so what counts is where the code begins and ends.
        if text.endswith("[", 0, code.start()) and text.startswith("](", code.end()):
            continue
        parts += [_LINK.sub(turned, text[done : code.start()]), code.group()]
        done = code.end()
    return "".join((*parts, _LINK.sub(turned, text[done:])))


def _turn_link(link: re.Match[str], *, origin: Path, page: Path) -> str:
    name, sign, anchor = link["target"].partition("#")
    if not name or ":" in name:
        return link.group()
    path = (origin.parent / name).resolve()
    path = _PAGES.get(path, path)
    if path.is_dir():
        shown = link["text"].strip("`")
        where = path.relative_to(ROOT).as_posix()
        return f"`{where}`" if shown == where else f"{link['text']} (`{where}`)"
    target = Path(os.path.relpath(path, page.parent)).as_posix()
    if path.is_relative_to(DOCS):
        return f"[{link['text']}]({target}{sign}{anchor})"
    return f"[{link['text']}](path:{target})"


def contents(listed: Path, *, page: Path) -> Iterator[str]:
    """Yield a table of contents for each section of a page that lists others, once for each."""
    known: set[str] = set()
    caption = FIRST_CAPTION if page.name == "index.md" else ""
    sections = _HEADING.split(listed.read_text(encoding="utf-8"))
    for title, text in zip([caption, *sections[1::2]], sections[::2], strict=True):
        links = _LINK.finditer(turn_links(text, origin=listed, page=page))
        targets = dict.fromkeys(link["target"].partition("#")[0] for link in links)
        pages = [
            target
            for target in targets
            if target.endswith(".md") and ":" not in target and target not in known
        ]
        known.update(pages)
        if pages:
            options = (":hidden:", f":caption: {title}") if title else (":hidden:",)
            yield "\n".join(("", "```{toctree}", *options, "", *pages, "```", ""))


def _read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(docname))
    source[0] = turn_links(source[0], origin=page, page=page)
    if docname in LISTS:
        app.env.note_dependency(LISTS[docname])
        source[0] += "\n".join(contents(LISTS[docname], page=page))


def _read_included(app: Sphinx, path: Path, _page: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(app.env.docname))
    content[0] = turn_links(content[0], origin=(DOCS / path).resolve(), page=page)


def _skip_member(_app: Sphinx, _what: str, _name: str, member: Any, *_more: Any) -> bool | None:
    """Keep every value of an enumeration, whether it explains itself or not."""
    return False if isinstance(member, Enum) else None


def _process_docstring(_app: Sphinx, *about: Any) -> None:
    """Drop what Python says of fields that explain themselves."""
    lines: list[str] = about[-1]
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def setup(app: Sphinx) -> None:
    """Have every page, and every file that one includes, read through `turn_links`."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_included)
    app.connect("autodoc-skip-member", _skip_member)
    app.connect("autodoc-process-docstring", _process_docstring)
